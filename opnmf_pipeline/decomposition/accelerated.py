"""The stationary points of the orthonormal update, in far fewer passes over X.

At a stationary point the rows of W solve non-negative least squares problems against H = WᵀX
(see `optimality.kkt_residual`). The multiplicative update takes a short step towards these
solutions, and the shorter the smaller a weight is. Here each pass solves the problems of all rows
nearly, by coordinate descent, from an exactly orthonormal start; extrapolation adds the rest.
docs/solvers.md says what else was tried.

References
----------
.. [1] Cichocki & Phan (2009). Fast local algorithms for large scale nonnegative matrix and tensor
   factorizations. IEICE Trans. Fundamentals E92-A(3). https://doi.org/10.1587/transfun.E92.A.708
"""

import numpy as np

from opnmf_pipeline.decomposition.optimality import best_scale, kkt_residual, objective, scaled
from opnmf_pipeline.decomposition.passes import (
    Array,
    Moments,
    RowBlocks,
    Rule,
    moments,
    squared_norm,
    sweep,
)
from opnmf_pipeline.decomposition.progress import Progress

KKT_PER_TOL = 10.0
"""The fit has converged once the KKT residual is below so many times `tol`."""

DESCENTS = 2
"""Rounds of coordinate descent per pass."""

GENTLE_PASSES = 5
"""The first passes make one round: a hard start moves far enough."""

MOMENTUM = 0.85
"""Share of the last step that is added to the next."""


def accelerate(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Move W to a stationary point of the orthonormal update.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        The start, overwritten.
    progress : Progress
        Receives objective and change of every pass.

    Returns
    -------
    ndarray of shape (n_rows, k)
        W, at the scale that makes the error least.
    """
    norm_X2 = squared_norm(X)
    target = KKT_PER_TOL * progress.tol
    # the norms of the columns are corrected after each pass; W and solved wait for it until the
    # next one, which reads them anyway
    if saved := progress.resumed:
        W[...], solved, scale = saved["W"], saved["solved"], saved["scale"]
        state = Moments(saved["M"], saved["G"])
    else:
        solved, scale, state = W.copy(), np.ones(W.shape[1]), moments(X, W)
    while not progress.done:
        M, G = _rescaled(state, scale)
        M, S = scaled(M)
        residuals: list[float] = []
        momentum = MOMENTUM if progress.history else 0.0
        rounds = 1 if len(progress.history) < GENTLE_PASSES else DESCENTS
        rule = _descend(solved, S, scale, rounds, momentum, residuals)
        state = sweep(X, W, M, rule)
        residual = float(np.sqrt(sum(sorted(residuals)) / np.trace(G)))
        scale = _balance(G, state.G)
        # the residual is that of the W before this pass
        converged = residual < target and kkt_residual(X, W * scale.astype(X.dtype)) < target
        change = float(np.sqrt(state.step2 / np.trace(state.G)))
        progress.record(objective(norm_X2, *_rescaled(state, scale)), change, converged)
        progress.save(W=W, solved=solved, scale=scale, M=state.M, G=state.G)
    W *= scale * best_scale(*_rescaled(state, scale))
    return W


def _descend(
    solved: Array, S: Array, scale: Array, rounds: int, momentum: float, residuals: list[float]
) -> Rule:
    """Return the rule of one pass; it appends the squared KKT residual of each block."""
    S, scale = S.astype(solved.dtype), scale.astype(solved.dtype)[:, np.newaxis]

    def rule(rows: slice, W_b: Array, XM: Array) -> Array:
        W_old, last = W_b.T * scale, solved[rows].T * scale
        target = np.ascontiguousarray(XM.T)
        violation = np.minimum(W_old, S.T @ W_old - target)
        residuals.append(float(np.sum(np.square(violation), dtype=np.float64)))
        Z = np.ascontiguousarray(W_old)
        for _ in range(rounds):
            for j, column in enumerate(S.T):
                Z[j] = np.maximum(Z[j] + target[j] - column @ Z, 0)
        solved[rows] = Z.T
        return np.ascontiguousarray(np.maximum(Z + momentum * (Z - last), 0).T)

    return rule


def _rescaled(state: Moments, scale: Array) -> tuple[Array, Array]:
    """Return M and G of W with its columns multiplied by `scale`."""
    return state.M * scale, state.G * np.outer(scale, scale)


def _balance(old: Array, new: Array) -> Array:
    """Return the factors that give columns the geometric mean of their old and new norms.

    A column that is a times too long makes a row of H that is a times too long, and so solutions
    that are a times too short: without this, norms would swing between a and 1/a.
    """
    ratio = np.diag(old) / np.where(np.diag(new) > 0, np.diag(new), 1)
    return np.where(np.diag(new) > 0, ratio**0.25, 1.0)
