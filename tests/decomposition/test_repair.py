import numpy as np

from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.decomposition.repair import worst_explained


def directions(X, W, V, n):
    with RowBlocks(X, "float64") as blocks:
        return worst_explained(blocks, W, V, n)


def test_different_unexplained_directions_are_found_largest_first(monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.BLOCK_BYTES", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.passes.FEWEST_ROWS", 64)
    E = np.eye(5)
    X = np.concatenate([np.outer(np.linspace(1, 2, 100), e) for e in (E[0], 3 * E[1], 2 * E[2])])
    V = E[:, :1]
    W = X @ V
    np.testing.assert_allclose(directions(X, W, V, 2), E[:, 1:3])
    # neighbours of a row that was taken have nothing left, and the first direction is explained
    assert directions(X, W, V, 4).shape == (5, 2)


def test_nothing_is_found_where_everything_is_explained():
    rng = np.random.default_rng(0)
    W, V = rng.random((20, 2)), rng.random((6, 2))
    assert directions(W @ V.T, W, V, 3).shape == (6, 0)
