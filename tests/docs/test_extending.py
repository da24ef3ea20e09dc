"""The patches that docs/extending.md shows apply to the package, and do what the page says."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.builders import three_parts, write_cohort
from tests.conftest import ROOT
from tests.features import planted

PATCHES = ROOT / "docs/extending"
NAMES = ["solver", "measure", "output", "space"]
CALL = "from opnmf_pipeline.cli.main import main; raise SystemExit(main())"


def apply(name, folder):
    """Copy the package into a folder and apply a patch to it."""
    shutil.copytree(
        ROOT / "opnmf_pipeline",
        folder / "opnmf_pipeline",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    # Git would skip the files if the folder were part of a repository
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    subprocess.run(
        ["git", "apply", str(PATCHES / f"{name}.patch")], cwd=folder, env=environment, check=True
    )


def python(code, folder, *arguments):
    """Run code with the patched package, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(folder, inputs, **settings):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({"inputs": inputs, **settings}))
    python(CALL, folder, "run", path, "--output", folder / "OUT")
    return folder / "OUT"


def table(path):
    return pd.read_csv(path, sep="\t", index_col=0)


def test_the_page_shows_each_patch():
    page = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    assert sorted(path.stem for path in PATCHES.iterdir()) == sorted(NAMES)
    assert all(f"extending/{name}.patch" in page for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_patch_applies(name, tmp_path):
    apply(name, tmp_path)


@pytest.mark.slow
def test_the_solver(tmp_path):
    apply("solver", tmp_path)
    schema = json.loads(python(CALL, tmp_path, "schema"))
    assert "square-root" in schema["$defs"]["DecompositionConfig"]["properties"]["solver"]["enum"]
    printed = python(
        "import json, numpy as np\n"
        "from opnmf_pipeline import OPNMF\n"
        "rng = np.random.default_rng(0)\n"
        "X = np.repeat(np.eye(3), 40, axis=0) @ rng.uniform(1, 2, (3, 20))\n"
        "X += 0.01 * rng.random(X.shape)\n"
        "model = OPNMF(3, solver='square-root', init='nndsvda').fit(X)\n"
        "print(json.dumps([model.coef_.argmax(axis=1).tolist(), bool(model.converged_),\n"
        "    [record.objective for record in model.history_]]))",
        tmp_path,
    )
    labels, converged, errors = json.loads(printed)
    parts = np.reshape(labels, (3, 40))
    assert converged
    assert (parts == parts[:, :1]).all()
    assert len(set(parts[:, 0])) == 3
    assert errors[-1] < errors[0]


@pytest.mark.slow
def test_the_measure(tmp_path):
    apply("measure", tmp_path)
    cohort = write_cohort(tmp_path / "PATH", three_parts(n_subjects=20))
    inputs = {"bids": str(cohort.root)}
    selection = {"candidates": [2, 3], "n_splits": 2, "n_starts": 0}
    decomposition = {"n_components": 3, "solver": "orthonormal"}
    out = run(tmp_path, inputs, selection=selection, decomposition=decomposition)
    splits = pd.read_csv(out / "group/desc-opnmf_splits.tsv", sep="\t")
    assert (splits["inner_product_min"] <= splits["inner_product_median"]).all()
    metrics = pd.read_csv(out / "group/desc-opnmf_metrics.tsv", sep="\t")
    assert metrics["inner_product_min"].notna().any()
    described = json.loads((out / "group/desc-opnmf_splits.json").read_text())
    assert described["inner_product_min"]["Description"].startswith("Smallest cosine")


@pytest.mark.slow
def test_the_output(tmp_path):
    apply("output", tmp_path)
    cohort = write_cohort(tmp_path / "PATH", three_parts(n_subjects=10))
    out = run(tmp_path, {"bids": str(cohort.root)}, decomposition={"n_components": 3})
    found = table(out / "group/desc-opnmfK3_correlations.tsv")
    loadings = table(out / "group/desc-opnmfK3_loadings.tsv")
    np.testing.assert_allclose(found, np.corrcoef(loadings.T), rtol=1e-5)
    assert list(found.index) == list(found.columns) == list(loadings.columns)
    described = json.loads((out / "group/desc-opnmfK3_correlations.json").read_text())
    assert list(described) == ["name", *found.columns]


@pytest.mark.slow
def test_the_space(tmp_path):
    apply("space", tmp_path)
    # 12 regions have 66 connections; 24 of them have the values of three planted parts
    values, (rows, columns) = planted(n_subjects=14), np.triu_indices(12, k=1)
    regions = [f"region{number}" for number in range(12)]
    for number, subject in enumerate(values, start=1):
        matrix = np.zeros((12, 12))
        matrix[rows[:24], columns[:24]] = subject
        frame = pd.DataFrame(matrix + matrix.T, columns=regions)
        frame.to_csv(tmp_path / f"sub-{number:02d}.connectome.tsv", sep="\t", index=False)
    out = run(
        tmp_path,
        {"glob": str(tmp_path / "*.connectome.tsv")},
        mask={"method": "all"},
        decomposition={"n_components": 3},
    )
    labels = table(next((out / "group").glob("*K3_dseg.edges.tsv")))["component"]
    assert (labels.iloc[24:] == 0).all()  # connections that are zero in everyone
    parts = labels.iloc[:24].to_numpy().reshape(2, 3, 4)
    assert (parts == parts[:1, :, :1]).all()
    assert len(set(parts[0, :, 0])) == 3
    assert labels.index[0] == "region0-region1"
