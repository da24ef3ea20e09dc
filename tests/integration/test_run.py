"""Whole runs: what they leave on disk, what they recompute, and how they end early."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from nilearn.datasets import load_mni152_template
from nilearn.image import resample_to_img

from opnmf_pipeline import StructuralCovariance
from opnmf_pipeline.cli import main
from opnmf_pipeline.config import load_config
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages import decompose
from opnmf_pipeline.stages.decompose import read_factorization
from tests.builders import AFFINE, SHAPE, write_image
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

EXPECTED = ROOT / "tests" / "integration" / "expected"
PREFIX = "group/space-MNI152_res-3mm_desc-opnmf"


@pytest.fixture
def load(tmp_path, write_config, settings):
    """Return settings of a run into ``out``, with overrides."""

    def load(*overrides):
        return load_config(write_config(settings), [f"output.dir={tmp_path / 'out'}", *overrides])

    return load


def files(folder):
    """Content of every output file; intermediate results left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "work"
    }


def results(folder):
    """Content of the files that two equal runs must agree on: no times, no logs."""
    return {name: content for name, content in files(folder).items() if "logs/" not in name}


def assert_files(folder, case):
    expected = set((EXPECTED / f"{case}.txt").read_text().split())
    found = set(files(folder))
    differences = {"not written": expected - found, "not expected": found - expected}
    assert not any(differences.values()), differences


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """The example at 9 mm: 24 subjects, 5 planted components."""
    out = tmp_path_factory.mktemp("example") / "out"
    sizes = {"n_subjects": 24, "n_components": 5, "voxel_size": 9}
    overrides = [f"inputs.simulation.{name}={value}" for name, value in sizes.items()]
    overrides += [f"output.dir={out}", "decomposition.n_components=5", "execution.n_procs=1"]
    return run(load_config(ROOT / "configs" / "example.yaml", overrides))


def test_example_writes_what_it_promises(example):
    assert_files(example.outputs.root, "example")


def test_example_recovers_what_was_planted(example):
    row = example.metrics.iloc[0]
    assert row["planted_ari"] >= 0.8
    assert row["converged"]
    assert row["lower_bound"] < row["reconstruction_error"] < 1.2 * row["lower_bound"]


def test_example_pictures(example):
    for name in ("montage", "parts"):
        content = example.outputs.path(name, 5).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 20_000


def test_registry_names_every_output(example):
    root = example.outputs.root
    registry = json.loads((root / "logs" / "run.json").read_text())
    assert registry["Status"] == "finished"
    unnamed = set(files(root)) - set(registry["Outputs"])
    assert unnamed <= {"logs/run.json", "logs/opnmf-pipeline.log"}


def test_log(example):
    text = (example.outputs.root / "logs" / "opnmf-pipeline.log").read_text()
    assert "versions: python" in text.splitlines()[0]
    assert "decompose, k = 5 computed" in text


def test_the_estimator_gives_the_same_components(example):
    folder = example.outputs.root / "work"
    images = sorted(folder.rglob("sub-*_probseg.nii.gz"))
    options = load_config(ROOT / "configs" / "example.yaml").decomposition.of_each_fit()
    mask_file = example.outputs.path("mask")  # of another threshold than the default
    model = StructuralCovariance(5, mask=mask_file, **options)
    loadings = model.fit_transform(images)
    (W,) = folder.rglob("W.npy")
    np.testing.assert_array_equal(model.components_, np.load(W).T)
    maps = nb.load(example.outputs.path("components", 5))
    np.testing.assert_array_equal(model.components_img_.get_fdata(), maps.get_fdata())
    np.testing.assert_array_equal(model.components_img_.affine, maps.affine)
    np.testing.assert_array_equal(model.mask_img_.get_fdata(), nb.load(mask_file).get_fdata())
    table = pd.read_csv(example.outputs.path("loadings", 5), sep="\t", index_col=0)
    np.testing.assert_allclose(loadings, table, rtol=1e-5)
    assert model.get_feature_names_out().tolist() == table.columns.tolist()
    r2 = example.metrics.iloc[0]["explained_variance"]
    assert model.score(images) == pytest.approx(r2, rel=1e-4)


