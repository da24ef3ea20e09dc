import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone

from opnmf_pipeline.decomposition import OPNMF, orthonormal
from opnmf_pipeline.decomposition.orthonormal import cross
from tests.arrays import overlapping_parts


def model(k=3, **parameters):
    return OPNMF(k, solver="orthonormal", random_state=0, **parameters)


def best_error(X, k):
    """Try every assignment."""
    explained = max(
        sum(np.linalg.norm(X[np.array(labels) == j], ord=2) ** 2 for j in range(k) if j in labels)
        for labels in itertools.product(range(k), repeat=len(X))
    )
    return np.sqrt(max(np.sum(X**2) - explained, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(90, 24), (20, 24)])
def test_W_is_exactly_orthonormal(X, dtype, shape):
    W = model(dtype=dtype).fit_transform(X[: shape[0]])
    assert W.dtype == dtype
    assert (W >= 0).all()
    assert ((W > 0).sum(axis=1) == 1).all()
    np.testing.assert_allclose(W.T.astype(float) @ W, np.eye(3), atol=1e-6)


def test_error_never_rises_and_the_history_ends_with_it():
    X = np.random.default_rng(0).random((20000, 12))
    fitted = model(6, dtype="float64", init="random", n_init=1).fit(X)
    objectives = [record.objective for record in fitted.history_]
    assert len(objectives) > 10
    assert np.diff(objectives).max() <= 1e-10
    assert fitted.mse_ == pytest.approx(objectives[-1])
    assert fitted.converged_


@pytest.mark.parametrize("seed", range(8))
def test_small_problems_are_solved_to_the_optimum(seed):
    X = np.random.default_rng(seed).random((7, 4))
    assert model(2, dtype="float64", n_init=40).fit(X).mse_ == pytest.approx(best_error(X, 2))


def test_it_is_better_than_the_reference_made_orthonormal(X):
    reference = OPNMF(3).fit(X)
    labels = reference.coef_.argmax(axis=1)
    hardened = sum(np.linalg.norm(X[labels == j], ord=2) ** 2 for j in range(3))
    assert model().fit(X).mse_ <= np.sqrt(np.sum(X**2) - hardened) * (1 + 1e-6)


def test_weights_are_singular_vectors(X):
    fitted = model(dtype="float64").fit(X)
    for w in fitted.coef_.T:
        rows = w > 0
        values = np.linalg.svd(X[rows], compute_uv=False)
        assert np.linalg.norm(X[rows].T @ w[rows]) == pytest.approx(values[0])


@settings(deadline=None, max_examples=40)
@given(
    X=arrays(float, st.tuples(st.integers(4, 12), st.integers(3, 6)), elements=st.floats(0, 8)),
    k=st.integers(1, 3),
)
def test_no_component_is_empty_while_directions_are_left(X, k):
    X = np.round(X)
    assume(X.any())  # zeros only are refused
    directions = {tuple(np.round(x / np.linalg.norm(x), 6)) for x in X if x.any()}
    W = model(k, n_init=2).fit_transform(X)
    assert np.isfinite(W).all()
    assert W.any(axis=0).sum() == min(k, len(directions))


def test_planted_parts_are_recovered_exactly():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 8, 500)
    X = np.eye(8)[labels] @ rng.random((8, 40)) + 0.05 * rng.random((500, 40))
    found = model(8).fit_transform(X).argmax(axis=1)
    assert len(set(zip(labels, found, strict=True))) == 8


def test_more_starts_are_no_worse():
    X = overlapping_parts(np.random.default_rng(0), n_rows=300, k=8)
    one = [model(8, init="random", n_init=1).set_params(random_state=s) for s in range(4)]
    ten = [clone(each).set_params(n_init=10) for each in one]
    gains = [a.fit(X).mse_ - b.fit(X).mse_ for a, b in zip(one, ten, strict=True)]
    assert min(gains) > -1e-5
    assert max(gains) > 0.1


def test_permuting_rows_and_columns_permutes_the_result(X):
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(X.shape[0]), rng.permutation(X.shape[1])
    fitted = model(n_init=1, dtype="float64").fit(X)
    permuted = clone(fitted).fit(X[rows][:, columns])
    np.testing.assert_allclose(permuted.coef_, fitted.coef_[rows], atol=1e-9)
    np.testing.assert_allclose(permuted.components_, fitted.components_[:, columns], atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_fit_two_components_alike_stay_where_they_are(seed):
    # rows of a part are multiples of each other: any two components of a part have one direction,
    # and only rounding errors tell which of them explains a row better
    rng = np.random.default_rng(seed)
    X = np.kron(np.eye(3), rng.random((30, 1))) @ rng.random((3, 8))
    fitted = model(6, init="random", n_init=1, max_iter=50).fit(X)
    assert fitted.converged_


def test_crossing_keeps_what_both_found():
    directions = np.eye(4)
    X = np.repeat(directions, 10, axis=0)
    kept = cross(X, np.hstack([directions[:, [0, 1, 1]], directions[:, [2, 3, 0]]]), 4)
    assert kept.any(axis=1).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_assigns_rows_as_compiled_code_does(dtype, monkeypatch):
    X = overlapping_parts(np.random.default_rng(0), n_rows=3000, k=6)
    expected = model(6, dtype=dtype, n_init=2).fit(X)
    monkeypatch.setattr(orthonormal, "row_assigner", lambda _: None)
    fitted = model(6, dtype=dtype, n_init=2).fit(X)
    assert fitted.n_iter_ == expected.n_iter_
    np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=1e-6)
