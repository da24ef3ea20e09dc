import logging

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import check_estimator

from opnmf_pipeline.decomposition import OPNMF, PNMF, Iteration
from opnmf_pipeline.exceptions import ConvergenceWarning

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

TWO_TRANSFORMS = (
    "fit_transform returns W of the factorization X ≈ WWᵀX; transform returns the non-negative "
    "least squares weights of rows against H, which W is only at a fixed point and up to scale"
)
EXPECTED_FAILURES = {
    "check_transformer_general": TWO_TRANSFORMS,
    "check_transformer_data_not_an_array": TWO_TRANSFORMS,
}


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.SelectionWarning")
@pytest.mark.parametrize(
    "estimator",
    [OPNMF(2, max_iter=50), PNMF(2, max_iter=50), OPNMF("auto", solver="orthonormal", n_init=2)],
)
def test_scikit_learn_contract(estimator):
    check_estimator(estimator, expected_failed_checks=EXPECTED_FAILURES)


def test_attributes(X, estimator_class):
    model = estimator_class(3, max_iter=20)
    W = model.fit_transform(X)
    H = model.components_
    assert W is model.coef_
    assert W.shape == (90, 3)
    assert H.shape == (3, 24)
    assert W.dtype == H.dtype == np.float32
    assert (W >= 0).all()
    np.testing.assert_allclose(H, W.T @ X, rtol=1e-5)
    assert model.reconstruction_err_ == model.mse_
    assert model.mse_ == pytest.approx(np.linalg.norm(X - W @ H), rel=1e-5)
    assert model.mse_ == pytest.approx(model.history_[-1].objective, rel=1e-4)
    assert model.lower_bound_ < model.mse_
    assert model.n_iter_ == len(model.history_) == 20
    assert [record.iteration for record in model.history_] == list(range(20))
    assert model.n_components_ == 3
    assert model.n_features_in_ == 24
    sizes = np.linalg.norm(W, axis=0) * np.linalg.norm(H, axis=1)
    assert (np.diff(sizes) <= 0).all()
    assert len(model.get_feature_names_out()) == 3


def test_components_are_sorted_by_the_size_of_their_product():
    # ‖w‖ is 1 and 1/4 of the other, ‖h‖ is 1/2 and 5/8: the larger h is in the smaller product
    X = np.kron(np.diag([2.0, 10.0]), np.ones((4, 3)))
    start = np.kron(np.diag([0.25, 1.0]), np.ones((4, 1)))
    model = OPNMF(2, init="custom", max_iter=1, dtype="float64").fit(X, W_init=start)
    in_w, in_h = np.linalg.norm(model.coef_, axis=0), np.linalg.norm(model.components_, axis=1)
    assert in_w[0] * in_h[0] > in_w[1] * in_h[1]
    assert in_h[0] < in_h[1]


@pytest.mark.parametrize("k", [3, np.int32(3), np.uint8(3)])
def test_n_components_is_any_integer(X, estimator_class, k):
    assert estimator_class(k, max_iter=2).fit(X).coef_.shape == (90, 3)


def test_planted_parts_are_recovered(estimator_class):
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 4, 200))
    X = np.eye(4)[labels] @ rng.random((4, 30)) + 0.02 * rng.random((200, 30))
    W = estimator_class(4).fit_transform(X)
    found = W.argmax(axis=1)
    assert len(set(zip(labels, found, strict=True))) == 4


