import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from opnmf_pipeline.adjustment import blocks
from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig


@pytest.fixture
def X(people):
    """Values of 12 voxels with effects of age, sex and diagnosis."""
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(12, 3)) * [0.02, 0.5, 0.7]
    columns = [people["age"], people["sex"] == "M", people["diagnosis"] == "patient"]
    noise = 0.3 * rng.normal(size=(12, len(people)))
    return 5 + effects @ np.array(columns, dtype=float) + noise


def adjusted(X, people, learned_from=None, **settings):
    X_fit, people_fit = learned_from or (X, people)
    found = Adjustment.learn(X_fit, people_fit, MatrixConfig(**settings))
    return found.apply(X, people, np.empty(X.shape))


def test_residuals_plus_mean_are_those_of_statsmodels(X, people):
    found = adjusted(X, people, covariates="age + sex")
    for voxel, values in enumerate(X):
        model = smf.ols("x ~ age + sex", people.assign(x=values)).fit()
        np.testing.assert_allclose(found[voxel], model.resid + values.mean(), atol=1e-10)


def test_effects_of_interest_stay_as_in_the_joint_model(X, people):
    """The effect of diagnosis, in the model with the covariates, is the same before and after."""
    found = adjusted(X, people, covariates="age + sex", keep="diagnosis")
    for voxel in (0, len(X) - 1):
        before, after = (
            smf.ols("x ~ age + sex + diagnosis", people.assign(x=values[voxel])).fit().params
            for values in (X, found)
        )
        assert after["diagnosis[T.patient]"] == pytest.approx(before["diagnosis[T.patient]"])
        assert after["age"] == pytest.approx(0, abs=1e-10)
        assert after["sex[T.M]"] == pytest.approx(0, abs=1e-10)


def test_other_subjects_get_the_effects_of_those_learned_from(X, people):
    first, second = slice(0, 30), slice(30, 60)
    learned_from = X[:, first], people.iloc[first]
    found = adjusted(X[:, second], people.iloc[second], learned_from, covariates="age")
    for voxel in range(len(X)):
        slope = np.polyfit(people["age"].iloc[first], X[voxel, first], 1)[0]
        shift = slope * (people["age"].iloc[second] - people["age"].iloc[first].mean())
        np.testing.assert_allclose(found[voxel], X[voxel, second] - shift, atol=1e-10)


def test_units_and_collinear_columns_do_not_change_the_result(X, people):
    plain = adjusted(X, people, covariates="age + sex")
    scaled = people.assign(age=1e-9 * people["age"], days=365.25 * people["age"])
    np.testing.assert_allclose(adjusted(X, scaled, covariates="age + sex + days"), plain, atol=1e-8)


def test_blocks_do_not_change_the_result(X, people, monkeypatch):
    whole = adjusted(X, people, covariates="bs(age, df=4)", harmonize={"batch": "site"})
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 5 * 8 * len(people))
    parts = adjusted(X, people, covariates="bs(age, df=4)", harmonize={"batch": "site"})
    np.testing.assert_allclose(parts, whole, rtol=1e-12)


def test_regression_on_head_size_joins_the_model_of_the_covariates(X, people):
    by_size = adjusted(X, people, scale={"by": "tiv", "method": "regression"}, covariates="age")
    np.testing.assert_allclose(by_size, adjusted(X, people, covariates="age + tiv"), atol=1e-10)


def test_proportional_scaling_divides_by_the_column_and_keeps_the_units(X, people):
    found = adjusted(X, people, scale={"by": "tiv"})
    np.testing.assert_allclose(found, X / people["tiv"].to_numpy() * people["tiv"].mean())


def test_scaling_by_the_global_mean_gives_all_images_one_mean(X, people):
    found = adjusted(X, people, scale={"by": "global"})
    np.testing.assert_allclose(found.mean(axis=0), X.mean(), rtol=1e-12)


def test_a_shift_of_the_matrix_is_undone_first(X, people):
    options = MatrixConfig(scale={"by": "global"}, covariates="age")
    expected = Adjustment.learn(X, people, options).apply(X, people, np.empty(X.shape))
    moved = Adjustment.learn(X + 2, people, options, -2.0)
    np.testing.assert_allclose(moved.apply(X + 2, people, np.empty(X.shape), -2.0), expected)


def test_a_constant_voxel_stays_as_it_is(X, people):
    X[3] = 0.7
    found = adjusted(X, people, covariates="age", harmonize={"batch": "site"})
    np.testing.assert_allclose(found[3], 0.7, rtol=1e-12)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("value", [0, -1, np.nan, "big"])
def test_scaling_needs_positive_numbers(X, people, value):
    table = people.assign(tiv=pd.Series([value, *people["tiv"][1:]], index=people.index))
    with pytest.raises(ValueError, match=r"'tiv'.*sub-01"):
        adjusted(X, table, scale={"by": "tiv"})
