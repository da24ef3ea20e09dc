from contextlib import contextmanager

import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.decomposition.checkpoint import Checkpoint
from opnmf_pipeline.progress import SilentDisplay
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.decompose import read_factorization

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


class Watching(SilentDisplay):
    """Notes the iterations of a fit, and interrupts it at one of them."""

    def __init__(self, stop_at=None):
        self.seen = []
        self.stop_at = stop_at

    @contextmanager
    def fit(self, description):
        def take(record):
            self.seen.append(record.iteration)
            if record.iteration == self.stop_at:
                raise KeyboardInterrupt

        yield take


def test_an_interrupted_fit_goes_on_and_ends_with_the_same_bytes(
    write_config, settings, tmp_path, monkeypatch
):
    monkeypatch.setattr(Checkpoint, "due", True)
    settings["decomposition"] = {"n_components": 3, "max_iter": 60, "tol": 0}
    path = write_config(settings)
    whole = load_config(path, [f"output.dir={tmp_path / 'whole'}"])
    run(whole)
    resumed = load_config(path, [f"output.dir={tmp_path / 'resumed'}"])
    with pytest.raises(KeyboardInterrupt):
        run(resumed, Watching(stop_at=40))
    work = tmp_path / "resumed" / "work"
    (checkpoint,) = work.rglob("*.checkpoint")
    second = Watching()
    run(resumed, second)
    assert second.seen[0] > 30
    assert second.seen[-1] == 59
    fits = [
        next((tmp_path / name / "work").rglob("factorization.json"))
        for name in ("whole", "resumed")
    ]
    assert fits[0].with_name("W.npy").read_bytes() == fits[1].with_name("W.npy").read_bytes()
    assert checkpoint.exists()
    assert [len(read_factorization(fit).info["History"]["change"]) for fit in fits] == [60, 60]


def test_more_iterations_go_on_from_the_last_one(write_config, settings, tmp_path):
    settings["decomposition"] = {
        "n_components": 3,
        "solver": "multiplicative",
        "max_iter": 20,
        "tol": 1e-4,
    }
    path = write_config(settings)
    run(load_config(path, [f"output.dir={tmp_path / 'out'}"]))
    more = Watching()
    arguments = ["output.overwrite=true", "decomposition.max_iter=50000"]
    run(load_config(path, [f"output.dir={tmp_path / 'out'}", *arguments]), more)
    assert more.seen[0] == 20
    assert not list(tmp_path.rglob("*.checkpoint"))
