"""The scripts in workflows/, each as a lab would start it."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import pandas as pd
import pytest

from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from tests.builders import three_parts, write_cohort
from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "workflows").glob("*.py"))
MAPS = {"components.nii.gz", "components.json", "dseg.nii.gz", "dseg.tsv", "dseg.json"} | {
    "loadings.tsv",
    "loadings.json",
}


def start(name, *arguments, cwd):
    command = [sys.executable, str(ROOT / "workflows" / name), *map(str, arguments)]
    environment = os.environ | {"PYDRA_HASH_CACHE": str(cwd / "hashes")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def cohort(tmp_path):
    return write_cohort(tmp_path / "dataset", three_parts(n_subjects=8))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_says_what_it_does_and_is_short(script, tmp_path):
    assert "usage:" in start(script.name, "--help", cwd=tmp_path)
    assert len(script.read_text().splitlines()) <= 66


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nipype_group.py", "pydra_group.py"])
def test_from_a_bids_folder_to_maps_and_tables(name, cohort, settings, write_config, tmp_path):
    config = write_config(settings)
    out = tmp_path / "out"
    arguments = (cohort.root, config, out, "--nprocs", 2)
    start(name, *arguments, cwd=tmp_path)
    for k in (2, 3):
        folder = out / "group" / f"k-{k}"
        assert {path.name for path in folder.iterdir()} >= MAPS
        assert nb.load(folder / "components.nii.gz").shape[3] == k
        loadings = pd.read_csv(folder / "loadings.tsv", sep="\t")
        assert loadings["participant_id"].tolist() == cohort.subjects
    metrics = pd.read_csv(out / "group" / "metrics.tsv", sep="\t")
    assert metrics["n_components"].tolist() == [2, 3]
    assert (out / "group" / "mask.nii.gz").exists()
    fits = {path: path.stat().st_mtime_ns for path in out.rglob("W.npy")}
    assert fits
    start(name, *arguments, cwd=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("W.npy")} == fits


def in_a_shell(name, *arguments, cwd, **environment):
    here = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{here}:{os.environ['PATH']}"} | environment
    command = ["sh", str(ROOT / "workflows" / name), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_bids_app(cohort, settings, write_config, tmp_path):
    """Its bytes are those of `opnmf-pipeline run` on the same settings."""
    config = write_config(settings | {"inputs": {"filters": settings["inputs"]["filters"]}})
    done = in_a_shell("bids_group.sh", cohort.root, config, "app", "--nprocs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    run(load_config(write_config(settings), [f"output.dir={tmp_path / 'run'}"]))
    app, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name / "group").iterdir()}
        for name in ("app", "run")
    )
    assert app == other
    assert sum(name.endswith("components.nii.gz") for name in app) == 2


def test_the_bids_app_in_a_container(tmp_path):
    """Any command can take the place of the program."""
    done = in_a_shell(
        "bids_group.sh", "d", "c.yaml", "o", "--quiet", cwd=tmp_path, OPNMF_BIDS="echo run x.sif"
    )
    assert done.stdout == "run x.sif d o group --config-file c.yaml --quiet\n"


def test_a_shell_script_says_what_it_wants(tmp_path):
    done = in_a_shell("bids_group.sh", "d", cwd=tmp_path)
    assert done.returncode == 2
    assert "workflows/bids_group.sh BIDS_DIR CONFIG OUTPUT_DIR" in done.stderr


@pytest.mark.slow
def test_nodes_in_a_workflow_of_somebody_else(cohort, tmp_path):
    start("foreign_nipype.py", "out", *cohort.images, "--k", 2, 3, cwd=tmp_path)
    folder = tmp_path / "out" / "foreign"
    assert len(list(folder.rglob("smooth*.nii.gz"))) == 8
    components = list(folder.glob("opnmf_wf/_n_components_*/maps_k*/maps-*/components.nii.gz"))
    assert sorted(nb.load(path).shape[3] for path in components) == [2, 3]
