import pytest

from opnmf_pipeline.adjustment import formula as formula_module
from opnmf_pipeline.adjustment.design import Design
from opnmf_pipeline.adjustment.formula import columns_of
from opnmf_pipeline.exceptions import ConfigError

COLUMNS = ["age", "sex", "site", "scan code"]


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("age", ["age"]),
        ("1 + age*sex - age:sex", ["age", "sex"]),
        ("bs(age, df=4) + C(site)", ["age", "site"]),
        ("bs(age, knots=[30, 45.5], degree=2)", ["age"]),
        ("poly(age, 2):sex + log(age + 1)", ["age", "sex"]),
        ("I((age - 40) ** 2) / sex", ["age", "sex"]),
        ("C(`scan code`) + `scan code`", ["scan code"]),
    ],
)
def test_columns_are_found_in_their_order(formula, columns):
    assert columns_of("matrix.covariates", formula, COLUMNS) == columns


@pytest.mark.parametrize(
    ("formula", "problem"),
    [
        ("__import__('os').system('touch here')", "'__import__' is not a function"),
        ("age.__class__", "no column 'age.__class__'"),
        ("I(age.mean())", "'age.mean()' is not allowed"),
        ("{age.mean()}", "is not allowed"),
        ("{age}", "is not allowed"),
        ("np.log(age)", "'np.log(age)' is not allowed"),
        ("I((lambda: 1)())", "is not allowed"),
        ("I([a for a in age])", "is not allowed"),
        ("I(age if age else 1)", "is not allowed"),
        ("I(f'{age}')", "is not allowed"),
        ("C(age, contr.sum)", "'contr.sum' must be an integer"),
        ("hashed(sex)", "'hashed' is not a function"),
        ("exec(age)", "'exec' is not a function"),
        ("bs(age, df=4, extrapolation=2)", "bs has no option 'extrapolation'"),
        ("bs(age, df=1000000000)", "must be an integer from 0 to 30"),
        ("bs(age, knots=age)", "knots must be a list of numbers"),
        ("bs(age, **sex)", "bs has no option None"),
        ("I(age ** 9 ** 9 ** 9)", "'9 ** 9 ** 9' must be an integer"),
        ("I(age + 9 ** 9)", "'9 ** 9' is not allowed"),
        ("(age + sex + site) ** 9", "'**' is not allowed"),
        ("age ^ 2", "'^' is not allowed"),
        ("age ~ sex", "'~' is not allowed"),
        ("age | sex", "'|' is not allowed"),
        ("age %in% sex", "'in' is not allowed"),
        (".", "'.' is not allowed"),
        ("[age ~ sex]", "'[' is not allowed"),
        ("'age'", "is not allowed"),
        ("age[0]", "is not allowed"),
        ("0 + age", "removes the intercept"),
        ("age - 1", "removes the intercept"),
        ("agee", "no column 'agee'; it has: age, sex, site, scan code"),
        ("1", "names no column"),
        ("", "names no column"),
        ("age +", "cannot be read as a formula: Operator"),
        ("log(age", "ended before"),
        ("age + " * 400 + "age", "more than 1000 characters"),
    ],
    ids=range(36),
)
def test_everything_else_is_refused_before_it_is_evaluated(formula, problem, monkeypatch):
    monkeypatch.setattr("builtins.eval", lambda *_: pytest.fail("code was evaluated"))
    with pytest.raises(ConfigError, match=r"^matrix\.keep: ") as caught:
        columns_of("matrix.keep", formula, COLUMNS)
    assert problem in str(caught.value)


def test_a_design_does_not_evaluate_what_is_refused(people, tmp_path):
    there = tmp_path / "there"
    code = f"I(__import__('pathlib').Path('{there}').touch())"
    with pytest.raises(ConfigError):
        Design.learn("matrix.covariates", code, people)
    assert not there.exists()


def test_a_column_may_be_called_like_a_function(people):
    """Only the columns of the formula are passed on; one that is called, too, is refused."""
    table = people.assign(C=people["sex"])
    assert Design.learn("matrix.covariates", "C(sex)", table).names == ("C(sex)[T.M]",)
    with pytest.raises(ConfigError, match="cannot be computed from the table"):
        Design.learn("matrix.covariates", "C(C)", table)


def test_every_function_can_be_used(people):
    for name in formula_module.FUNCTIONS:
        option = ", df=4" if name in ("bs", "cr") else ", 2" if name == "poly" else ""
        assert Design.learn("matrix.covariates", f"{name}(age{option})", people).names
