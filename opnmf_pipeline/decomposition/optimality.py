"""How good a W is: its reconstruction error, and how far it is from a stationary point."""

from collections.abc import Callable

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks, block_squared_norm


def objective(squared_norm: float, M: Array, G: Array) -> float:
    """Return ‖X − WWᵀX‖_F, from ‖X‖² − 2‖M‖² + ⟨G, MᵀM⟩ with M = XᵀW and G = WᵀW."""
    square = squared_norm - 2 * np.sum(M * M) + np.sum(G * (M.T @ M))
    return float(np.sqrt(max(square, 0.0)))


def best_scale(M: Array, G: Array) -> float:
    """Return the c that makes ‖X − (cW)(cW)ᵀX‖_F least; at a stationary W it is 1."""
    S = M.T @ M
    bending = float(np.sum(G * S))
    return float(np.sqrt(np.trace(S) / bending)) if bending > 0 else 1.0


def column_scale(M: Array) -> Array:
    """Return the squared norms of the columns of M, or 1 for a column of zeros.

    Both sides of a comparison of XM with WS, S = MᵀM, are divided by these. That puts ones on the
    diagonal of S. Rounded to float32 it would otherwise shift whole components, and thousands of
    iterations would add that up.
    """
    scale = np.einsum("ij,ij->j", M, M)
    return np.where(scale > 0, scale, 1.0)


def scaled(M: Array) -> tuple[Array, Array]:
    """Return M and S = MᵀM with columns divided by `column_scale`."""
    scale = column_scale(M)
    return M / scale, M.T @ (M / scale)


def kkt_residual(X: RowBlocks, W: Array, M: Array, G: Array) -> float:
    """Return how far W, with M = XᵀW and G = WᵀW, is from a stationary point of the update.

    At such a point, up to the scale of W, the rows w solve the non-negative least squares problems
    min ‖x − wH‖ with H = WᵀX: w ≥ 0, wS − xM ≥ 0, and of each pair one is zero. The residual is
    ‖min(W, (WS − XM) ⊘ diag S)‖_F / ‖W‖_F at the best scale of W.
    """
    block, size2 = _kkt_squares(X, W, M, G)
    return float(np.sqrt(X.sum(block) / size2)) if size2 > 0 else 0.0


def residuals(X: RowBlocks, W: Array, H: Array, M: Array, G: Array) -> tuple[float, float]:
    """Return the KKT residual and ‖X − WH‖_F, in one pass over X."""
    kkt_squares, size2 = _kkt_squares(X, W, M, G)

    def block(rows: slice, X_b: Array) -> tuple[float, float]:
        return kkt_squares(rows, X_b), block_squared_norm(X_b - W[rows] @ H)

    kkt, error = (float(np.sqrt(square)) for square in X.sum(block))
    return (kkt / float(np.sqrt(size2)) if size2 > 0 else 0.0), error


def _kkt_squares(
    X: RowBlocks, W: Array, M: Array, G: Array
) -> tuple[Callable[[slice, Array], float], float]:
    """Return the function that adds up the squares of a block, and ‖W‖² at the best scale."""
    c = best_scale(M, G)
    M, S = scaled(c * M)
    M, S = M.astype(X.dtype), S.astype(X.dtype)

    def block(rows: slice, X_b: Array) -> float:
        W_b = W[rows] * X.dtype.type(c)
        return float(np.sum(np.square(np.minimum(W_b, W_b @ S - X_b @ M)), dtype=np.float64))

    return block, c**2 * float(np.trace(G))
