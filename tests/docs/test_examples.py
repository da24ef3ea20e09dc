"""The scripts of the gallery, each as a reader would start it."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow
EXAMPLES = sorted((ROOT / "docs/examples").glob("plot_*.py"))


def start(script, folder, **environment):
    environment = os.environ | {"MPLBACKEND": "agg"} | environment
    done = subprocess.run(
        [sys.executable, str(script)], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "script", [script for script in EXAMPLES if "faces" not in script.name], ids=lambda s: s.name
)
def test_an_example_runs(script, tmp_path):
    start(script, tmp_path)


def test_the_faces_have_their_known_course(test_data, tmp_path):
    faces = test_data / "scikit_learn_data"
    if not faces.is_dir():
        pytest.skip(f"no Olivetti faces at {faces}")
    script = ROOT / "docs/examples/plot_faces_decomposition.py"
    printed = start(script, tmp_path, SCIKIT_LEARN_DATA=str(faces))
    # OPNMF of the faces and of the transpose; PNMF comes first
    stops = re.findall(r"converged at iteration (\d+)", printed)
    assert stops[1:] == ["80", "114"]
    assert re.search(r"iteration 100: objective (\S+),", printed)[1] == "146.47"
    assert re.findall(r"W \((\d+), 6\), H \(6, (\d+)\)", printed) == [
        ("400", "4096"),  # NMF
        ("400", "4096"),  # PNMF
        ("400", "4096"),
        ("4096", "400"),
        ("4096", "400"),  # NMF
    ]
