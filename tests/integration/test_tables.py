"""Runs on tables of regions with planted parts: from a table to components and report."""

import re
from functools import partial

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.cli import main
from opnmf_pipeline.config import (
    DecompositionConfig,
    MaskConfig,
    MatrixConfig,
    PipelineConfig,
    load_config,
)
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.tables.files import read_features, write_features
from opnmf_pipeline.images.tables.grid import Grid
from opnmf_pipeline.reporting.tables import about_missing
from opnmf_pipeline.runs.plan import make_plan
from opnmf_pipeline.runs.project import project
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.maps import write_on_atlas
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.project import project_subjects
from opnmf_pipeline.stages.spaces import open_mask
from opnmf_pipeline.tables import read_table
from tests.builders import SHAPE, write_image
from tests.features import PARTS, REGIONS, planted, rows_of, subjects, write_csv
from tests.integration.test_run import assert_files
from tests.surfaces import write_annot

K = 3


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Settings and summary of a finished run."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [["participant_id", "Age", *REGIONS]]
    for number, row in enumerate(rows_of(planted())[1:]):
        rows.append([row[0], str(20 + number * number % 17), *row[1:]])
    write_csv(folder / "thickness.csv", rows)
    content = {
        "inputs": {"features": "thickness.csv"},
        "decomposition": {"n_components": [K]},
        "selection": {"n_bootstraps": 2},
        "report": {"figures": False},
        "output": {"dir": "out"},
        "execution": {"n_procs": 1},
    }
    (folder / "settings.yaml").write_text(yaml.safe_dump(content))
    config = load_config(folder / "settings.yaml", [])
    return config, run(config)


def test_planted_parts_are_found(finished):
    _, summary = finished
    found = read_features(summary.outputs.path("dseg", K))
    assert found.names == tuple(REGIONS)
    assert adjusted_rand_score(PARTS, found.values[:, 0]) == 1
    parts = pd.read_csv(summary.outputs.path("dseg_tsv", K), sep="\t")
    assert (parts["n_left"] == 4).all()
    assert (parts["n_right"] == 4).all()
    assert summary.metrics["symmetry"].iloc[0] > 0.9
    assert summary.metrics["n_pieces"].isna().all()
    assert (summary.elements, summary.n_voxels) == ("features", len(REGIONS))


def test_the_files_of_a_run(finished):
    assert_files(finished[0].output.dir, "tables")


def test_the_report_says_what_tables_lack(finished):
    page = finished[1].outputs.path("report").read_text()
    assert "24 values of each of 14 subjects were factorized into 3 components" in page
    assert "The features of a table have no neighbours." in page
    assert "Without an atlas (report.atlas), there are no maps and there is no viewer" in page
    used = "For each of 14 subjects, one value per feature was used. The values in the 24 features"
    assert used in page
    assert "<dt>Values</dt>" in page
    assert not re.search(r"[Tt]ables of|mean table|[Ii]mages of", page)


def test_missing_values_of_a_table_are_not_those_of_images():
    subjects_with = pd.DataFrame({"missing": [0.0, 0.2]}, index=["sub-01", "sub-02"])
    columns = Grid(("a", "b")).words.columns
    assert "in 1 of 2 columns of the matrix;" in about_missing(subjects_with, columns)


def test_the_table_is_the_source_of_the_components(finished):
    config, summary = finished
    sidecar = yaml.safe_load(summary.outputs.path("components_json", K).read_text())
    assert sidecar["Sources"][1:] == [config.inputs.features[0].as_uri()]


def test_the_table_of_the_cohort_has_its_loadings_again(finished, tmp_path):
    config, summary = finished
    new = config.model_copy(update={"output": config.output.model_copy(update={"dir": tmp_path})})
    again = project(new, config.output.dir, combined=True)
    loadings = read_table(summary.outputs.path("loadings", K)).set_index("participant_id")
    found = again.tables[K].set_index("participant_id")[list(loadings)]
    np.testing.assert_allclose(found, loadings.astype(float), rtol=1e-6)
    sidecar = yaml.safe_load(next(tmp_path.glob("sub-*/**/*_loadings.json")).read_text())
    assert sidecar["Sources"][1:] == [config.inputs.features[0].as_uri()]


def test_a_table_can_be_named_in_place_of_images(finished, tmp_path):
    config, summary = finished
    arguments = [str(config.output.dir), str(config.inputs.features[0])]
    assert main(["project", *arguments, "-o", str(tmp_path), "--nprocs", "1", "-q"]) == 0
    loadings = read_table(summary.outputs.path("loadings", K)).set_index("participant_id")
    found = read_table(tmp_path / "group" / f"desc-opnmfK{K}_loadings.tsv")
    found = found.set_index("participant_id")[list(loadings)]
    np.testing.assert_allclose(found.astype(float), loadings.astype(float), rtol=1e-6)


