"""Which columns of the table of subjects are covariates of the report, and why others are not."""

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.reporting.covariates import (
    choose_covariates,
    require_columns,
    restore_covariates,
)

N = 60


@pytest.fixture
def people():
    """Text, as it is read from a table."""
    rng = np.random.default_rng(0)
    table = {
        "Age": rng.integers(20, 80, N),
        "Sex": np.tile(["F", "M", "M"], N // 3),
        "Gender": np.tile(["f", "m"], N // 2),
        "site": np.tile([1, 2, 3], N // 3),
        "iq": rng.normal(100, 15, N).round(),
        "comment": [f"text {n}" for n in range(N)],
    }
    return pd.DataFrame(table, index=[f"sub-{n:02d}" for n in range(N)]).astype(str)


def chosen(table, names=(), descriptions=None, subjects=None):
    return choose_covariates(table, subjects or table.index.tolist(), names, descriptions)


def names(found):
    return [covariate.name for covariate in found.used]


def test_usual_names_are_used_and_one_of_sex_and_gender(people):
    found = chosen(people)
    assert names(found) == ["Age", "Sex", "site"]
    assert found.unused == {
        "Gender": "Sex is used; both columns are about sex",
        "iq": "participants.json does not describe it, and its name is not a usual one",
        "comment": "participants.json does not describe it, and its name is not a usual one",
    }


def test_gender_is_used_where_sex_cannot_be(people):
    people["Sex"] = "F"
    found = chosen(people)
    assert names(found) == ["Age", "Gender", "site"]
    assert found.unused["Sex"] == "all subjects have the same value (F)"


@pytest.mark.parametrize("name", ["TIV", "eTIV", "icv", "age_at_scan"])
def test_usual_names_of_numbers(people, name):
    (found,) = chosen(people[["site"]].rename(columns={"site": name})).used
    assert found.levels == []


@pytest.mark.parametrize("name", ["diagnosis", "Group", "dx", "handedness", "scanner", "Site_ID"])
def test_usual_names_of_levels(people, name):
    (found,) = chosen(people[["site"]].rename(columns={"site": name})).used
    assert found.levels == ["1", "2", "3"]


@pytest.mark.parametrize("about", [{"Description": "IQ"}, {"Units": "points"}])
def test_what_is_described_is_used(people, about):
    found = chosen(people, descriptions={"iq": about, "comment": {}, "Age": "text"})
    assert names(found) == ["Age", "Sex", "site", "iq"]
    assert not found.used[-1].levels
    found = chosen(people, descriptions={"comment": about})
    assert found.unused["comment"] == (
        "60 different values that are not numbers; at most 40 can be compared"
    )


def test_the_settings_choose_columns_and_their_order(people):
    found = chosen(people, ["iq", "Gender", "Sex"])
    assert names(found) == ["iq", "Gender", "Sex"]
    assert found.unused == dict.fromkeys(
        ["Age", "site", "comment"], "not named in report.covariates"
    )


def test_a_name_that_is_no_column_is_an_error(people):
    with pytest.raises(ConfigError, match=r"report.covariates: .* no column 'tiv'; it has: Age, S"):
        require_columns(["Age", "tiv"], people)
    with pytest.raises(ConfigError, match="it has: no covariates"):
        chosen(people[[]], ["tiv"])


def test_numbers_are_codes_only_if_each_is_described(people):
    stages = {"stage": {"Levels": {"3": "late", "1": "early", "2": "middle"}}}
    table = people[["site"]].rename(columns={"site": "stage"})
    assert chosen(table, descriptions=stages).used[0].levels == ["3", "1", "2"]
    del stages["stage"]["Levels"]["3"]
    (stage,) = chosen(table, descriptions=stages).used
    assert stage.levels == []
    assert stage.values.tolist() == table["stage"].astype(float).tolist()


def test_sites_with_numbers_are_levels(people):
    (site,) = chosen(people[["site"]]).used
    assert site.levels == ["1", "2", "3"]


def test_the_reference_is_described_first_or_the_largest(people):
    (sex,) = chosen(people[["Sex"]]).used
    assert sex.levels == ["M", "F"]  # 40 and 20 subjects
    levels = {"Sex": {"Levels": {"F": "female", "M": "male"}}}
    (sex,) = chosen(people[["Sex"]], descriptions=levels).used
    assert sex.levels == ["F", "M"]
    assert sex.describe() == {"Type": "categorical", "Levels": ["F", "M"], "Reference": "F"}


def test_controls_are_the_reference(people):
    table = people[["Sex"]].replace({"F": "Control", "M": "patient"})
    (group,) = chosen(table.rename(columns={"Sex": "group"})).used
    assert group.levels == ["Control", "patient"]


def test_truth_values_are_levels(people):
    table = pd.DataFrame({"patient": ["True", "False"] * (N // 2)}, index=people.index)
    (patient,) = chosen(table, ["patient"]).used
    assert patient.levels == ["False", "True"]


def test_small_levels_are_left_out_and_counted_by_subject(people):
    people["site"] = ["1"] * 30 + ["2"] * 26 + ["3"] * 4
    (site,) = chosen(people[["site"]]).used
    assert site.levels == ["1", "2"]
    assert site.values.isna().sum() == 4
    assert site.note == "Levels with fewer than 5 subjects are left out: 3."
    people["site"] = ["1"] * 40 + ["2"] * 20
    sessions = [f"sub-{number}" for number in range(40)] + ["sub-40"] * 20
    found = chosen(people[["site"]], subjects=sessions)
    assert found.unused == {"site": "fewer than two of its values have 5 subjects or more"}


def test_values_that_are_no_numbers_are_named(people):
    people.loc["sub-03", "Age"] = "unknown"
    people.loc["sub-04", "Age"] = "89+"
    people.loc["sub-05", "Age"] = " "
    (age,) = chosen(people[["Age"]]).used
    assert age.note == "1 values, such as 'unknown', are not numbers and are left out."
    assert age.values.isna().sum() == 2
    assert age.values["sub-04"] == 89


@pytest.mark.parametrize(
    ("n_known", "reason"),
    [
        (0, "0 subjects have a value; 10 are needed"),
        (9, "9 subjects have a value; 10 are needed"),
        (29, "fewer than half of the subjects have a value (29 of 60)"),
    ],
)
def test_columns_with_few_values_are_not_used(people, n_known, reason):
    people.iloc[n_known:, 0] = None
    assert chosen(people[["Age"]]).unused == {"Age": reason}


def test_columns_that_are_named_may_have_few_values(people):
    people.iloc[29:, 0] = None
    assert names(chosen(people[["Age"]], ["Age"])) == ["Age"]


def test_a_described_questionnaire_does_not_fill_the_model(people):
    rng = np.random.default_rng(0)
    for item in range(20):
        people.insert(0, f"item{item}", rng.integers(0, 100, N).astype(str))
    about = {f"item{item}": {"Description": "an item"} for item in range(20)}
    found = chosen(people, descriptions=about)
    assert len(found.used) == 8
    assert names(found)[-3:] == ["Age", "Sex", "site"]  # the usual ones come first
    assert list(found.unused.values()).count("8 covariates are used by default") == 15


def test_columns_are_restored_from_their_description(people):
    people.loc["sub-00", "site"] = "9"
    found = chosen(people[["Age", "site"]])
    about = {covariate.name: covariate.describe() for covariate in found.used}
    table = restore_covariates(people, about)
    assert list(table) == ["Age", "site"]
    for covariate in found.used:
        pairs = zip(table[covariate.name], covariate.values, strict=True)
        assert all(a == b or (pd.isna(a) and pd.isna(b)) for a, b in pairs)
