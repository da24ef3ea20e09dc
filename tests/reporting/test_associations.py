"""Linear models of loadings on covariates, against scipy, formulas, and planted effects."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

from opnmf_pipeline.reporting.associations import CLUSTER_NOTE, measure_associations
from opnmf_pipeline.reporting.covariates import choose_covariates

N = 90
FORMULA = "y ~ Age + TIV + C(sex, Treatment('M')) + C(site, Treatment('3'))"


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(index=[f"sub-{n:02d}" for n in range(N)])
    table["Age"] = rng.integers(20, 80, N).astype(str)
    table["sex"] = ["F"] * 40 + ["M"] * 50
    table["TIV"] = (1.4e6 + 1e5 * (table["sex"] == "M") + rng.normal(0, 1e5, N)).astype(str)
    table["site"] = np.resize(["3", "1", "3", "2"], N)
    return table


@pytest.fixture
def loadings(people):
    """The first falls with age, the second differs by sex, the third by site."""
    H = np.random.default_rng(1).normal(size=(N, 4))
    H[:, 0] -= 0.1 * people["Age"].astype(float)
    H[:, 1] += 2 * (people["sex"] == "M")
    H[:, 2] += people["site"].astype(float)
    return pd.DataFrame(H, people.index, [f"component0{k}" for k in (1, 2, 3, 4)])


def measured(loadings, people, subjects=None, names=()):
    subjects = subjects or people.index.tolist()
    covariates = choose_covariates(people, subjects, names).used
    return measure_associations(loadings, covariates, subjects)


def only(table, **values):
    for name, value in values.items():
        table = table[table[name].isna() if value is None else table[name] == value]
    (row,) = table.to_dict("records")
    return row


def by_formula(people, y, formula, **options):
    data = people.assign(y=y, Age=people["Age"].astype(float), TIV=people["TIV"].astype(float))
    return smf.ols(formula, data).fit(**options)


def test_simple_correlations_are_those_of_scipy(people, loadings):
    table = measured(loadings, people).table
    for name in loadings:
        row = only(table, component=name, covariate="Age", model="simple")
        expected = stats.pearsonr(loadings[name], people["Age"].astype(float))
        found = [row[key] for key in ("effect", "ci_low", "ci_high", "p")]
        interval = expected.confidence_interval()
        np.testing.assert_allclose(found, [expected.statistic, *interval, expected.pvalue])
        slope = stats.linregress(people["Age"].astype(float), loadings[name])
        np.testing.assert_allclose([row["estimate"], row["se"]], [slope.slope, slope.stderr])


def test_simple_differences_are_those_of_the_t_test(people, loadings):
    table = measured(loadings, people).table
    row = only(table, component="component02", covariate="sex", model="simple")
    women, men = (loadings[people["sex"] == sex]["component02"] for sex in "FM")
    test = stats.ttest_ind(women, men)
    assert (row["level"], row["reference"], row["measure"]) == ("F", "M", "d")
    d = test.statistic * np.sqrt(1 / len(women) + 1 / len(men))
    np.testing.assert_allclose(
        [row["effect"], row["statistic"], row["p"], row["df"]],
        [d, test.statistic, test.pvalue, N - 2],
    )
    assert row["ci_low"] < d < row["ci_high"]


def test_levels_together_are_those_of_an_analysis_of_variance(people, loadings):
    row = only(
        measured(loadings, people).table,
        component="component03",
        covariate="site",
        model="simple",
        level=None,
    )
    groups = [loadings["component03"][people["site"] == site] for site in "123"]
    expected = stats.f_oneway(*groups)
    np.testing.assert_allclose([row["statistic"], row["p"]], expected)
    between = sum(len(g) * (g.mean() - loadings["component03"].mean()) ** 2 for g in groups)
    total = loadings["component03"].var(ddof=0) * N
    np.testing.assert_allclose(row["effect"], between / total)


def test_the_adjusted_model_is_that_of_a_formula(people, loadings):
    table = measured(loadings, people).table
    y = loadings["component03"]
    fit = by_formula(people, y, FORMULA)
    for covariate, level, name in (
        ("Age", None, "Age"),
        ("TIV", None, "TIV"),
        ("sex", "F", "C(sex, Treatment('M'))[T.F]"),
        ("site", "1", "C(site, Treatment('3'))[T.1]"),
        ("site", "2", "C(site, Treatment('3'))[T.2]"),
    ):
        row = only(table, component=y.name, covariate=covariate, level=level, model="adjusted")
        found = [row[key] for key in ("estimate", "se", "statistic", "p")]
        expected = [fit.params[name], fit.bse[name], fit.tvalues[name], fit.pvalues[name]]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        if level:
            np.testing.assert_allclose(row["effect"], fit.params[name] / np.sqrt(fit.scale))
    reduced = by_formula(people, y, FORMULA.rpartition(" + ")[0])
    row = only(table, component=y.name, covariate="site", level=None, model="adjusted")
    np.testing.assert_allclose(row["effect"], 1 - fit.ssr / reduced.ssr)


def test_a_partial_correlation_is_that_of_the_residuals(people, loadings):
    row = only(
        measured(loadings, people).table,
        component="component01",
        covariate="Age",
        model="adjusted",
    )
    others = FORMULA.replace("Age + ", "")
    rest = by_formula(people, loadings["component01"], others).resid
    of_age = by_formula(people, people["Age"].astype(float), others).resid
    np.testing.assert_allclose(row["effect"], stats.pearsonr(rest, of_age).statistic)


def test_p_values_are_corrected_over_the_components(people, loadings):
    table = measured(loadings, people).table
    for _, rows in table.groupby(["covariate", "level", "model"], dropna=False):
        assert len(rows) == loadings.shape[1]
        np.testing.assert_allclose(rows["p_fdr"], stats.false_discovery_control(rows["p"]))


@pytest.mark.parametrize("adjusted", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(adjusted):
    rng = np.random.default_rng(0)
    n_times = 200
    sex = np.repeat(["F", "M"], 30)
    age = 50 + 10 * (sex == "M") + rng.normal(0, 10, 60)
    truth = 2.5  # difference in standard deviations, at equal age
    H = rng.normal(size=(60, n_times)) - truth * (sex == "F")[:, None]
    if adjusted:
        H += 0.1 * age[:, None]
    people = pd.DataFrame({"sex": sex, "age": age.astype(str)}).set_axis(
        [f"sub-{n}" for n in range(60)]
    )
    table = measured(pd.DataFrame(H, people.index), people).table
    rows = table[
        (table["covariate"] == "sex") & (table["model"] == ("adjusted" if adjusted else "simple"))
    ]
    sign = 1 if rows["level"].iloc[0] == "M" else -1
    holds = (rows["ci_low"] < sign * truth) & (rows["ci_high"] > sign * truth)
    assert len(holds) == n_times
    assert 0.92 <= holds.mean() <= 0.98


def test_sessions_of_a_subject_are_clusters(people, loadings):
    subjects = [f"sub-{n // 3}" for n in range(N)]
    found = measured(loadings, people, subjects)
    y = loadings["component01"]
    clusters = {"cov_type": "cluster", "cov_kwds": {"groups": np.repeat(range(30), 3)}}
    fit = by_formula(people, y, FORMULA, **clusters, use_t=True)
    row = only(found.table, component=y.name, covariate="Age", model="adjusted")
    expected = [fit.params["Age"], fit.bse["Age"], fit.pvalues["Age"], 29]
    np.testing.assert_allclose([row[key] for key in ("estimate", "se", "p", "df")], expected)
    assert CLUSTER_NOTE in found.notes
    alone = measured(loadings, people)
    assert CLUSTER_NOTE not in alone.notes
    same = only(alone.table, component=y.name, covariate="Age", model="adjusted")
    np.testing.assert_allclose(row["effect"], same["effect"])


def test_copies_of_every_row_make_no_interval_narrower(people, loadings):
    def width(rows, subjects, **values):
        table = measured(loadings.iloc[rows], people.iloc[rows], subjects).table
        row = only(table, component="component01", model="simple", **values)
        return row["ci_high"] - row["ci_low"]

    once, rows = people.index.tolist(), np.repeat(range(N), 4)
    four = [once[row] for row in rows]
    for values in ({"covariate": "Age"}, {"covariate": "sex"}):
        assert width(rows, four, **values) > 0.8 * width(range(N), once, **values)


def test_what_cannot_be_separated_has_no_adjusted_effect(people, loadings):
    people["diagnosis"] = np.where(people["site"] == "3", "patient", "control")
    found = measured(loadings, people)
    rows = found.table[found.table["component"] == "component03"].set_index("covariate")
    adjusted = rows[rows["model"] == "adjusted"]
    assert adjusted.loc[["site", "diagnosis"], ["effect", "p"]].isna().all(axis=None)
    assert rows.loc[rows["model"] == "simple", "effect"].notna().all()
    (note,) = [note for note in found.notes if "collinear" in note]
    assert "no effect of site and diagnosis:" in note
    # the other covariates are adjusted for both
    without = measured(loadings, people.drop(columns="diagnosis")).table
    for covariate in ("Age", "TIV", "sex"):
        same = only(without, component="component03", covariate=covariate, model="adjusted")
        np.testing.assert_allclose(adjusted.loc[covariate, "effect"], same["effect"])


def test_rows_without_a_value_are_not_in_a_model(people, loadings):
    people.loc[people.index[:7], "Age"] = None
    people.loc[people.index[5:9], "site"] = None
    found = measured(loadings, people)
    rest = measured(loadings[9:], people[9:])
    kept = ["component", "covariate", "level", "model", "n", "effect", "ci_low", "p", "p_fdr"]
    both = [
        table.loc[table["model"] == "adjusted", kept].reset_index(drop=True)
        for table in (found.table, rest.table)
    ]
    pd.testing.assert_frame_equal(*both)
    assert only(found.table, component="component01", covariate="Age", model="simple")["n"] == 83
    assert found.notes == [
        "Age: 7 of 90 rows have no value that can be used, and are not in its models.",
        "site: 4 of 90 rows have no value that can be used, and are not in its models.",
        "The adjusted model has 81 of 90 rows; the others lack a value of one of its covariates.",
    ]


def test_levels_that_get_small_leave_the_adjusted_model(people, loadings):
    rare = people.index[people["site"] == "2"]
    people.loc[rare[:-4], "Age"] = None  # 4 subjects of this site keep their age
    table = measured(loadings, people).table
    levels = table[table["covariate"] == "site"].groupby("model")["level"].unique()
    assert set(levels["simple"]) == {np.nan, "1", "2"}
    assert set(levels["adjusted"]) == {"1"}
    assert (table.loc[table["model"] == "adjusted", "n"] == N - len(rare)).all()


def test_a_covariate_with_one_value_left_leaves_the_adjusted_model(people, loadings):
    people.loc[people["sex"] == "F", "TIV"] = None
    found = measured(loadings, people)
    adjusted = found.table[found.table["model"] == "adjusted"]
    assert set(adjusted["covariate"]) == {"Age", "TIV", "site"}
    assert "The adjusted model does not contain sex: one value is left in its rows." in found.notes


def test_too_few_rows_give_no_adjusted_model(people, loadings):
    people.loc[people.index[:45], "Age"] = None
    people.loc[people.index[45:], "TIV"] = None
    found = measured(loadings, people)
    assert set(found.table["model"]) == {"simple"}
    assert any(note.startswith("There is no adjusted model: of the cov") for note in found.notes)
    rows = people.index[:12]
    small = people.loc[rows].assign(sex=["F", "M"] * 6, site=["1", "1", "2"] * 4, Age=range(12))
    many = {f"x{n}": np.random.default_rng(n).normal(size=12).astype(str) for n in range(5)}
    small = small.assign(TIV=range(5, 17), **many).astype(str)
    named = ["Age", "sex", *many]
    found = measured(loadings.loc[rows], small, names=named)
    assert set(found.table["model"]) == {"simple"}
    assert "12 rows have a value of all covariates, which is too few for 8" in found.notes[-1]


def test_loadings_that_do_not_vary_have_no_association(people, loadings):
    table = measured(loadings.assign(component01=1.0), people).table
    constant = table["component"] == "component01"
    assert table.loc[constant, ["effect", "p", "p_fdr"]].isna().all(axis=None)
    assert table.loc[~constant, ["effect", "p_fdr"]].notna().all(axis=None)


STRANGE = ["C(x)", "a + b", "`tick`", "Größe [cm]", "np.log(y)", "1", "$x$", "component"]


def test_names_and_levels_are_no_formula(people, loadings):
    loadings = loadings[["component01"]]
    for new in STRANGE:
        table = people.rename(columns={"Age": new})[[new, "site"]]
        table["site"] = table["site"].map({"1": f"{new}: - ", "2": "x", "3": "[T.x]"})
        found = measured(loadings, table, names=[new, "site"]).table
        row = only(found, component="component01", covariate=new, model="adjusted")
        plain = measured(loadings, people[["Age", "site"]]).table
        same = only(plain, component="component01", covariate="Age", model="adjusted")
        np.testing.assert_allclose(row["effect"], same["effect"])


def test_units_of_a_covariate_change_only_the_coefficient(people, loadings):
    small = people.assign(TIV=(people["TIV"].astype(float) * 1e-18).astype(str))
    for model in ("simple", "adjusted"):
        a, b = (
            only(
                measured(loadings, table).table,
                component="component02",
                covariate="TIV",
                model=model,
            )
            for table in (people, small)
        )
        np.testing.assert_allclose(a["effect"], b["effect"], rtol=1e-6)
        np.testing.assert_allclose(a["estimate"], b["estimate"] * 1e-18, rtol=1e-6)


def test_without_covariates_there_is_nothing_to_measure(people, loadings):
    found = measure_associations(loadings, [], people.index.tolist())
    assert found.table.empty
    assert found.notes == []