def test_a_run_can_start_from_its_own_settings(load, tmp_path):
    run(load())
    config = load_config(tmp_path / "out" / "logs" / "config.yaml")
    assert config == load()
    assert run(config).computed == []


def test_maps_open_in_the_brain_where_they_belong(load, tmp_path):
    summary = run(load())
    image = nb.load(summary.outputs.path("components", 3))
    assert image.shape == (*SHAPE, 3)
    assert image.get_data_dtype() == np.float32
    assert image.header["sform_code"] == image.header["qform_code"] == 4
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.get_sform(), AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)

    (fit,) = (
        fit
        for path in (tmp_path / "out" / "work").rglob("factorization.json")
        if (fit := read_factorization(path)).W.shape[1] == 3
    )
    inside = np.asarray(nb.load(summary.outputs.path("mask")).dataobj) != 0
    values = np.asarray(image.dataobj)
    np.testing.assert_array_equal(values[inside], fit.W)
    assert not values[~inside].any()

    on_template = resample_to_img(
        image, load_mni152_template(resolution=2), force_resample=True, copy_header=True
    )
    # Centres of voxels of both grids, from AFFINE: x = 6 - 3i, y = 3j - 9, z = 12 + 3k
    for voxel, mm in {(2, 1, 0): (0, -6, 12), (4, 3, 2): (-6, 0, 18)}.items():
        there = np.rint(nb.affines.apply_affine(np.linalg.inv(on_template.affine), mm)).astype(int)
        np.testing.assert_allclose(on_template.dataobj[tuple(there)], values[voxel], atol=1e-6)
        assert values[voxel].max() > 0.1


def test_labels_and_tables(load, cohort):
    summary = run(load())
    components = nb.load(summary.outputs.path("components", 3)).get_fdata()
    labels = np.asarray(nb.load(summary.outputs.path("dseg", 3)).dataobj)
    inside = components.any(axis=-1)
    np.testing.assert_array_equal(labels[inside], components[inside].argmax(axis=1) + 1)
    assert not labels[~inside].any()
    # three planted parts along the second axis, the last two planes wide
    parts = [set(labels[:, y].ravel()) - {0} for y in range(4)]
    assert [len(part) for part in parts] == [1, 1, 1, 1]
    assert parts[2] == parts[3]
    assert len(set.union(*parts)) == 3

    table = pd.read_csv(summary.outputs.path("dseg_tsv", 3), sep="\t")
    counts = [np.count_nonzero(labels == index) for index in table["index"]]
    assert table["n_voxels"].tolist() == counts
    assert table["volume"].tolist() == [27 * count for count in counts]

    loadings = pd.read_csv(summary.outputs.path("loadings", 3), sep="\t", index_col=0)
    assert loadings.index.tolist() == cohort.subjects
    subject = cohort.values[4].ravel()
    expected = components.reshape(-1, 3).T @ subject
    np.testing.assert_allclose(loadings.loc["sub-05"], expected, rtol=1e-4)

    participants = pd.read_csv(summary.outputs.path("participants"), sep="\t")
    assert participants["participant_id"].tolist() == cohort.subjects
    assert participants["age"].tolist() == [20, 21, 22, 23, 24, 25]


