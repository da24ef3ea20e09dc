"""The files of the stage: tables of loadings and subjects in any order go in, effects come out."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from opnmf_pipeline.exceptions import CohortError, ConfigError, FileError
from opnmf_pipeline.reporting.associations import COLUMNS
from opnmf_pipeline.stages.associations import write_associations
from opnmf_pipeline.tables import write_table

N = 30


@pytest.fixture
def files(tmp_path):
    """Loadings that fall with age; the rows of both tables have different orders."""
    rng = np.random.default_rng(0)
    people = pd.DataFrame({"participant_id": [f"sub-{n:02d}" for n in range(N)], "image": "x.nii"})
    people["age"] = rng.integers(20, 80, N)
    people["stage"] = np.resize([1, 2], N)
    people["image_covariate"] = "y"
    loadings = people[["participant_id"]].assign(component01=-people["age"] + rng.normal(0, 9, N))
    write_table(people.sample(frac=1, random_state=1), tmp_path / "cohort.tsv")
    write_table(loadings.sample(frac=1, random_state=2), tmp_path / "loadings.tsv")
    (tmp_path / "out").mkdir()
    return tmp_path, stats.pearsonr(people["age"], loadings["component01"])


def written(folder, *names, **options):
    out = write_associations(
        folder / "loadings.tsv", folder / "cohort.tsv", folder / "out", names, **options
    )
    about = json.loads((out / "associations.json").read_text(encoding="utf-8"))
    return pd.read_csv(out / "associations.tsv", sep="\t"), about


def test_the_rows_of_a_subject_belong_to_each_other(files):
    folder, expected = files
    table, about = written(folder)
    assert list(table) == list(COLUMNS)
    row = table.iloc[0]
    assert (row["covariate"], row["model"], row["n"]) == ("age", "simple", N)
    np.testing.assert_allclose([row["effect"], row["p"]], [expected.statistic, expected.pvalue])
    assert about["Covariates"] == {"age": {"Type": "numeric"}}
    assert list(about["NotUsed"]) == ["stage", "image_covariate"]
    assert set(table) <= set(about)


def test_a_subject_without_a_row_is_named(files):
    folder, _ = files
    people = pd.read_csv(folder / "cohort.tsv", sep="\t", dtype=str)
    write_table(people[people["participant_id"] != "sub-07"], folder / "cohort.tsv")
    with pytest.raises(CohortError, match=r"cohort.tsv: has no row for 1 subject.*\n  sub-07\n"):
        written(folder)


def test_descriptions_make_codes_levels(files):
    folder, _ = files
    described = folder / "participants.json"
    described.write_text(json.dumps({"stage": {"Levels": {"2": "late", "1": "early"}}}))
    table, about = written(folder, descriptions_file=described)
    stage = {"Type": "categorical", "Levels": ["2", "1"], "Reference": "2"}
    assert about["Covariates"] == {"age": {"Type": "numeric"}, "stage": stage}
    assert set(table["model"]) == {"simple", "adjusted"}
    described.write_text("[]")
    with pytest.raises(FileError, match=r"participants\.json"):
        written(folder, descriptions_file=described)


def test_the_settings_choose(files):
    folder, _ = files
    table, about = written(folder, "stage")
    assert set(table["covariate"]) == {"stage"}
    assert about["NotUsed"]["age"] == "not named in report.covariates"
    with pytest.raises(ConfigError, match="no column 'image'"):
        written(folder, "image")
