"""Results do not depend on the unit of the data, nor on the dtype that they come in."""

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, PNMF
from opnmf_pipeline.decomposition.solvers import SOLVERS
from tests.arrays import overlapping_parts

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

SCALES = [2.0**-100, 1e-30, 1e-9, 1e-5, 65535.0, 1e30, 2.0**100]


@pytest.fixture(scope="module")
def data():
    return overlapping_parts(np.random.default_rng(3), 120, 16, 3)


def fit(X, solver="multiplicative", **parameters):
    parameters = {"tol": 1e-4, "max_iter": 400, "random_state": 0, "n_init": 3, **parameters}
    return OPNMF(3, solver=solver, **parameters).fit(X)


def assert_same(fitted, reference, scale=1.0, rtol=1e-3):
    np.testing.assert_array_equal(fitted.coef_.argmax(axis=1), reference.coef_.argmax(axis=1))
    assert fitted.n_iter_ == reference.n_iter_
    assert fitted.mse_ == pytest.approx(scale * reference.mse_, rel=rtol)
    assert fitted.lower_bound_ == pytest.approx(scale * reference.lower_bound_, rel=rtol)
    last, expected = fitted.history_[-1].objective, reference.history_[-1].objective
    assert last == pytest.approx(scale * expected, rel=rtol)
    np.testing.assert_allclose(
        fitted.components_ / scale, reference.components_, rtol=0.01, atol=1e-3
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_unit_has_no_influence(data, solver, scale, dtype):
    assert_same(fit(scale * data, solver, dtype=dtype), fit(data, solver, dtype=dtype), scale)


@pytest.mark.parametrize("init", ["nndsvda", "nndsvdar", "random"])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_the_unit_has_no_influence_on_a_start(data, init, scale):
    fitted, reference = (fit(factor * data, init=init) for factor in (scale, 1))
    np.testing.assert_array_equal(fitted.coef_, reference.coef_)
    np.testing.assert_array_equal(fitted.components_ / np.float32(scale), reference.components_)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_unit_has_no_influence_on_pnmf(data, scale):
    fitted, reference = (PNMF(3, tol=1e-3).fit(factor * data) for factor in (scale, 1))
    assert_same(fitted, reference, scale)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int64"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_numeric_dtype_comes_in(data, solver, dtype):
    X = np.round(100 * data / data.max())
    assert_same(fit(X.astype(dtype), solver), fit(X, solver))


@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1e4, 1e30])
def test_the_scale_of_the_start_has_no_influence(data, scale):
    W_init = np.random.default_rng(0).random((len(data), 3))
    fits = [
        OPNMF(3, init="custom", tol=1e-4).fit(data, W_init=factor * W_init) for factor in (scale, 1)
    ]
    assert abs(fits[0].n_iter_ - fits[1].n_iter_) <= 1
    assert fits[0].mse_ == pytest.approx(fits[1].mse_, rel=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_outlier_gives_finite_maps_or_is_refused(data, solver):
    X = data.copy()
    X[7, 3] = 1e25
    try:
        fitted = fit(X, solver)
    except ValueError as error:
        assert "orders of magnitude" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(fitted.coef_).all()
        assert fitted.coef_.any(axis=0).sum() >= 1
