import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.arrays import overlapping_parts
from tests.builders import three_parts, write_cohort

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def test_data():
    """Folder of the real data."""
    folder = Path(os.environ.get("OPNMF_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set OPNMF_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def slurm():
    """Skip where no Slurm takes jobs."""
    for program in ("sbatch", "squeue", "sacct"):
        if shutil.which(program) is None:
            pytest.skip(f"no Slurm: {program} is not installed")
    asked = subprocess.run(["sinfo", "-h", "-o", "%a %T"], capture_output=True, text=True)
    states = asked.stdout.split()
    if asked.returncode != 0 or not {"idle", "mixed", "allocated"} & set(states):
        pytest.skip(f"no Slurm: sinfo says {(asked.stdout + asked.stderr).strip()!r}")


@pytest.fixture
def X():
    """90 voxels × 24 subjects, three parts that overlap a little, and noise."""
    return overlapping_parts(np.random.default_rng(0))


@pytest.fixture
def cohort(tmp_path):
    """Six subjects in a BIDS dataset, three planted parts."""
    return write_cohort(tmp_path / "dataset", three_parts())


@pytest.fixture
def write_config(tmp_path):
    """Return a function that writes settings as YAML and returns the path of the file."""

    def write(settings, name="config.yaml"):
        path = tmp_path / name
        path.write_text(settings if isinstance(settings, str) else yaml.safe_dump(settings))
        return path

    return write


@pytest.fixture
def settings(cohort):
    """Settings of a quick run on the tiny cohort."""
    return {
        "inputs": {"bids": str(cohort.root), "filters": {"label": "GM", "suffix": "probseg"}},
        "decomposition": {"n_components": [2, 3], "max_iter": 100, "tol": 1e-3},
        "report": {"figures": False},
        "execution": {"n_procs": 1},
    }
