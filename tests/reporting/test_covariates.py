import numpy as np
import pandas as pd
import pytest
from scipy import stats

from opnmf_pipeline.reporting.covariates import find_covariates
from opnmf_pipeline.reporting.effects import draw_effects, measure_effects

N = 60


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02d}" for n in range(N)],
            "Age": rng.integers(20, 80, N),
            "sex": rng.choice(["F", "M"], N),
            "site": rng.choice([1, 2, 3], N),
            "iq": rng.normal(100, 15, N),
        }
    )


@pytest.fixture
def loadings(people):
    """The first falls with age, the second is higher in men, the third differs between sites."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(N, 3))
    noise[:, 0] -= 0.1 * people["Age"]
    noise[:, 1] += 2 * (people["sex"] == "M")
    noise[:, 2] += people["site"] ** 2
    return pd.DataFrame(noise, columns=["component 1", "component 2", "component 3"])


def test_age_is_a_number_and_sites_are_none(people):
    found = find_covariates(people)
    assert list(found) == ["Age", "sex", "site"]
    assert pd.api.types.is_numeric_dtype(found["Age"])
    assert sorted(found["site"].unique()) == ["1", "2", "3"]


def test_what_says_nothing_is_left_out(people):
    people["sex"] = "F"
    people["site"] = [f"site {n}" for n in range(N)]
    people.loc[5:, "Age"] = np.nan
    assert find_covariates(people).empty
    assert list(find_covariates(people)) == []


def test_correlations_are_those_of_scipy(people, loadings):
    found = measure_effects(loadings, find_covariates(people)["Age"])
    for name, row in found.values.iterrows():
        expected = stats.pearsonr(loadings[name], people["Age"])
        interval = expected.confidence_interval()
        np.testing.assert_allclose(row, [expected.statistic, *interval], rtol=1e-6)
    assert "loadings on component 1 fall with Age (r = -0." in found.words


def test_differences_are_those_of_the_definition(people, loadings):
    found = measure_effects(loadings, find_covariates(people)["sex"])
    women, men = (loadings[people["sex"] == sex]["component 2"] for sex in "FM")
    t = stats.ttest_ind(men, women).statistic
    d = t * np.sqrt(1 / len(men) + 1 / len(women))
    effect, low, high = found.values.loc["component 2"]
    np.testing.assert_allclose(effect, d, rtol=1e-12)
    assert low < d < high
    assert "loadings on component 2 are higher for sex M (d = " in found.words


def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    sex = pd.Series(["F"] * 30 + ["M"] * 30, name="sex")
    H = pd.DataFrame(rng.normal(size=(60, 4000)))
    H[30:] += 0.8
    table = measure_effects(H, sex).values
    holds = ((table["low"] < 0.8) & (table["high"] > 0.8)).mean()
    assert 0.94 < holds < 0.96


def test_variance_between_sites_is_that_of_a_linear_model(people, loadings):
    covariate = find_covariates(people)["site"]
    found = measure_effects(loadings, covariate)
    design = pd.get_dummies(covariate).to_numpy(float)
    y = loadings["component 3"] - loadings["component 3"].mean()
    rest = np.linalg.lstsq(design, y, rcond=None)[1][0]
    np.testing.assert_allclose(found.values.loc["component 3", "effect"], 1 - rest / (y @ y))
    assert "site explains " in found.words
    assert "of the variance of the loadings on component 3 (" in found.words


def test_subjects_without_a_value_are_left_out(people, loadings):
    people.loc[:9, "sex"] = None
    covariates = find_covariates(people)
    found = measure_effects(loadings, covariates["sex"])
    rest = measure_effects(loadings[10:], covariates["sex"][10:])
    pd.testing.assert_frame_equal(found.values, rest.values)
    assert "(50 subjects)" in found.words


def test_a_component_that_is_the_same_in_all_has_no_effect(people, loadings):
    loadings["component 1"] = 1.0
    for _, covariate in find_covariates(people).items():
        assert measure_effects(loadings, covariate).values.loc["component 1", "effect"] == 0


def test_the_picture_says_in_words_what_it_shows(people, loadings):
    effects = [measure_effects(loadings, column) for _, column in find_covariates(people).items()]
    figure = draw_effects(effects)
    assert figure.image.startswith(b"\x89PNG")
    assert all(effect.words in figure.alt for effect in effects)
