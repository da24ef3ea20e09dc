import numpy as np
import pytest
from scipy import optimize

from opnmf_pipeline.decomposition.nnls import nnls


@pytest.mark.parametrize("k", [1, 4, 15])
@pytest.mark.parametrize("alike", [0.0, 0.97])
def test_weights_are_those_of_scipy_whatever_the_guess(k, alike):
    rng = np.random.default_rng(k)
    V = rng.random((30, k)) * (1 - alike) + alike * rng.random((30, 1))
    X = rng.random((60, 30)) - 0.3
    X[0] = -1
    expected = np.array([optimize.nnls(V, x)[0] for x in X])
    for guess in (np.zeros((60, k), bool), np.ones((60, k), bool), rng.random((60, k)) < 0.5):
        Z = nnls(V.T @ V, X @ V, guess)
        np.testing.assert_allclose(Z, expected, atol=1e-6)
    assert (expected > 0).any()
    assert (expected == 0).any()


def test_exchanges_that_would_cycle_come_to_an_end():
    # exchanging all wrong indices of this row at once comes back to the same support for ever
    V = np.array([[0.0, -1, -1], [0, 0, 1], [2, -2, 2]])
    x = np.array([-2.0, 3, -3])
    expected = optimize.nnls(V, x)[0]
    assert np.count_nonzero(expected) == 2
    Z = nnls(V.T @ V, x[np.newaxis] @ V, np.zeros((1, 3), bool))
    np.testing.assert_allclose(Z[0], expected, atol=1e-6)


def test_equal_directions_share_their_weight():
    v = np.array([3.0, 4.0])
    V = np.column_stack([v, v, [4.0, -3.0]])
    Z = nnls(V.T @ V, v[np.newaxis] @ V, np.ones((1, 3), bool))
    np.testing.assert_allclose(Z, [[0.5, 0.5, 0]], atol=1e-8)


def test_parallel_directions_share_what_they_explain_whatever_their_lengths():
    rng = np.random.default_rng(0)
    v, other = rng.random((2, 30))
    V = np.column_stack([other, v, 2 * v, np.zeros(30), v / 3])
    X = rng.random((50, 30))
    Z = nnls(V.T @ V, X @ V, rng.random((50, 5)) < 0.5)
    alone = nnls(V[:, :2].T @ V[:, :2], X @ V[:, :2], np.ones((50, 2), bool))
    np.testing.assert_allclose(Z[:, 0], alone[:, 0], atol=1e-12)
    shares = Z[:, [1, 2, 4]] * [1, 2, 1 / 3]
    np.testing.assert_allclose(shares, np.tile(alone[:, 1:] / 3, 3), atol=1e-12)
    assert not Z[:, 3].any()


def test_a_direction_of_length_zero_gets_no_weight():
    V = np.array([[1.0, 0.0], [1.0, 0.0]])
    Z = nnls(V.T @ V, np.ones((3, 2)) @ V, np.ones((3, 2), bool))
    np.testing.assert_allclose(Z, [[1, 0]] * 3)
