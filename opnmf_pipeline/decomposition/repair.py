"""New directions for components that have lost all their rows."""

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks

EXPLAINED = 1e-5
"""A row with a smaller share of its squared norm left needs no component of its own."""

N_CANDIDATES = 2**14
"""So many rows are compared in memory, the worst of every block,"""

CANDIDATE_BYTES = 2**25
"""or fewer, where these would take more memory than this in float64."""


def worst_explained(X: RowBlocks, W: Array, V: Array, n: int) -> Array:
    """Return the directions of rows that WVᵀ explains worst, in one pass over X.

    The rows are taken one by one: what the row taken explains of the others is removed first, so
    that neighbours with the same residual do not all get a component.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        Weights of the rows.
    V : ndarray of shape (n_columns, k)
        Directions.
    n : int
        Number of directions wanted; for none of them X is not read.

    Returns
    -------
    ndarray of shape (n_columns, n_found), float64
        Of norm 1. There are fewer than `n` where all rows are explained.
    """
    if n == 0:
        return np.empty((X.shape[1], 0))
    V = V.astype(X.dtype)
    n_candidates = min(N_CANDIDATES, CANDIDATE_BYTES // (8 * X.shape[1]))
    per_block = max(n, n_candidates // len(X.blocks))

    def candidates(rows: slice, X_b: Array) -> tuple[Array, Array]:
        R = X_b - W[rows] @ V.T
        worst = np.argsort(-_squares(R), kind="stable")[:per_block]
        return X_b[worst], R[worst]

    parts = list(X.map(candidates))
    rows, R = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    sizes, left = _squares(rows), _squares(R)
    removed = np.zeros((n, len(R)))
    found, directions = np.zeros((2, n, X.shape[1]))
    for i in range(n):
        worst = int(left.argmax())
        if left[worst] <= EXPLAINED * sizes[worst]:
            n = i
            break
        found[i] = rows[worst] / np.sqrt(sizes[worst])
        # R itself is not changed: a product with it takes a fraction of that time
        residual = R[worst] - removed[:i, worst] @ directions[:i]
        directions[i] = residual / np.linalg.norm(residual)
        overlap = R @ directions[i].astype(R.dtype)
        overlap = overlap - (directions[:i] @ directions[i]) @ removed[:i]
        removed[i] = np.maximum(overlap, 0)
        left -= removed[i] ** 2
    return found[:n].T


def _squares(R: Array) -> Array:
    """Return the squared norm of each row, float64."""
    squares: Array = np.einsum("ij,ij->i", R, R, dtype=np.float64)
    return squares
