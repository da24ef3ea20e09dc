"""Agreement of halves from a shared start and from independent starts, on data with known parts."""

import json

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.splits import make_splits
from tests.builders import SHAPE, three_parts, write_cohort

N_SUBJECTS = 16
PUBLISHED = DecompositionConfig(solver="multiplicative", tol=1e-3, dtype="float64")


def one_part():
    """Positive maps that differ between subjects by one factor, and by noise."""
    rng = np.random.default_rng(0)
    sizes = 1 + 0.5 * rng.random((N_SUBJECTS, 1, 1, 1))
    return (sizes + 0.1 * rng.random((N_SUBJECTS, *SHAPE))).astype(np.float32)


@pytest.fixture
def agreements(tmp_path):
    """Return a function from images and k to the ARI of two halves, for each kind of start."""

    def folder(name):
        path = tmp_path / name
        path.mkdir()
        return path

    def agreements(values, k, options):
        cohort = write_cohort(tmp_path / "dataset", values)
        mask = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), MatrixConfig())
        people = cohort.subjects
        matrix = build_matrix(cohort.images, people, mask, folder("matrix"), MatrixConfig())
        (split,) = make_splits(people, folder("splits"), SelectionConfig(n_splits=1))
        found = {}
        for kind, shared in (("independent", False), ("shared", True)):
            path = fit_halves(matrix, folder(kind), k, split, options, shared_start=shared)
            found[kind] = json.loads(path.read_text())["label_ari"]
        return found

    return agreements


def test_planted_parts_agree_from_any_start(agreements):
    options = DecompositionConfig(solver="accelerated", dtype="float64")
    found = agreements(three_parts(N_SUBJECTS), 3, options)
    assert found == {"independent": 1, "shared": 1}


@pytest.mark.parametrize("init", ["nndsvd", "random"])
def test_a_shared_start_divides_one_part_alike_in_both_halves(agreements, init):
    """Four components of data with one part: where it is divided comes from the start alone."""
    found = agreements(one_part(), 4, PUBLISHED.model_copy(update={"init": init}))
    assert found["shared"] > 0.5
    assert found["independent"] < 0.1
