"""The table of memory and CPU use of a run."""

import os

import pandas as pd
import psutil
import pytest

from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.runs.monitor import resources_watched


@pytest.fixture
def output(tmp_path):
    return OutputFolder(tmp_path / "out", {})


def test_a_run_shorter_than_a_second_has_one_row(output):
    with resources_watched(output, wanted=True):
        pass
    table = pd.read_csv(output.path("resources"), sep="\t")
    assert len(table) == 1
    assert table["n_processes"][0] >= 1
    own = psutil.Process(os.getpid()).memory_info().rss
    assert own / 4 < table["memory"][0] < own * 100


def test_a_failed_run_has_its_table_too(output):
    with pytest.raises(RuntimeError), resources_watched(output, wanted=True):
        raise RuntimeError
    assert output.path("resources").exists()


def test_nothing_is_written_unless_wanted(output):
    with resources_watched(output, wanted=False):
        pass
    assert not output.path("resources").exists()