def test_permuting_rows_and_columns_permutes_the_result(X, estimator_class):
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
    model = estimator_class(3, max_iter=30, dtype="float64").fit(X)
    permuted = clone(model).fit(X[rows][:, columns])
    np.testing.assert_allclose(permuted.coef_, model.coef_[rows], rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(permuted.components_, model.components_[:, columns], rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_scaling_the_data_scales_H_only(X, estimator_class, factor):
    start = np.random.default_rng(0).random((len(X), 3))
    model = estimator_class(3, init="custom", max_iter=30, dtype="float64").fit(X, W_init=start)
    scaled = clone(model).fit(factor * X, W_init=start)
    np.testing.assert_allclose(scaled.coef_, model.coef_, rtol=1e-9)
    np.testing.assert_allclose(scaled.components_, factor * model.components_, rtol=1e-9)
    assert scaled.mse_ == pytest.approx(factor * model.mse_)


def test_wide_data_have_the_published_iterates(X, estimator_class):
    wide = X[:20]
    start = np.random.default_rng(0).random((20, 3))
    model = estimator_class(3, init="custom", max_iter=30, dtype="float64")
    wide_W = clone(model).fit(wide, W_init=start).coef_
    W = start
    for _ in range(30):
        W = _update(estimator_class, wide @ wide.T, W)
    order = np.argsort(-np.linalg.norm(W, axis=0) * np.linalg.norm(wide.T @ W, axis=0))
    np.testing.assert_allclose(wide_W, W[:, order], rtol=1e-7)


def _update(estimator_class, K, W):
    if estimator_class is OPNMF:
        W = W * (K @ W) / (W @ W.T @ K @ W)
        return W / np.linalg.norm(W, ord=2)
    return W * np.cbrt(2 * (K @ W) / (W @ W.T @ K @ W + K @ W @ W.T @ W))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_map_gives_the_same_bits(X, estimator_class, tmp_path, dtype):
    np.save(tmp_path / "matrix.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    model = estimator_class(3, max_iter=30, dtype=dtype).fit(np.array(mapped))
    from_file = clone(model).fit(mapped)
    np.testing.assert_array_equal(from_file.coef_, model.coef_)
    np.testing.assert_array_equal(from_file.components_, model.components_)
    assert from_file.history_ == model.history_


def test_data_are_left_alone(X, estimator_class):
    before = X.copy()
    start = np.ones((len(X), 3))
    start[:, 0] += np.arange(len(X))
    estimator_class(3, init="custom", max_iter=3, dtype="float64").fit(X, W_init=start)
    np.testing.assert_array_equal(X, before)
    assert start[1, 0] == 2


def test_rows_of_zeros_get_weight_zero(X, estimator_class):
    X[[4, 50]] = 0
    W = estimator_class(3, max_iter=30).fit_transform(X)
    assert np.isfinite(W).all()
    assert not W[[4, 50]].any()
    assert W[5].any()


def test_data_of_zeros_are_refused(estimator_class):
    with pytest.raises(ValueError, match=r"all values of X with shape \(6, 4\), .* are zero"):
        estimator_class(2, max_iter=5).fit(np.zeros((6, 4)))


def test_same_seed_same_bits(X, estimator_class):
    model = estimator_class(3, init="random", random_state=3, max_iter=30).fit(X)
    again = clone(model).fit(X)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    other = clone(model).set_params(random_state=4).fit(X)
    assert not np.array_equal(other.coef_, model.coef_)


def test_float32_is_near_float64(X, estimator_class):
    single = estimator_class(3, max_iter=100).fit(X)
    double = estimator_class(3, max_iter=100, dtype="float64").fit(X)
    assert double.coef_.dtype == np.float64
    np.testing.assert_allclose(single.coef_, double.coef_, atol=1e-5)
    assert single.mse_ == pytest.approx(double.mse_, rel=1e-5)


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_dtype_may_be_a_type_of_numpy(X, estimator_class, name, tmp_path):
    named = estimator_class(3, max_iter=20, dtype=name).fit(X)
    path = tmp_path / "fit.npz"
    estimator_class(3, max_iter=10, dtype=name, checkpoint=path).fit(X)
    # it also resumes a fit with the name of the same dtype
    typed = clone(named).set_params(dtype=getattr(np, name), checkpoint=path).fit(X)
    np.testing.assert_array_equal(typed.coef_, named.coef_)
    assert typed.coef_.dtype == typed.project(X).dtype == typed.transform(X).dtype == name


def test_transform_is_non_negative_least_squares(X, estimator_class):
    model = estimator_class(3, dtype="float64", tol=1e-9, max_iter=5000).fit(X)
    weights = model.transform(X[:10])
    H = model.components_
    gradient = (weights @ H - X[:10]) @ H.T
    assert (weights >= 0).all()
    np.testing.assert_allclose(np.minimum(weights, gradient), 0, atol=1e-9)
    np.testing.assert_allclose(model.inverse_transform(weights), weights @ H)


def test_project_gives_the_loadings_of_new_subjects(X, estimator_class):
    model = estimator_class(3, max_iter=30).fit(X[:, :20])
    np.testing.assert_allclose(model.project(X[:, :20]), model.components_, rtol=1e-5)
    np.testing.assert_allclose(model.project(X[:, 20:]), model.coef_.T @ X[:, 20:], rtol=1e-5)
    with pytest.raises(ValueError, match=r"expects the 90 rows .* got shape \(24, 90\)"):
        model.project(X.T)


def test_a_fit_that_does_not_converge_says_so(X, estimator_class):
    name = estimator_class.__name__
    message = f"{name} stopped at max_iter=3 with change .*, not below tol=1e-05; raise max_iter"
    with pytest.warns(ConvergenceWarning, match=message) as record:
        model = estimator_class(3, max_iter=3).fit(X)
    assert not model.converged_
    assert record[0].filename == __file__


def test_a_fit_that_converges_does_not_warn(X, estimator_class, recwarn):
    model = estimator_class(3, tol=1e-2).fit(X)
    assert model.converged_
    assert model.history_[-1].change < 1e-2 <= model.history_[-2].change
    assert not recwarn.list


def test_callback_sees_every_iteration_and_may_stop(X, estimator_class, recwarn):
    seen = []

    def third_time(record):
        seen.append(record)
        return record.iteration == 2

    model = estimator_class(3, callback=third_time).fit(X)
    assert seen == model.history_
    assert all(isinstance(record, Iteration) for record in seen)
    assert model.n_iter_ == 3
    assert not model.converged_
    assert not recwarn.list


@pytest.mark.parametrize(("verbose", "level"), [(0, logging.DEBUG), (1, logging.INFO)])
def test_course_is_logged(X, estimator_class, caplog, verbose, level):
    with caplog.at_level(logging.DEBUG, logger="opnmf_pipeline"):
        model = estimator_class(3, tol=1e-4, verbose=verbose).fit(X)
    messages = [record.getMessage() for record in caplog.records]
    assert {record.levelno for record in caplog.records} == {level}
    assert messages[0].startswith("iteration 0: objective ")
    assert messages[-2].startswith(f"converged at iteration {model.n_iter_ - 1}: objective ")
    assert messages[-1].startswith(f"{model.n_passes_} passes over the data, error ")
    assert len(messages) == 2 + -(-model.n_iter_ // 100)


def test_a_fit_of_the_published_update_that_does_not_converge_names_the_solver_that_would(X):
    with pytest.warns(ConvergenceWarning, match="solver='adaptive', which runs use, ends after"):
        OPNMF(3, max_iter=2).fit(X)


@pytest.mark.parametrize("solver", ["multiplicative", "accelerated"])
def test_loadings_are_sorted_with_their_components(solver):
    """From a start with the smallest part first."""
    W = np.kron(np.eye(3), np.ones((20, 1)))
    X = W @ (np.array([[1], [2], [4]]) + np.random.default_rng(0).random((3, 9)))
    model = OPNMF(3, solver=solver, init="custom", dtype="float64").fit(X, W_init=W + 0.01)
    assert (np.argmax(model.coef_, axis=0) // 20).tolist() == [2, 1, 0]
    np.testing.assert_allclose(model.components_, model.coef_.T @ X)
    np.testing.assert_allclose(model.coef_ @ model.components_, X, rtol=0.05)
