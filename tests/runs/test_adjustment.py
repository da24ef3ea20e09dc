"""Runs whose matrix is adjusted: from the settings to the report and to new subjects."""

import html
import json
import logging
import re
import shutil

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline import Model
from opnmf_pipeline.cli import bids_main, main
from opnmf_pipeline.config import load_config
from opnmf_pipeline.engines.steps import steps_of
from opnmf_pipeline.exceptions import CohortError, ConfigError, ModelError
from opnmf_pipeline.runs.adjustment import check_adjustment, with_values
from opnmf_pipeline.runs.boilerplate import boilerplate
from opnmf_pipeline.runs.export import Credits, export
from opnmf_pipeline.runs.plan import make_plan
from tests.builders import three_parts, write_cohort

N = 16
MATRIX = {
    "scale": {"by": "tiv"},
    "harmonize": {"batch": "site"},
    "covariates": ["age"],
    "negative": "clip",
}


def write_people(root, **changes):
    rng = np.random.default_rng(3)
    people = pd.DataFrame(
        {
            "participant_id": [f"sub-{number:02d}" for number in range(1, N + 1)],
            "age": rng.integers(20, 60, N),
            "site": ["a", "b"] * (N // 2),
            "tiv": rng.integers(1300, 1700, N),
        }
    ).assign(**changes)
    people.to_csv(root / "participants.tsv", sep="\t", index=False, na_rep="n/a")
    return people


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset with ages, two sites and head sizes."""
    folder = tmp_path_factory.mktemp("people") / "dataset"
    write_cohort(folder, three_parts(N))
    write_people(folder)
    return folder


def settings_of(root, **sections):
    return {
        "inputs": {"bids": str(root), "filters": {"label": "GM", "suffix": "probseg"}},
        "matrix": MATRIX,
        "decomposition": {"n_components": 3, "solver": "multiplicative", "tol": 1e-2},
        "selection": {"n_starts": 0, "n_null": 0},
        "report": {"figures": False, "covariates": []},
        "execution": {"n_procs": 1},
        **sections,
    }


@pytest.fixture
def config_of(write_config):
    return lambda root, **sections: load_config(write_config(settings_of(root, **sections)))


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """The output folder of a run."""
    folder = tmp_path_factory.mktemp("run")
    file = folder / "config.yaml"
    file.write_text(json.dumps(settings_of(root)))
    assert main(["run", str(file), "--output", str(folder / "out"), "--quiet"]) == 0
    return folder / "out"


def test_the_report_and_the_methods_say_what_was_done(done):
    page = (done / "report.html").read_text()
    section = re.search(r'<section id="adjustment">.*?</section>', page, re.DOTALL)[0]
    assert "divided by tiv" in section
    assert "batches of site" in section
    assert "The effects of age" in section
    for column in ("tiv", "site", "age"):
        assert f">{column}</td>" in section
    methods = page[page.index('id="methods-text"') :]
    assert "ComBat (Johnson et al., 2007; Fortin et al., 2017; Fortin et al., 2018)" in methods


@pytest.fixture(scope="module")
def model(done, tmp_path_factory):
    """The files of the model, as the how-to tells to copy them."""
    folder = tmp_path_factory.mktemp("model")
    for name in ("K3_model", "K3_components", "_mask", "_adjustment"):
        for file in (done / "group").glob(f"*desc-opnmf{name}.*"):
            if not file.name.endswith(("components.json", "mask.json")):
                shutil.copy(file, folder)
    return folder


@pytest.fixture
def project(model, monkeypatch):
    """Return a function that projects images; drawing takes seconds."""
    monkeypatch.setattr("opnmf_pipeline.runs.project.projection_page", lambda *args, **kwargs: "")

    def call(out, *arguments):
        return main(["project", str(model), *map(str, arguments), "-o", str(out), "-q"])

    return call


def loadings_in(file):
    return pd.read_csv(file, sep="\t", index_col="participant_id").filter(regex=r"component\d+$")


def test_a_copied_model_gives_the_subjects_of_the_run_their_loadings(
    project, model, done, root, tmp_path
):
    content = json.loads(next(model.glob("*model.json")).read_text())
    assert content["Adjustment"] == "desc-opnmf_adjustment.json"
    assert len(content["SHA256"]) == 4
    expected = loadings_in(*(done / "group").glob("*K3_loadings.tsv"))
    out = tmp_path / "out"
    assert project(out, root) == 0
    found = loadings_in(out / "group" / "desc-opnmfK3_loadings.tsv")
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    sidecar = json.loads(next(out.glob("sub-01/anat/*loadings.json")).read_text())
    assert set(sidecar["AdjustedFor"]) == {"tiv", "site", "age"}
    assert "of the adjusted image" in sidecar["component01_mean"]["Description"]
    arguments = [str(root), str(tmp_path / "bids"), "participant", "--model", str(model), "-q"]
    arguments += ["--participant-label", "03", "--skip-bids-validation"]
    assert bids_main(arguments) == 0
    alone = loadings_in(next((tmp_path / "bids").glob("sub-03/anat/*loadings.tsv")))
    np.testing.assert_array_equal(alone.iloc[0], found.loc["sub-03"])


def test_covariates_of_images_are_in_a_table_and_belong_to_the_result(
    project, root, tmp_path, capsys
):
    images, table = sorted(root.glob("sub-*/anat/*_probseg.nii.gz"))[:2], tmp_path / "people.tsv"
    out = tmp_path / "out"
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    people.to_csv(table, sep="\t", index=False)
    assert project(out, *images) == 2
    assert "adjusted for tiv, age, site" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    assert project(out, *images, "--participants", table) == 0
    before = loadings_in(out / "group" / "desc-opnmfK3_loadings.tsv")
    people.assign(age=[59, *people["age"][1:]]).to_csv(table, sep="\t", index=False)
    assert project(out, *images, "--participants", table) == 2
    assert "1 file(s) with loadings" in " ".join(capsys.readouterr().err.split())
    assert project(out, *images, "--participants", table, "--overwrite") == 0
    after = loadings_in(out / "group" / "desc-opnmfK3_loadings.tsv")
    assert ((before == after).all(axis=1)).tolist() == [False, True]


def test_ages_in_months_are_in_the_log_and_in_the_report(model, root, tmp_path, capsys):
    images, table = sorted(root.glob("sub-*/anat/*_probseg.nii.gz"))[:2], tmp_path / "people.tsv"
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    people.assign(age=people["age"] * 12).to_csv(table, sep="\t", index=False)
    arguments = [*map(str, images), "--participants", str(table), "-o", str(tmp_path / "out")]
    assert main(["project", str(model), *arguments]) == 0
    expected = "olumn 'age': the values of 2 of 2 new subjects are outside those of the cohort"
    assert expected in " ".join(capsys.readouterr().out.split())
    assert expected in html.unescape((tmp_path / "out" / "report.html").read_text())


def test_an_exported_model_has_its_adjustment(model, root, tmp_path):
    exported = export(model, tmp_path / "out", Credits(), formats=["model"]).folders["model"]
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    images = sorted(root.glob("sub-*/anat/*_probseg.nii.gz"))[:2]
    found, expected = (
        Model.load(one).project(images, covariates=people) for one in (exported, model)
    )
    pd.testing.assert_frame_equal(found, expected)


def test_an_adjustment_that_has_changed_is_refused(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "copy")
    (folder / "desc-opnmf_adjustment.npz").write_bytes(b"")
    with pytest.raises(ModelError, match=r"adjustment\.npz: has changed since the model was"):
        Model.load(folder)


def test_the_variance_of_the_loadings_that_a_column_explains_is_that_of_linear_models(done, root):
    """Before: WᵀX of the images as they are, with the components of the adjusted ones."""
    model = Model.load(done)
    mask = nb.load(model.mask_file).get_fdata() > 0
    images = sorted(root.glob("sub-*/anat/*_probseg.nii.gz"))
    before = np.array([model.W.T @ nb.load(path).get_fdata()[mask] for path in images])
    after = loadings_in(*(done / "group").glob("*K3_loadings.tsv")).to_numpy()
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    sidecar = json.loads(next((done / "group").glob("*K3_loadings.json")).read_text())
    assert "Sources" in sidecar
    for column, values in (("age", people["age"]), ("site", people["site"] == "a")):
        for when, loadings in (("Before", before), ("After", after)):
            expected = [np.corrcoef(one, values)[0, 1] ** 2 for one in loadings.T]
            found = sidecar["ExplainedByColumns"][column][when]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    page = (done / "report.html").read_text()
    largest = max(sidecar["ExplainedByColumns"]["site"]["Before"])
    section = re.search(r'<section id="adjustment">.*?</section>', page, re.DOTALL)[0]
    assert f">{largest:.1%}</td>" in section


def test_check_shows_the_design(root, write_config, capsys):
    settings = settings_of(root, matrix={**MATRIX, "covariates": "age + site"})
    settings["matrix"]["harmonize"] = {"batch": "site", "covariates": "age"}
    assert main(["check", str(write_config(settings))]) == 0
    printed = capsys.readouterr().out
    assert "design        3 columns, rank 3: intercept, age, site[T.b]" in printed
    assert "batches       a (8 subjects), b (8 subjects)" in printed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("matrix.covariates=__import__('os')", "is not a function of formulas"),
        ("matrix.covariates=agee", "no column 'agee'"),
        ("matrix.keep=group", "no column 'group'"),
        ("matrix.harmonize.batch=age", "with one subject"),
        ("matrix.harmonize.method=covbat", "'combat'"),
        ("matrix.scale.by=site", "'site' must have a positive number"),
    ],
    ids=["code", "covariates", "keep", "batch", "method", "scale"],
)
def test_check_refuses_what_a_run_would(root, write_config, capsys, override, message):
    path = write_config(settings_of(root))
    assert main(["check", str(path), "--set", override]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_site_that_the_adjustment_must_know_cannot_be_left_out(root, config_of):
    with pytest.raises(ConfigError, match="cannot be adjusted with a model that never saw"):
        make_plan(config_of(root, selection={"leave_out": "site"}))


def test_subjects_without_a_value_are_an_error_or_left_out(config_of, tmp_path, caplog):
    cohort = write_cohort(tmp_path / "dataset", three_parts(N))
    people = write_people(cohort.root, age=[np.nan, 30, np.nan, *range(40, 40 + N - 3)])
    config = config_of(cohort.root)
    with pytest.raises(CohortError, match=r"2 subject.*'age'.*: sub-01, sub-03; .*drop"):
        check_adjustment(config, people.astype(object))
    inputs = config.inputs.model_copy(update={"on_missing_covariate": "drop"})
    dropping = config.model_copy(update={"inputs": inputs})
    with caplog.at_level(logging.WARNING, logger="opnmf_pipeline"):
        left = with_values(people, dropping)
    assert "left out 2 subject(s) without a value" in caplog.text
    assert "sub-01, sub-03" in caplog.text
    assert left["participant_id"].tolist() == people["participant_id"][[1, *range(3, N)]].tolist()
    assert check_adjustment(dropping, left) is not None


def test_the_mask_and_the_raw_matrix_do_not_depend_on_the_adjustment(root, config_of):
    """So they are not computed again when the adjustment changes."""
    split = {"selection": {"n_splits": 1}}
    plain = {
        step.name: step for step in steps_of(config_of(root, matrix={"negative": "clip"}, **split))
    }
    adjusted = {step.name: step for step in steps_of(config_of(root, **split))}
    for name in ("mask", "matrix"):
        assert adjusted[name] == plain[name]
    assert "adjust" not in plain
    assert adjusted["halves"].inputs["matrix_dir"] == plain["halves"].inputs["matrix_dir"]
    assert adjusted["decompose"].inputs["matrix_dir"] != plain["decompose"].inputs["matrix_dir"]


def test_halves_balance_the_batches(root, config_of):
    (splits,) = (
        step
        for step in steps_of(config_of(root, selection={"n_splits": 1}))
        if step.name == "splits"
    )
    assert splits.inputs["stratify"] == ["site"]


def test_the_methods_can_be_written_before_the_run(root, config_of):
    matrix = {**MATRIX, "keep": "tiv", "scale": None}
    text = boilerplate(config_of(root, matrix=matrix, selection={"n_splits": 1}))
    assert "learned the adjustment from their own subjects" in text
    assert "the effects of age + tiv were in its model and kept" in text
    assert "the effects of tiv were in the model and kept" in text


def test_a_comma_that_ends_an_item_of_a_list_is_explained(config_of, root):
    with pytest.raises(ConfigError, match="a comma ends an item of a list"):
        config_of(root, matrix={"covariates": ["bs(age", "df=3)", "sex"]})


def test_keep_alone_is_refused(config_of, root):
    with pytest.raises(ConfigError, match="`keep` requires"):
        config_of(root, matrix={"keep": "age"})
