"""After a failure, what has finished is compared all the same."""

import pandas as pd
import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages import decompose

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.fixture
def fail(write_config, settings, tmp_path, monkeypatch):
    """Return a function that runs with a fit of k = 2 that fails, and returns the tables."""
    settings["output"] = {"dir": str(tmp_path / "out")}
    settings["selection"] = {"candidates": [1, 2, 3], "n_splits": 2, "n_permutations": 2}
    path = write_config(settings)
    original = decompose.estimator

    def estimator(n_components, *args, **keywords):
        if n_components == 2:
            raise MemoryError("no memory for two")
        return original(n_components, *args, **keywords)

    def fail(*overrides):
        monkeypatch.setattr(decompose, "estimator", estimator)
        with pytest.raises(MemoryError):
            run(load_config(path, ["decomposition.n_components=[3, 2]", *overrides]))
        group = tmp_path / "out" / "group"
        return {file.stem.split("_")[1]: file for file in group.glob("desc-opnmf_*.tsv")}

    return fail


def test_fits_candidates_halves_and_shuffled_data_are_compared(fail):
    tables = fail()
    metrics = pd.read_csv(tables["metrics"], sep="\t")
    assert metrics["n_components"].tolist() == [1, 3]
    assert metrics["n_splits"].tolist() == [2, 2]
    assert metrics["null_error"].notna().all()
    splits = pd.read_csv(tables["splits"], sep="\t")
    assert sorted(set(splits["n_components"])) == [1, 2, 3]  # the halves of 2 were fitted


def test_nothing_of_an_earlier_comparison_is_left(fail):
    assert "splits" in fail()
    without = ["selection.n_splits=0", "selection.n_permutations=0", "output.overwrite=true"]
    tables = fail(*without)
    assert "metrics" in tables
    assert "splits" not in tables