def test_a_second_run_reuses_all_results(finished):
    assert run(finished[0]).computed == []


def test_the_plan_of_a_run(finished):
    plan = make_plan(finished[0], deep=True)
    assert str(plan.grid) == "24 features (lh_region0, lh_region1, ..., rh_region11)"
    assert (plan.n_voxels, plan.n_subjects) == (24, 14)
    assert plan.mask == "a value other than zero in at least one subject"
    assert "Age" in plan.cohort


def refused(action, *arguments):
    with pytest.raises(ImageError) as info:
        action(*arguments)
    return str(info.value)


@pytest.mark.parametrize("check", [partial(make_plan, deep=True), run], ids=["check", "run"])
def test_an_error_about_values_names_the_table_of_the_user(tmp_path, check):
    """z-scores cannot be used, so the remedy is to replace them; nothing is an image."""
    values = planted()
    scores = ((values - values.mean(axis=0)) / values.std(axis=0)).round(3)
    rows = rows_of(scores)
    rows[3][5] = ""
    table = write_csv(tmp_path / "scores.csv", rows)
    config = PipelineConfig.model_validate(
        {
            "inputs": {"features": [table]},
            "decomposition": {"n_components": [K]},
            "output": {"dir": tmp_path / "out"},
            "execution": {"n_procs": 1},
        }
    )
    message = refused(check, config)
    assert f"  sub-03: {table}: 1 NaN or infinite of 24 features\n" in message
    assert f"  sub-02: {table}: 8 negative of 24 features\n" in message
    assert ".features.tsv" not in message
    assert "or fix the values" in message
    assert "z-scores and other standardized values cannot be used: replace them" in message
    assert "image" not in message
    assert "shift" not in message


def test_a_projection_names_the_table_of_the_user(finished, tmp_path):
    config, _ = finished
    rows = rows_of(planted() - 2)
    table = write_csv(tmp_path / "new.csv", rows)
    new = config.model_copy(
        update={
            "inputs": config.inputs.model_copy(update={"features": (table,)}),
            "output": config.output.model_copy(update={"dir": tmp_path / "out"}),
        }
    )
    message = refused(project, new, config.output.dir)
    assert f"sub-01: {table}: " in message
    assert ".features.tsv" not in message
    assert "fix their values, or leave these subjects out" in message
    assert "image" not in message


def test_a_projection_names_the_table_that_lacks_a_feature(finished, tmp_path):
    config, _ = finished
    rows = rows_of(planted())
    table = write_csv(tmp_path / "less.csv", [row[:-1] for row in rows])
    new = config.model_copy(
        update={
            "inputs": config.inputs.model_copy(update={"features": (table,)}),
            "output": config.output.model_copy(update={"dir": tmp_path / "out"}),
        }
    )
    message = refused(project, new, config.output.dir)
    assert message.startswith(f"{table}: its features are not those of the model")


@pytest.mark.parametrize(
    ("mask", "method"), [({}, "all"), (None, "all"), ({"threshold": 1.0}, "mean")]
)
def test_all_features_are_analysed_unless_the_settings_have_a_mask(mask, method):
    settings = {"inputs": {"features": ["a.csv"]}, "mask": mask}
    settings = {name: value for name, value in settings.items() if value is not None}
    assert PipelineConfig.model_validate(settings).mask.method == method


def components_of(folder, images, mask):
    """Return W and the loadings of the images, from stage to stage."""
    mask_file = make_mask(images, folder / f"mask{mask}", MaskConfig(), MatrixConfig())
    names = subjects(len(images))
    matrix_file = build_matrix(images, names, mask_file, folder, MatrixConfig())
    fit = decompose(matrix_file, folder, K, DecompositionConfig())
    model = Model.of_fit(fit, mask_file)
    loadings = project_subjects(images, names, model, folder / "loadings.tsv")
    return np.load(folder / "W.npy"), loadings.read_text()


def test_the_voxels_of_a_volume_as_a_table_give_the_same_components_to_the_bit(cohort, tmp_path):
    for name in ("volume", "table"):
        (tmp_path / name).mkdir()
    tables = []
    for subject, values in zip(cohort.subjects, cohort.values, strict=True):
        voxels = values.ravel()
        names = [str(number) for number in range(voxels.size)]
        tables.append(tmp_path / f"{subject}.features.tsv")
        write_features(tables[-1], names, {"value": voxels})
    expected = components_of(tmp_path / "volume", cohort.images, ".nii.gz")
    found = components_of(tmp_path / "table", tables, ".features.tsv")
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