def test_metrics(load, cohort):
    summary = run(load())
    rows = summary.metrics.set_index("n_components")
    X = cohort.values[:, cohort.values.mean(axis=0) > 0.1].T.astype(np.float64)
    assert (summary.n_voxels, summary.n_subjects) == X.shape
    singular = np.linalg.svd(X, compute_uv=False)
    inside = np.asarray(nb.load(summary.outputs.path("mask")).dataobj) != 0
    for k in (2, 3):
        W = nb.load(summary.outputs.path("components", k)).get_fdata()[inside]
        error = np.linalg.norm(X - W @ (W.T @ X))
        assert rows.loc[k, "reconstruction_error"] == pytest.approx(error, rel=1e-3)
        assert rows.loc[k, "lower_bound"] == pytest.approx(
            np.sqrt(np.sum(singular[k:] ** 2)), rel=1e-4
        )
        about_mean = np.linalg.norm(X - X.mean(axis=1, keepdims=True))
        for name, norm in (("", about_mean), ("_about_zero", np.linalg.norm(X))):
            explained = 1 - (error / norm) ** 2
            assert rows.loc[k, f"explained_variance{name}"] == pytest.approx(explained, abs=1e-3)
    described = json.loads(summary.outputs.path("metrics_json").read_text())
    assert set(described) == set(summary.metrics)
    assert all(entry["Description"] for entry in described.values())


def test_the_readme_lists_all_files_and_only_files_that_there_are(example):
    root = example.outputs.root
    rows = re.findall(r"^\| `([^`]+)` \|", (root / "README.md").read_text(), re.MULTILINE)
    left = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "work" not in path.parts and not path.name.endswith(".lock")
    }
    for row in rows:
        named = re.sub(r"{(image|labels)}", ".nii.gz", row)
        pattern = re.sub(r"\\{\w+\\}", "[^/]*", re.escape(named))
        found = {name for name in left if re.fullmatch(pattern, name)}
        assert found, row
        left -= found
    assert left == set()


def test_side_cars_are_json_with_a_description(example):
    sidecars = list((example.outputs.root / "group").glob("*.json"))
    assert len(sidecars) == 8
    for path in sidecars:
        content = json.loads(path.read_text())
        assert content, path
        if not path.name.endswith(("metrics.json", "subjects.json")):  # columns only
            assert content["Description"]


def test_split_halves(load):
    metrics = run(load("selection.n_splits=2")).metrics
    assert metrics["inner_product"].between(0.5, 1.000001).all()
    assert metrics["label_ari"].between(-1, 1).all()
    assert "inner_product" not in run(load("output.overwrite=true")).metrics


def test_second_run_computes_nothing(load, tmp_path):
    first = run(load())
    before = results(tmp_path / "out")
    assert first.computed
    second = run(load())
    assert second.computed == []
    assert results(tmp_path / "out") == before


def test_second_run_says_so(write_config, settings, tmp_path, capsys):
    command = ["run", str(write_config(settings)), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    assert "nothing was computed" not in capsys.readouterr().out
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "nothing was computed: all results come from an earlier run" in out


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("mask.threshold=0.05", ["mask", "report"]),  # the same voxels are above it
        (
            "matrix.smoothing_fwhm=4",
            ["mask", "matrix", "decompose", "maps", "associations", "select", "quality", "report"],
        ),
        ("decomposition.tol=0.01", ["decompose", "maps", "select", "report"]),
        ("decomposition.init=random", ["decompose", "maps", "select", "report"]),
        ("report.figures=true", ["figures", "select", "report"]),
        ("execution.n_procs=2", []),
    ],
)
def test_a_changed_setting_recomputes_from_the_first_stage_it_touches(load, override, expected):
    one = "decomposition.n_components=2"
    run(load(one))
    computed = run(load(one, override, "output.overwrite=true")).computed
    assert [title.split(",")[0] for title in computed] == expected


def test_a_touched_image_recomputes_nothing_and_a_changed_one_everything(load, cohort):
    run(load())
    os.utime(cohort.images[0], (1, 1))
    assert run(load()).computed == []
    cohort.damage(0, cohort.values[0] * 1.1)
    computed = run(load()).computed
    assert computed[:2] == ["mask", "matrix"]
    assert len(computed) == 11


