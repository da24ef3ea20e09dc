import numpy as np
import pytest
from sklearn.base import clone

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.optimality import best_scale, kkt_residual, objective
from opnmf_pipeline.decomposition.passes import RowBlocks, moments
from opnmf_pipeline.exceptions import ConvergenceWarning
from tests.arrays import overlapping_parts

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


def model(k=3, **parameters):
    return OPNMF(k, solver="accelerated", random_state=0, **parameters)


def residual_of(blocks, W):
    return kkt_residual(blocks, W, *moments(blocks, W)[:2])


def test_residual_is_the_obvious_one(X):
    W = np.random.default_rng(0).random((len(X), 3))
    S = W.T @ X @ X.T @ W
    c = np.sqrt(np.trace(S) / np.trace(W.T @ W @ S))
    V = c * W
    S = V.T @ X @ X.T @ V
    violation = np.minimum(V, (V @ S - X @ X.T @ V) / np.diag(S))
    with RowBlocks(X, "float64") as blocks:
        assert residual_of(blocks, W) == pytest.approx(
            np.linalg.norm(violation / c) / np.linalg.norm(W)
        )
        assert residual_of(blocks, 7 * W) == pytest.approx(residual_of(blocks, W))


def test_objective_and_best_scale_are_the_obvious_ones(X):
    W = np.random.default_rng(0).random((len(X), 3)) / 10
    with RowBlocks(X, "float64") as blocks:
        M, G, *_ = moments(blocks, W)
    error = objective(np.sum(X**2), M, G)
    assert error == pytest.approx(np.linalg.norm(X - W @ (W.T @ X)))
    c = best_scale(M, G)
    for factor in (0.99, 1, 1.01):
        V = factor * c * W
        assert np.linalg.norm(X - V @ (V.T @ X)) >= objective(np.sum(X**2), c * M, c**2 * G) - 1e-9


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_rows", [90, 20])
def test_it_stops_at_a_stationary_point(X, dtype, n_rows):
    fitted = model(dtype=dtype).fit(X[:n_rows])
    assert fitted.converged_
    assert fitted.kkt_residual_ < 1.1e-4
    assert (fitted.coef_ >= 0).all()


def test_weights_are_those_of_transform(X):
    fitted = model(dtype="float64", tol=1e-8).fit(X)
    np.testing.assert_allclose(fitted.transform(X), fitted.coef_, atol=1e-5)


def test_the_reference_stays_where_it_stops(X):
    fitted = model(dtype="float64", tol=1e-9).fit(X)
    start = fitted.coef_ / np.linalg.norm(fitted.coef_, ord=2)
    reference = OPNMF(3, init="custom", dtype="float64", tol=0, max_iter=20).fit(X, W_init=start)
    np.testing.assert_allclose(reference.coef_, start, atol=1e-6)


def test_it_needs_fewer_passes_for_a_lower_error(X):
    reference = OPNMF(3).fit(X)
    fitted = model().fit(X)
    assert fitted.mse_ <= 1.0001 * reference.mse_
    assert fitted.n_iter_ < reference.n_iter_ / 10


def test_no_component_is_empty_whatever_the_start():
    X = np.kron(np.eye(4), np.random.default_rng(0).random((10, 6)) + 0.5)
    W_init = np.column_stack([np.ones(40), np.zeros((40, 3))])
    fitted = OPNMF(4, solver="accelerated", init="custom").fit(X, W_init=W_init)
    assert fitted.converged_
    labels = fitted.coef_.argmax(axis=1).reshape(4, 10)
    assert (labels == labels[:, :1]).all()
    assert set(labels[:, 0]) == {0, 1, 2, 3}


def test_more_components_than_parts_settle():
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(4), np.ones((100, 1))) @ (0.5 + 0.1 * rng.random((4, 40)))
    X += 0.05 * rng.random(X.shape)
    fitted = OPNMF(12, solver="accelerated", max_iter=300).fit(X)
    assert fitted.converged_
    assert fitted.kkt_residual_ < 1.1e-4


@pytest.mark.parametrize(
    ("shape", "parts", "k", "seed"),
    [
        ((60, 12), 6, 9, 18),
        ((60, 12), 6, 9, 36),
        ((40, 8), 4, 7, 16),
        ((90, 24), 3, 12, 47),
    ],
)
def test_directions_that_swing_to_and_fro_are_damped(shape, parts, k, seed):
    # with whole steps none of these comes to rest in 300 passes
    X = overlapping_parts(np.random.default_rng(seed), *shape, parts)
    fitted = OPNMF(k, solver="accelerated", dtype="float64", max_iter=300).fit(X)
    assert fitted.converged_


@pytest.mark.parametrize("seed", [0, 5, 18, 22])
def test_what_converged_is_itself_near_a_stationary_point(seed):
    # the residual that comes free with a pass is of the W before it; after it, it can be larger
    X = overlapping_parts(np.random.default_rng(seed), 60, 12, 6)
    fitted = OPNMF(9, solver="accelerated", dtype="float64").fit(X)
    assert fitted.converged_
    assert fitted.kkt_residual_ < 1e-4


def test_memory_map_and_threads_give_the_same_bits(X, tmp_path, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.BLOCK_BYTES", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.FEWEST_ROWS", 64)
    X = np.random.default_rng(0).random((700, 20), dtype=np.float32)
    np.save(tmp_path / "matrix.npy", X)
    fitted = model(n_threads=1, max_iter=30).fit(X)
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    other = clone(fitted).set_params(n_threads=3).fit(mapped)
    np.testing.assert_array_equal(other.coef_, fitted.coef_)
    assert other.history_ == fitted.history_


def test_zero_rows_and_empty_components_do_no_harm():
    rng = np.random.default_rng(0)
    X = np.outer(rng.random(30), rng.random(10)) + np.outer(rng.random(30), rng.random(10))
    X[3] = 0
    W = model(4, max_iter=50).fit_transform(X)
    assert np.isfinite(W).all()
    assert not W[3].any()


def test_a_fit_that_does_not_converge_names_the_residual(X):
    with pytest.warns(ConvergenceWarning, match="with KKT residual .*, not below 10 x tol=1e-05"):
        model(max_iter=2).fit(X)
