"""Every code block of the README and of docs/ does what it says, in the order of its page.

Blocks are run in a folder that has `configs/`, small datasets called PATH and NEW, and a
`matrix.npy`, so that commands stand in the pages as a reader would type them. Each Python block is
a script by itself. Comments before a block: `<!-- not run: reason -->` leaves it out, and
`<!-- first: command -->` makes what it needs.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from opnmf_pipeline.config import load_config
from tests.builders import three_parts, write_cohort
from tests.conftest import ROOT
from tests.docs.blocks import blocks, pages

SLOW = {
    "README.md",
    "docs/howto/cohort.md",
    "docs/howto/new-subjects.md",
    "docs/howto/nipype.md",
    "docs/howto/pydra.md",
    "docs/howto/report.md",
    "docs/howto/scikit-learn.md",
    "docs/howto/share-and-compare.md",
}
"""Pages that run the pipeline."""
TIME_LIMIT = 300


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    write_cohort(tmp_path / "PATH", three_parts(n_subjects=44))
    write_cohort(tmp_path / "NEW", three_parts(n_subjects=4, seed=1))
    np.save(tmp_path / "matrix.npy", np.random.default_rng(0).random((100, 30), np.float32))
    return tmp_path


def start(command, folder):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "agg",
        "PYDRA_HASH_CACHE": str(folder / "hashes"),
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT
    )
    return done.returncode, done.stdout + done.stderr


def run_shell(code, folder):
    return start(["bash", "-euo", "pipefail", "-c", code], folder)


def run_python(code, folder):
    script = folder / "block.py"  # a file, as the processes of an engine import it
    script.write_text(code, encoding="utf-8")
    return start([sys.executable, script.name], folder)


def run_yaml(code, folder):
    """Read the block as settings, of which it may show any part."""
    settings = yaml.safe_load(code)
    settings.setdefault("inputs", {"glob": "*.nii.gz"})
    path = folder / "block.yaml"
    path.write_text(yaml.safe_dump(settings))
    load_config(path)
    return 0, ""


def run_json(code, folder):
    json.loads(code)
    return 0, ""


RUN = {"bash": run_shell, "json": run_json, "python": run_python, "yaml": run_yaml}
IDS = {page: str(page.relative_to(ROOT)) for page in pages()}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=[pytest.mark.slow] * (name in SLOW))
        for page, name in IDS.items()
    ],
)
def test_blocks_of_a_page(page, folder):
    for block in blocks(page):
        if block.not_run is None and block.language != "text":
            code, printed = run_shell(block.first or "true", folder)
            assert code == 0, f"{block}\n{block.first}\n{printed}"
            code, printed = RUN[block.language](block.code, folder)
            assert code == 0, f"{block}\n{block.code}\n{printed}"


@pytest.mark.parametrize("page", IDS, ids=IDS.get)
def test_each_block_says_its_language(page):
    assert not [str(block) for block in blocks(page) if block.language not in {*RUN, "text"}]


@pytest.mark.parametrize(
    "block", [block for page in pages() for block in blocks(page) if block.not_run], ids=str
)
def test_not_run(block):
    pytest.skip(block.not_run)
