"""What a run refuses, or warns of, before it computes."""

import json

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.limits import check_memory, check_rank
from opnmf_pipeline.runs.study import count_splits


def config(ks=(2, 5), candidates=(), **execution):
    return PipelineConfig.model_validate(
        {
            "inputs": {"bids": "data"},
            "decomposition": {"n_components": list(ks)},
            "selection": {"candidates": list(candidates)},
            "execution": execution,
        }
    )


@pytest.fixture
def matrix_dir(tmp_path):
    """A matrix of 5000 voxels and 20 subjects."""
    np.save(tmp_path / "matrix.npy", np.ones((5000, 20), dtype=np.float32))
    (tmp_path / "matrix.json").write_text(json.dumps({"Matrix": "matrix.npy"}))
    return tmp_path


def test_as_many_components_as_subjects_are_the_most():
    check_rank(config(), [5], 5, "subjects")
    with pytest.raises(
        ConfigError, match=r"decomposition\.n_components: 5 is more than 4, the number of subj"
    ):
        check_rank(config(), [5], 4, "subjects")
    with pytest.raises(
        ConfigError, match=r"selection\.candidates: 6 is more than 5, the number of subj"
    ):
        check_rank(config(candidates=[6, 3]), [5, 6, 3], 5, "subjects")
    either = r"decomposition\.n_components or selection\.candidates: 6 is more than 5, the num"
    with pytest.raises(ConfigError, match=either):
        check_rank(config([], candidates=[6, 3]), [6, 3], 5, "subjects")


def test_three_subjects_are_too_few_for_halves():
    sections = {"decomposition": {"n_components": 2}, "selection": {"n_splits": 2}}
    settings = PipelineConfig.model_validate({"inputs": {"bids": "a"}, **sections})
    people = pd.DataFrame({"participant_id": ["sub-1", "sub-2", "sub-3"]})
    with pytest.raises(
        ConfigError, match=r"selection\.n_splits: of 3 subjects, a half has only one"
    ):
        count_splits(settings, people)


@pytest.mark.parametrize(
    ("memory_gb", "ks", "warns"),
    [
        (0.25, [5], True),  # the libraries take 0.29 GiB
        (0.35, [5], False),
        (0.35, [5, 1000], True),  # four copies of W: 0.07 GiB
        (None, [5, 1000], False),
    ],
)
def test_a_fit_that_needs_more_memory_than_is_allowed(matrix_dir, caplog, memory_gb, ks, warns):
    check_memory(config(ks, memory_gb=memory_gb), matrix_dir)
    assert bool(caplog.records) is warns
    if warns:
        assert f"a fit with {max(ks)} components may need" in caplog.text


def test_the_smallest_group_that_is_left_out_is_the_limit():
    table = pd.DataFrame({"site": ["A"] * 10 + ["B"] * 9 + ["C"] * 2})
    table.insert(0, "participant_id", [f"sub-{number:02d}" for number in range(21)])
    content = {
        "inputs": {"bids": "data"},
        "selection": {"candidates": [2, 10], "leave_out": "site", "n_splits": 0},
    }
    settings = PipelineConfig.model_validate(content)
    with pytest.raises(ConfigError, match=r"10 is more than 2, .* site C .* at most 2"):
        count_splits(settings, table)
