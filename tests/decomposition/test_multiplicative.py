import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from opnmf_pipeline.decomposition.multiplicative import (
    FLOOR,
    iterate,
    orthonormal_rule,
    projective_rule,
)
from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.decomposition.progress import Progress

RULES = [(orthonormal_rule, True), (projective_rule, False)]


def obvious_opnmf(X, W):
    """One published update, written as published."""
    K = X @ X.T
    W = W * (K @ W) / (W @ W.T @ K @ W)
    W = np.maximum(W, FLOOR)
    return W / np.linalg.norm(W, ord=2)


def obvious_pnmf(X, W):
    K = X @ X.T
    W = W * np.cbrt(2 * (K @ W) / (W @ W.T @ K @ W + K @ W @ W.T @ W))
    return np.maximum(W, FLOOR)


def solve(X, W, rule, normalize, *, dtype="float64", n_iter=50, n_threads=1):
    progress = Progress(tol=0, max_iter=n_iter)
    with RowBlocks(X, dtype, n_threads) as blocks:
        W = iterate(blocks, W.astype(dtype), rule, progress, normalize=normalize)
    return W, progress.history


@pytest.mark.parametrize(("dtype", "precision"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize(
    ("rule", "normalize", "obvious"),
    [(orthonormal_rule, True, obvious_opnmf), (projective_rule, False, obvious_pnmf)],
)
def test_iterates_are_the_published_ones(X, rule, normalize, obvious, dtype, precision):
    start = np.random.default_rng(1).random((len(X), 3))
    W, history = solve(X, start, rule, normalize, dtype=dtype)
    expected, objectives, changes = start, [], []
    for _ in range(50):
        old, expected = expected, obvious(X, expected)
        objectives.append(np.linalg.norm(X - expected @ (expected.T @ X)))
        changes.append(np.linalg.norm(old - expected) / np.linalg.norm(old))
    np.testing.assert_allclose(W, expected, atol=precision)
    np.testing.assert_allclose([r.objective for r in history], objectives, rtol=precision)
    np.testing.assert_allclose([r.change for r in history], changes, rtol=1e-3, atol=precision)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("rule", "normalize"), RULES)
def test_many_blocks_and_threads_give_the_same_bits(rule, normalize, dtype, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.BLOCK_BYTES", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.FEWEST_ROWS", 64)
    rng = np.random.default_rng(0)
    X, start = rng.random((1000, 20)), rng.random((1000, 4))
    one, history = solve(X, start, rule, normalize, dtype=dtype)
    three, history_three = solve(X, start, rule, normalize, dtype=dtype, n_threads=3)
    np.testing.assert_array_equal(one, three)
    assert history == history_three
    monkeypatch.undo()
    whole, _ = solve(X, start, rule, normalize, dtype=dtype)
    np.testing.assert_allclose(one, whole, rtol=1e-3, atol=1e-6)


def test_projective_error_never_rises(X):
    _, history = solve(X, np.random.default_rng(0).random((len(X), 3)), projective_rule, False)
    assert np.diff([record.objective for record in history]).max() <= 1e-12


def test_columns_become_orthonormal(X):
    start = np.random.default_rng(0).random((len(X), 3))
    W, _ = solve(X, start, orthonormal_rule, True, n_iter=2000)
    assert np.abs(np.triu(W.T @ W, 1)).max() < 0.15
    assert np.linalg.norm(W, ord=2) == pytest.approx(1)


@pytest.mark.parametrize(("rule", "normalize"), RULES)
def test_zeros_in_data_and_start_do_no_harm(X, rule, normalize):
    X[5] = 0
    start = np.random.default_rng(0).random((len(X), 3))
    start[7] = 0
    start[5] = 0
    W, history = solve(X, start, rule, normalize)
    assert np.isfinite(W).all()
    assert (W > 0).all()
    assert np.isfinite([(one.objective, one.change) for one in history]).all()


matrices = arrays(float, st.tuples(st.integers(2, 9), st.integers(2, 7)), elements=st.floats(0, 8))


@settings(deadline=None, max_examples=60)
@given(X=matrices, seed=st.integers(0, 99), case=st.sampled_from([0, 1]))
def test_any_small_matrix_agrees_with_the_obvious_update(X, seed, case):
    rule, normalize = RULES[case]
    obvious = (obvious_opnmf, obvious_pnmf)[case]
    X = np.round(X, 3)
    expected = start = np.random.default_rng(seed).uniform(0.1, 1, (X.shape[0], 2))
    W, _ = solve(X, start, rule, normalize, n_iter=3)
    assert (W >= 0).all()
    if X.any(axis=1).all():
        for _ in range(3):
            expected = obvious(X, expected)
        np.testing.assert_allclose(W, expected, rtol=1e-6, atol=1e-9)