def test_the_other_file_of_a_pair_recomputes(load, cohort, tmp_path):
    pairs = [tmp_path / "pairs" / f"{subject}.hdr" for subject in cohort.subjects]
    for path, values in zip(pairs, cohort.values, strict=True):
        write_image(path, values, image_class=nb.Nifti1Pair)
    source = ["inputs.bids=", "inputs.filters={}", f"inputs.glob={tmp_path / 'pairs' / '*.hdr'}"]
    run(load(*source))
    write_image(pairs[0], cohort.values[0] * 1.1, image_class=nb.Nifti1Pair)
    assert run(load(*source)).computed[:2] == ["mask", "matrix"]


def test_another_subject_recomputes(load, cohort):
    run(load())
    cohort.images[5].unlink()
    config = load("inputs.on_missing=drop", "output.overwrite=true")
    summary = run(config)
    assert summary.n_subjects == 5
    loadings = pd.read_csv(summary.outputs.path("loadings", 2), sep="\t")
    assert loadings["participant_id"].tolist() == cohort.subjects[:5]


def test_another_number_of_components_computes_that_fit_only(load, tmp_path):
    run(load())
    before = results(tmp_path / "out")
    summary = run(load("decomposition.n_components=[2, 3, 4]"))
    assert summary.computed == [
        *(f"{name}, k = 4" for name in ("decompose", "maps", "associations")),
        *("select", "report"),
    ]
    after = results(tmp_path / "out")
    assert {name: after[name] for name in before if "K" in name} == {
        name: content for name, content in before.items() if "K" in name
    }
    assert summary.metrics["n_components"].tolist() == [2, 3, 4]


def test_overwrite_replaces_and_removes(load, tmp_path):
    run(load())
    run(load("decomposition.n_components=2", "output.overwrite=true", "mask.threshold=0.05"))
    assert_files(tmp_path / "out", "tiny_k2")
    settings = json.loads((tmp_path / "out" / "logs" / "run.json").read_text())["Settings"]
    assert settings["mask"]["threshold"] == 0.05


def test_a_failing_fit_keeps_the_others(load, tmp_path, monkeypatch):
    original = decompose.decompose

    def failing(matrix_file, out, k, options, **keywords):
        if k == 3:
            raise MemoryError("no memory for k = 3")
        return original(matrix_file, out, k, options, **keywords)

    monkeypatch.setattr(decompose, "decompose", failing)
    with pytest.raises(MemoryError):
        run(load("decomposition.n_components=[2, 3]"))
    out = tmp_path / "out"
    assert (out / f"{PREFIX}K2_components.nii.gz").exists()
    assert not list(out.glob("group/*K3*"))
    registry = json.loads((out / "logs" / "run.json").read_text())
    assert registry["Status"] == "failed"
    assert f"{PREFIX}K2_components.nii.gz" in registry["Outputs"]
    assert "no memory for k = 3" in (out / "logs" / "opnmf-pipeline.log").read_text()

    monkeypatch.setattr(decompose, "decompose", original)
    assert run(load()).computed == [
        *(f"{name}, k = 3" for name in ("decompose", "maps", "associations")),
        *("select", "report"),
    ]


def test_a_terminated_run_leaves_no_part_and_the_same_command_finishes(
    tmp_path, write_config, settings
):
    out = tmp_path / "out"
    endless = {"n_components": [2, 3], "max_iter": 100_000_000, "tol": 0}
    config = write_config(settings | {"decomposition": endless})
    start = "import sys; from opnmf_pipeline.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "run", str(config), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(out.glob("work/*/decompose-*.partial")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "Traceback" not in message
    assert [name for name in files(out) if "partial" in name] == []
    assert not (out / "group").exists()
    assert json.loads((out / "logs" / "run.json").read_text())["Status"] == "failed"

    write_config(settings)
    assert main(["run", str(config), "-o", str(out), "--quiet"]) == 0
    assert_files(out, "tiny")
