"""Runs whose matrix is adjusted: from the settings to the report and to new subjects."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.config import OutputConfig, load_config
from opnmf_pipeline.engines.steps import steps_of
from opnmf_pipeline.exceptions import CohortError, ConfigError, ModelError
from opnmf_pipeline.runs.adjustment import check_adjustment, with_values
from opnmf_pipeline.runs.boilerplate import boilerplate
from opnmf_pipeline.runs.plan import make_plan
from opnmf_pipeline.runs.project import project
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
        "selection": {"n_splits": 1, "n_starts": 0, "n_null": 0},
        "report": {"figures": False},
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
    assert "learned the adjustment from their own subjects" in methods


def test_new_subjects_are_refused_instead_of_projected_without_the_adjustment(
    done, root, config_of, tmp_path
):
    config = config_of(root).model_copy(update={"output": OutputConfig(dir=tmp_path / "new")})
    with pytest.raises(ModelError, match="images of this model were adjusted for covariates"):
        project(config, done)


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
    plain = {step.name: step for step in steps_of(config_of(root, matrix={"negative": "clip"}))}
    adjusted = {step.name: step for step in steps_of(config_of(root))}
    for name in ("mask", "matrix"):
        assert adjusted[name] == plain[name]
    assert "adjust" not in plain
    assert adjusted["halves"].inputs["matrix_dir"] == plain["halves"].inputs["matrix_dir"]
    assert adjusted["decompose"].inputs["matrix_dir"] != plain["decompose"].inputs["matrix_dir"]


def test_halves_balance_the_batches(root, config_of):
    (splits,) = (step for step in steps_of(config_of(root)) if step.name == "splits")
    assert splits.inputs["stratify"] == ["site"]


def test_the_methods_can_be_written_before_the_run(root, config_of):
    text = boilerplate(config_of(root, matrix={**MATRIX, "keep": "tiv", "scale": None}))
    assert "the effects of age + tiv were in its model and kept" in text
    assert "the effects of tiv were in the model and kept" in text


def test_a_comma_that_ends_an_item_of_a_list_is_explained(config_of, root):
    with pytest.raises(ConfigError, match="a comma ends an item of a list"):
        config_of(root, matrix={"covariates": ["bs(age", "df=3)", "sex"]})


def test_keep_alone_is_refused(config_of, root):
    with pytest.raises(ConfigError, match="`keep` requires"):
        config_of(root, matrix={"keep": "age"})
