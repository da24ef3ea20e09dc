import numpy as np
import pytest

from opnmf_pipeline.adjustment.summary import summarized
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ConfigError


def test_a_design_is_described(people):
    options = MatrixConfig(
        harmonize={"batch": "site"}, covariates="age + sex + days", keep="diagnosis"
    )
    found = summarized(options, people.assign(days=2 * people["age"] + 1))
    assert found.columns == ("age", "sex[T.M]", "days", "diagnosis[T.patient]")
    assert found.rank == 4
    assert found.collinear == ("days",)
    assert found.batches == {"north": 24, "south": 20, "west": 16}


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        ({"covariates": "age"}, {"age": 30}, r"'age'.* same value \(30\) for all subjects"),
        ({"harmonize": {"batch": "site"}}, {"site": "north"}, r"'site'.* same value \(north\)"),
        (
            {"harmonize": {"batch": "site", "covariates": "sex"}},
            {"sex": ["F"] * 24 + ["M"] * 36},
            r"batches of 'site' and the columns sex\[T.M\] .* cannot be told apart",
        ),
        (
            {"covariates": "age + sex", "keep": "diagnosis"},
            {"diagnosis": ["a"] * 30 + ["b"] * 30, "sex": ["F"] * 30 + ["M"] * 30},
            r"matrix\.keep: the columns diagnosis\[T.b\] .* cannot be told apart",
        ),
        ({"covariates": "bs(age, df=30) + C(`scan code`)*C(tiv)"}, {}, "too many for 60 subjects"),
    ],
    ids=["constant", "one batch", "confounded", "keep", "many"],
)
def test_what_cannot_be_estimated_is_refused(people, settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        summarized(MatrixConfig(**settings), people.assign(**changes))


def test_a_batch_with_one_subject_is_refused(people):
    table = people.assign(site=["east", *people["site"][1:]])
    with pytest.raises(ConfigError, match="'site' with one subject: east; their scale cannot"):
        summarized(MatrixConfig(harmonize={"batch": "site"}), table)


def test_missing_values_are_refused(people):
    table = people.copy()
    table.loc["sub-09", "tiv"] = np.nan
    with pytest.raises(CohortError, match=r"'tiv'.*sub-09"):
        summarized(MatrixConfig(scale={"by": "tiv"}), table)
