"""The stationary points of the orthonormal update, in far fewer passes over X.

At a stationary point of the published update the rows of W solve the non-negative least squares
problems min ‖x − wH‖ with H = WᵀX (see `optimality.kkt_residual`). The multiplicative update takes
a short step towards these solutions, and the shorter the smaller a weight is. Here every pass
solves the problems of all rows exactly, and H follows. docs/solvers.md says what else was tried.

Only the directions of the rows of H matter. Against unit vectors v_j a row has weights z; against
h_j = d_j v_j it has w_j = z_j / d_j, for any lengths d_j, and d_j² = ‖Xᵀz_j‖ are those
that agree with H = WᵀX. So the norms of the components cannot swing from pass to pass.
"""

import numpy as np

from opnmf_pipeline.decomposition.nnls import nnls
from opnmf_pipeline.decomposition.optimality import best_scale, kkt_residual, objective
from opnmf_pipeline.decomposition.passes import (
    Array,
    Moments,
    RowBlocks,
    Rule,
    moments,
    squared_norm,
    sweep,
)
from opnmf_pipeline.decomposition.progress import Criterion, Progress
from opnmf_pipeline.decomposition.repair import worst_explained
from opnmf_pipeline.selection.shape import unit_columns

REPAIRS = 10
"""In so many passes a component that no row needs is pointed at rows that are badly explained."""

SWING = 10.0
"""A residual so many times its least means that directions swing to and fro: halve their steps."""

LEAST_SHARE = 0.125
"""Steps are not made shorter than this share of the whole one."""

KKT = Criterion("KKT residual", "KKT residual", lambda fit: fit.kkt_residual_, factor=10.0)
"""Of the W before the pass and of the W at the end; see `optimality.kkt_residual`."""


def accelerate(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Move W to a stationary point of the orthonormal update.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        The start, overwritten.
    progress : Progress
        Receives the objective of every pass, and the change of the weights z.

    Returns
    -------
    ndarray of shape (n_rows, k)
        W, at the scale that makes the error least.
    """
    norm_X2 = squared_norm(X)
    if norm_X2 == 0:  # the residual would be 0 / 0 in every pass
        progress.record(0.0, 0.0, converged=True)
        return W
    target = KKT.factor * progress.tol
    # W holds the weights z against unit vectors until the end
    if saved := progress.resumed:
        W[...], V, state = saved["W"], saved["V"], Moments(saved["M"], saved["G"])
        share, lowest = float(saved["share"]), float(saved["lowest"])
    else:
        state = moments(X, W)
        V = state.M / _lengths(state.M) ** 2
        share, lowest = 1.0, np.inf
    lengths = _lengths(state.M)
    while not progress.done:
        size2 = float(np.sum(np.diag(state.G) / lengths**2))
        violations: list[Array] = []
        state = sweep(X, W, V, _solve_rows(V.T @ V, violations))
        # that of the W before this pass
        residual = float(np.sqrt(np.sum(np.sum(violations, axis=0) / lengths**2) / size2))
        lengths = _lengths(state.M)
        empty = np.flatnonzero(np.diag(state.G) == 0)
        n_wanted = len(empty) if len(progress.history) < REPAIRS else 0
        found = worst_explained(X, W, V, n_wanted)
        if residual > SWING * lowest:
            share = max(share / 2, LEAST_SHARE)
        lowest = min(lowest, residual)
        V = unit_columns((1 - share) * V + share * state.M / lengths**2)
        V[:, empty[: found.shape[1]]] = found
        converged = (
            residual < target
            and found.size == 0
            and kkt_residual(X, W / lengths.astype(X.dtype)) < target
        )
        change = float(np.sqrt(state.step2 / np.trace(state.G)))
        progress.record(objective(norm_X2, *_rescaled(state, lengths)), change, converged)
        progress.save(W=W, V=V, M=state.M, G=state.G, share=share, lowest=lowest)
    W /= lengths / best_scale(*_rescaled(state, lengths))
    return W


def _lengths(M: Array) -> Array:
    """Return d_j from M = XᵀZ, or 1 for a component that no row needs."""
    norms = np.linalg.norm(M, axis=0)
    return np.sqrt(np.where(norms > 0, norms, 1))


def _rescaled(state: Moments, lengths: Array) -> tuple[Array, Array]:
    """Return M and G of the W with columns z_j / d_j."""
    return state.M / lengths, state.G / np.outer(lengths, lengths)


def _solve_rows(S: Array, violations: list[Array]) -> Rule:
    """Return the rule that solves all rows; it appends what each block violated before, squared."""

    def rule(_: slice, W_b: Array, XV: Array) -> Array:
        violation = np.minimum(W_b, W_b @ S.astype(W_b.dtype) - XV)
        violations.append(np.einsum("ij,ij->j", violation, violation, dtype=np.float64))
        return nnls(S, XV, support=W_b > 0).astype(W_b.dtype)

    return rule
