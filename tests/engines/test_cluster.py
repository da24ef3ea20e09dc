"""Runs whose fits are on a Dask cluster."""

import gc
import re
import shutil
import sys
import warnings

import numpy as np
import pytest

from opnmf_pipeline.config import DaskConfig, ExecutionConfig
from opnmf_pipeline.engines.cluster import started
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images import reading
from tests.engines.test_engines import fits, results

pytest.importorskip("distributed")

from opnmf_pipeline.decomposition.crew import Crew

THREADS = "execution.dask={cluster: local, n_workers: 2, options: {processes: false}}"
ONE = "decomposition.n_components=2"
WAITING = "waiting until 2 Dask worker(s) have started (local)"


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")
def test_a_run_on_a_cluster(study):
    study.run("local", ONE)
    alone, names = fits(study.out("local")), set(results(study.out("local")))
    _, lines = study.run("local", ONE, THREADS, f"output.dir={study.root / 'dask'}")
    assert lines.count(WAITING) == 1
    assert set(results(study.root / "dask")) == names
    together = fits(study.root / "dask")
    assert together.keys() == alone.keys()
    for files in alone:
        for one, other in zip(alone[files], together[files], strict=True):
            one, other = (np.frombuffer(file[128:], np.float32) for file in (one, other))
            np.testing.assert_allclose(one, other, atol=1e-5 * one.max())
    again, lines = study.run("local", ONE, THREADS, f"output.dir={study.root / 'dask'}")
    assert again.computed == []
    assert WAITING not in lines  # no cluster for results that are known


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")
def test_workers_read_the_images(study, monkeypatch):
    study.run("local", ONE)
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    items, each = [], Crew.each

    def noted(self, function, paths):
        items.extend(paths)
        return each(self, function, paths)

    monkeypatch.setattr(Crew, "each", noted)
    out = f"output.dir={study.root / 'dask'}"
    study.run("local", ONE, THREADS, "execution.n_procs=1", out)
    assert len(items) >= 5
    alone, together = (
        next((folder / "work").rglob("matrix.npy"))
        for folder in (study.out("local"), study.root / "dask")
    )
    assert alone.read_bytes() == together.read_bytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dask": {}}, "set `address` or `cluster`, one of the two"),
        ({"dask": {"address": "a", "cluster": "local"}}, "set `address` or `cluster`"),
        ({"dask": {"address": "a", "n_workers": 3}}, "`n_workers` and `options` require `cluster`"),
        ({"dask": {"cluster": "local"}, "engine": "pydra"}, "`dask` requires `engine: local`"),
    ],
)
def test_settings_that_do_not_go_together(given, message):
    with pytest.raises(ValueError, match=message):
        ExecutionConfig(**given)


@pytest.mark.parametrize(
    ("cluster", "options", "message"),
    [
        (
            "sge",
            {"cores": 1, "memory": "1GB", "wings": 2},
            r"execution\.dask\.options: sge: .*wings",
        ),
        ("slurm", {"memory": "1GB"}, r"execution\.dask\.options: slurm: .*cores"),
    ],
)
def test_unknown_or_absent_options(tmp_path, monkeypatch, cluster, options, message):
    monkeypatch.setattr(shutil, "which", lambda command: command)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Dask closes no cluster that it refuses
        found = refusal(DaskConfig(cluster=cluster, options=options), tmp_path)
        gc.collect()
    assert re.search(message, found)


def refusal(settings, tmp_path):
    """Return the message with which a cluster is refused; nothing else is kept of it."""
    try:
        with started(settings, tmp_path, print):
            return ""
    except ConfigError as error:
        return str(error)


def test_without_the_batch_system(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(ConfigError, match="slurm: this machine has no command sbatch"):
        started(DaskConfig(cluster="slurm"), tmp_path, print).__enter__()


def test_without_dask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r'install it with pip install "opnmf-pipeline\[dask\]"'):
        started(DaskConfig(cluster="local"), tmp_path, print).__enter__()