N_VERTICES, N_REGIONS = 642, len(REGIONS) // 2
REGION_OF_VERTEX = np.arange(N_VERTICES) % (N_REGIONS + 1)
"""In each hemisphere; 0 for none, and the last region of the right one has no feature."""


@pytest.fixture(scope="module")
def on_surfaces(tmp_path_factory):
    """A finished run on a table whose regions are those of an atlas of surfaces."""
    folder = tmp_path_factory.mktemp("on-surfaces")
    rows = [row[:-1] for row in rows_of(planted())]
    write_csv(folder / "thickness.csv", rows)
    names = ["unknown", *(name.removeprefix("lh_") for name in REGIONS[:N_REGIONS])]
    atlas = write_annot(folder, REGION_OF_VERTEX, REGION_OF_VERTEX, names)
    (folder / "settings.yaml").write_text(
        "inputs: {features: thickness.csv}\n"
        f"decomposition: {{n_components: [{K}]}}\n"
        f"report: {{figures: false, atlas: {atlas.name}}}\n"
        "output: {dir: out}\nexecution: {n_procs: 1}\n"
    )
    return run(load_config(folder / "settings.yaml", [])).outputs


def test_components_on_an_atlas_of_surfaces(on_surfaces):
    """Every vertex has the weights and the label of the feature with the name of its region."""
    weights = read_features(on_surfaces.path("components", K))
    labels = read_features(on_surfaces.path("dseg", K)).values[:, 0]
    expected = np.zeros((2, N_VERTICES, K + 1))
    for row, name in enumerate(weights.names):
        side, number = name.split("_region")
        there = int(number) + 1 == REGION_OF_VERTEX
        expected[["lh", "rh"].index(side), there] = [*weights.values[row], labels[row]]
    found = {}
    for name, ending in (("components", ".dscalar.nii"), ("dseg", ".dlabel.nii")):
        path = on_surfaces.path(name, K, image=ending, labels=ending)
        found[name] = np.asarray(nb.load(path).dataobj).T
    both = np.column_stack([found["components"], found["dseg"]])
    np.testing.assert_allclose(both, expected.reshape(-1, K + 1), rtol=1e-6)
    fields = {"part": "hemi-R_", "labels": ".label.gii"}
    right = nb.load(on_surfaces.path("dseg", K, **fields)).agg_data()
    np.testing.assert_array_equal(right, expected[1, :, K])


def test_components_of_a_table_are_named_and_placed(on_surfaces):
    parts = pd.read_csv(on_surfaces.path("dseg_tsv", K), sep="\t")
    assert parts["proposed_name"].str.match("Bilateral region").all()
    assert {"peak_left_region", "peak_x"} <= set(parts)
    page = on_surfaces.path("report").read_text()
    assert '<section id="viewer"' in page
    assert "Without an atlas" not in page


def test_components_on_an_atlas_of_volumes(tmp_path, finished):
    """Voxels of a region have the weights of its feature; the others have none."""
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) % (len(REGIONS) + 2)
    atlas = write_image(tmp_path / "own.nii.gz", values)
    names = [f"{number}\t{name}" for number, name in enumerate(reversed(REGIONS), start=1)]
    extra = f"{len(REGIONS) + 1}\telsewhere"
    (tmp_path / "own.tsv").write_text("\n".join(["index\tname", *names, extra]) + "\n")
    outputs = finished[1].outputs
    mask = open_mask(outputs.path("mask"))
    W = mask.masked(outputs.path("components", K))
    labels = mask.masked(outputs.path("dseg", K)).astype(np.int16)
    centres = write_on_atlas(mask, W, labels, Atlas(atlas), tmp_path)
    weight = np.concatenate([np.zeros((1, K)), W[::-1], np.zeros((1, K))])[values]
    maps = nb.load(tmp_path / "components.nii.gz")
    np.testing.assert_allclose(maps.get_fdata(), weight, rtol=1e-6)
    np.testing.assert_array_equal(
        nb.load(tmp_path / "dseg.nii.gz").get_fdata(),
        np.concatenate([[0], labels[::-1], [0]])[values],
    )
    voxels = np.rint(nb.affines.apply_affine(np.linalg.inv(maps.affine), centres)).astype(int)
    peaks = len(REGIONS) - W.argmax(axis=0)
    assert values[tuple(voxels.T)].tolist() == peaks.tolist()
