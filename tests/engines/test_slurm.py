"""A small cohort through a real Slurm, whichever answers on this machine."""

import subprocess
import time

import numpy as np
import pytest

from opnmf_pipeline.exceptions import EngineError
from tests.engines.test_engines import results

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.usefixtures("slurm"),
    pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning"),
]


def jobs_since(before):
    """Return number, name, state, memory and CPUs of each job after ``before``."""
    columns = "JobIDRaw,JobName%80,State,ReqMem,ReqCPUS"
    command = ["sacct", "-X", "-n", "-P", "-S", "now-1hour", "-o", columns]
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [row.split("|") for row in rows]
    return [row for row in found if int(row[0]) > before]


def finished_jobs(before, n_jobs):
    """Return the jobs after ``before``; wait up to a minute until ``n_jobs`` of them have ended.

    When a short job ends, slurmdbd may have only its id and its end. ``sacct -S`` does not list
    such a job. slurmctld sends name, memory and CPUs some seconds later.
    """
    deadline = time.monotonic() + 60
    while True:
        jobs = jobs_since(before)
        n_ended = sum(state not in ("PENDING", "RUNNING") for _, _, state, *_ in jobs)
        if n_ended >= n_jobs or time.monotonic() > deadline:
            return jobs
        time.sleep(1)


@pytest.fixture
def last_job():
    rows = jobs_since(0)
    return max((int(row[0]) for row in rows), default=0)


@pytest.mark.parametrize(("engine", "plugin"), [("nipype", "SLURM"), ("pydra", "slurm")])
def test_a_run_on_slurm(study, monkeypatch, last_job, engine, plugin):
    monkeypatch.delenv("LOGNAME", raising=False)  # as in a batch job or a container
    asked = [f"execution.plugin={plugin}", "execution.plugin_args.sbatch_args=--time=5"]
    summary, _ = study.run(engine, *asked)
    assert len(summary.computed) == 11
    study.run("local")
    assert results(study.out(engine)) == results(study.out("local"))
    jobs = finished_jobs(last_job, 11)
    assert len(jobs) == 11, jobs  # gathering is no job
    for _, name, state, memory, cpus in jobs:
        assert state == "COMPLETED", name
        assert 300 <= int(memory.rstrip("Mcn")) < 400, name
        assert int(cpus) <= 2, name

    again, _ = study.run(engine, *asked)
    assert again.computed == []
    time.sleep(10)  # see `finished_jobs`
    assert len(jobs_since(last_job)) == 11  # nothing is submitted whose result is known


@pytest.mark.parametrize(("engine", "plugin"), [("nipype", "SLURM"), ("pydra", "slurm")])
def test_a_job_that_fails(study, engine, plugin):
    """A job is no fork of this process: the cause has to be a real one."""
    means = sorted(study.cohort.values.mean(axis=0).ravel())
    asked = [
        f"execution.plugin={plugin}",
        f"mask.threshold={sum(means[-7:-5]) / 2}",  # six voxels
        "decomposition.n_components=[2, 8]",
    ]
    with pytest.raises(EngineError, match="decompose, k = 8: ConfigError: k = 8: the mask"):
        study.run(engine, *asked)
    assert list(study.out(engine).glob("group/*K2_components.nii.gz"))


def test_fits_on_workers_in_jobs(study, last_job):
    """One job with two workers, because a test machine may have one CPU."""
    pytest.importorskip("dask_jobqueue")
    options = "{cores: 2, processes: 2, job_cpu: 1, memory: 3GB, walltime: '00:05:00'}"
    asked = f"execution.dask={{cluster: slurm, n_workers: 2, options: {options}}}"
    study.run("local", asked)
    alone = study.root / "alone"
    study.run("local", f"output.dir={alone}")
    for k in (2, 3):
        name = f"group/desc-opnmfK{k}_loadings.tsv"
        one, other = (
            np.loadtxt(out / name, skiprows=1, usecols=range(1, k + 1))
            for out in (study.out("local"), alone)
        )
        np.testing.assert_allclose(one, other, rtol=1e-4)
    assert [name for _, name, *_ in finished_jobs(last_job, 1)] == ["dask-worker"]
