"""The scripts for sbatch in workflows/, on a small cohort and a real Slurm."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from tests.builders import three_parts, write_cohort
from tests.conftest import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("slurm")]

SMALL = "--cpus-per-task=1 --mem=1G --time=10"
RUNNING = {"PENDING", "REQUEUED", "RUNNING"}


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "dataset", three_parts(n_subjects=8))


@pytest.fixture
def environment():
    here = Path(sys.executable).parent
    return os.environ | {"PATH": f"{here}:{os.environ['PATH']}", "OPNMF_SBATCH": SMALL}


def start(command, cwd, environment):
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    logs = "".join(path.read_text() for path in cwd.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    return done.stdout


def wait(job):
    """Return the states of the tasks of a job once all have ended."""
    for _ in range(600):
        command = ["sacct", "-X", "-n", "-P", "-j", job, "-o", "State"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        states = [line.split()[0] for line in done.stdout.splitlines()]
        if states and RUNNING.isdisjoint(states):
            return states
        time.sleep(0.5)
    raise AssertionError(f"job {job}: {states}")


def test_ranks_as_an_array(cohort, settings, write_config, tmp_path, environment):
    """Six fits as three tasks, of which the last job has nothing left to compute but the choice."""
    settings["selection"] = {"n_splits": 2}
    config = write_config(settings)
    script = ROOT / "workflows" / "slurm_rank_array.sbatch"
    printed = start(["bash", script, cohort.root, config, "out", "3"], tmp_path, environment)
    first, others, gather = (part.split()[-1] for part in printed.split(","))
    assert wait(gather) == ["COMPLETED"]
    assert wait(first) == ["COMPLETED"]
    assert wait(others) == ["COMPLETED", "COMPLETED"]
    out = tmp_path / "out"
    computed = re.findall(
        r"^(.*): computed$", (tmp_path / f"opnmf-rank-{gather}.log").read_text(), re.M
    )
    # the reliability is computed from all halves together
    assert {stage for stage in computed if "k =" in stage} == {
        *("reliability, k = 2", "reliability, k = 3"),
    }
    assert not {"mask", "matrix"} & set(computed)
    assert "select" in computed

    alone = load_config(config, [f"output.dir={tmp_path / 'alone'}"])
    found = pd.read_csv(out / "group" / "desc-opnmf_metrics.tsv", sep="\t")
    pd.testing.assert_frame_equal(found, run(alone).metrics)
    assert not (out / "work" / "tasks").exists()


def test_a_group_in_one_job(cohort, settings, write_config, tmp_path, environment):
    config = write_config(settings)
    script = ROOT / "workflows" / "slurm_group.sbatch"
    arguments = [cohort.root, config, "out"]
    start(["sbatch", "--wait", *SMALL.split(), script, *arguments], tmp_path, environment)
    assert len(list((tmp_path / "out" / "group").glob("*_components.nii.gz"))) == 2
    start(["sbatch", "--wait", *SMALL.split(), script, *arguments], tmp_path, environment)
    logs = sorted(tmp_path.glob("opnmf-*.log"))
    assert len(logs) == 2
    assert "nothing was computed" in logs[1].read_text()
