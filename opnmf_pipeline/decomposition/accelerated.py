"""The stationary points of the orthonormal update, in far fewer passes over X.

At a stationary point of the published update the rows of W solve the non-negative least squares
problems min ‖x − wH‖ with H = WᵀX (see `optimality.kkt_residual`). The multiplicative update takes
a short step towards these solutions, and the shorter the smaller a weight is. Here every pass
solves the problems of all rows exactly, and H follows. docs/solvers.md says what else was tried.

Only the directions of the rows of H matter. Against unit vectors v_j a row has weights z; against
h_j = d_j v_j it has w_j = z_j / d_j, for any lengths d_j, and d_j² = ‖Xᵀz_j‖ are those
that agree with H = WᵀX. So the norms of the components cannot swing from pass to pass.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opnmf_pipeline.decomposition.compilation import row_solver, rows_to_read
from opnmf_pipeline.decomposition.nnls import equal_directions, nnls, ridged
from opnmf_pipeline.decomposition.optimality import best_scale, kkt_residual, objective
from opnmf_pipeline.decomposition.orthonormal import sample_size
from opnmf_pipeline.decomposition.passes import (
    Array,
    Moments,
    RowBlocks,
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

COARSE_STEP = 8
"""The directions come to rest on every eighth row first (neighbouring voxels are alike), or on
fewer where these would be more than `sample_size`,"""

COARSE_BYTES = 2**26
"""or take more memory than this."""

COARSE_ROWS = 2**12
"""Fewer rows than these are not enough,"""

COARSE_PER_COMPONENT = 50
"""nor fewer for each component."""

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
    V, state = np.empty((X.shape[1], W.shape[1])), None
    if not progress.resumed:
        state = moments(X, W)
        V = unit_columns(state.M)
        step = coarse_step(X, W.shape[1])
        if step > 1:
            V, state = _coarse(X, W, V, step, progress), None
    return finish(X, W, V, progress, state)


def coarse_step(X: RowBlocks, k: int) -> int:
    """Return the step from each row to the next of those that are enough to begin with."""
    n_rows, n_columns = X.shape
    most = min(sample_size(n_rows, k), COARSE_BYTES // (n_columns * X.dtype.itemsize))
    fewest = max(COARSE_ROWS, COARSE_PER_COMPONENT * k)
    step = max(COARSE_STEP, -(-n_rows // max(most, fewest)))
    return step if n_rows >= step * fewest else 1


def _coarse(X: RowBlocks, W: Array, V: Array, step: int, progress: Progress) -> Array:
    """Return the directions at which a fit of every step-th row comes to rest; W becomes zero."""
    thin = np.ascontiguousarray(W[::step])
    W[...] = 0
    with X.thinned(step) as rows:
        search = Progress(progress.tol, progress.max_iter)
        return unit_columns(descend(rows, thin, V, moments(rows, thin), Steps(), search).M)


def finish(
    X: RowBlocks, W: Array, V: Array, progress: Progress, state: Moments | None = None
) -> Array:
    """Move W to the stationary point that directions V lead to, or continue from a checkpoint.

    W is zero at entry, unless its moments are given.
    """
    k, steps = W.shape[1], Steps()
    state = state or Moments(np.zeros((X.shape[1], k)), np.zeros((k, k)))
    # W holds the weights z against unit vectors until the end
    if saved := progress.resumed:
        W[...], V, state = saved["W"], saved["V"], Moments(saved["M"], saved["G"])
        steps = Steps(float(saved["share"]), float(saved["lowest"]))
    state = descend(X, W, V, state, steps, progress)
    rescale(W, state)
    return W


def refine(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Move W, a solution for similar data, to a stationary point."""
    state = moments(X, W)
    return finish(X, W, unit_columns(state.M), progress, against_unit_vectors(W, state))


def against_unit_vectors(W: Array, state: Moments) -> Moments:
    """Multiply W by the lengths, so that it holds the weights z, and return its moments."""
    lengths = np.linalg.norm(state.M, axis=0)
    W *= lengths.astype(W.dtype)
    return Moments(state.M * lengths, state.G * np.outer(lengths, lengths))


def rescale(W: Array, state: Moments) -> None:
    """Divide the weights against unit vectors by the lengths, and make the error least."""
    lengths = _lengths(state.M)
    W /= (lengths / best_scale(*_rescaled(state, lengths))).astype(W.dtype)


def descend(
    X: RowBlocks, W: Array, V: Array, state: Moments, steps: "Steps", progress: Progress
) -> Moments:
    """Solve for the rows and let the directions follow, until `progress` says stop.

    W is overwritten; its moments are returned, and must be those of the start at entry.
    """
    norm_X2 = squared_norm(X)
    target = KKT.factor * progress.tol
    lengths = _lengths(state.M)
    while not progress.done:
        size2 = float(np.sum(np.diag(state.G) / lengths**2))
        state = _solve(X, W, V)
        # that of the W before this pass
        violation2 = float(np.sum(state.violation / lengths**2))
        residual = float(np.sqrt(violation2 / size2)) if size2 > 0 else np.inf
        lengths = _lengths(state.M)
        empty = _unused(state.G, V)
        n_wanted = len(empty) if len(progress.history) < REPAIRS else 0
        found = worst_explained(X, W, V, n_wanted)
        V = steps.take(residual, V, state.M / lengths**2)
        V[:, empty[: found.shape[1]]] = found
        converged = (
            residual < target
            and found.size == 0
            and kkt_residual(X, W / lengths.astype(X.dtype), *_rescaled(state, lengths)) < target
        )
        new2 = float(np.trace(state.G))
        change = float(np.sqrt(state.step2 / new2)) if new2 > 0 else 0.0
        distance = residual / target if target > 0 else np.inf
        error = objective(norm_X2, *_rescaled(state, lengths))
        progress.record(error, change, converged, distance)
        progress.save(W=W, V=V, M=state.M, G=state.G, share=steps.share, lowest=steps.lowest)
    return state


@dataclass
class Steps:
    """The share of a whole step that the directions make.

    Attributes
    ----------
    share : float
        Halved where the directions swing to and fro.
    lowest : float
        The least residual so far.
    """

    share: float = 1.0
    lowest: float = np.inf

    def take(self, residual: float, V: Array, target: Array) -> Array:
        """Return the unit directions on the way from V to `target`."""
        if residual > SWING * self.lowest:
            self.share = max(self.share / 2, LEAST_SHARE)
        self.lowest = min(self.lowest, residual)
        return unit_columns((1 - self.share) * V + self.share * target)


def _unused(G: Array, V: Array) -> Array:
    """Return the components that no row needs: those without rows, and copies of others."""
    copy = np.ones(len(G), dtype=bool)
    copy[equal_directions(V.T @ V).first] = False
    return np.flatnonzero(copy | (np.diag(G) == 0))


def _lengths(M: Array) -> Array:
    """Return d_j from M = XᵀZ, or 1 for a component that no row needs."""
    norms = np.linalg.norm(M, axis=0)
    return np.sqrt(np.where(norms > 0, norms, 1))


def _rescaled(state: Moments, lengths: Array) -> tuple[Array, Array]:
    """Return M and G of the W with columns z_j / d_j."""
    return state.M / lengths, state.G / np.outer(lengths, lengths)


def _solve(X: RowBlocks, W: Array, V: Array) -> Moments:
    """Solve all rows in one pass."""
    if row_solver(X.dtype) is not None:
        return X.sum(_compiled_update(W, V.astype(X.dtype)), writes=W)
    S = V.T @ V

    def rule(_: slice, W_b: Array, XV: Array) -> Array:
        return nnls(S, XV, support=W_b > 0).astype(W_b.dtype)

    def violation(W_b: Array, XV: Array) -> Array:
        violated = np.minimum(W_b, W_b @ S.astype(W_b.dtype) - XV)
        squares: Array = np.einsum("ij,ij->j", violated, violated, dtype=np.float64)
        return squares

    return sweep(X, W, V, rule, violation)


def _compiled_update(W: Array, V: Array) -> Callable[[slice, Array], Moments]:
    """Return the update of a block by the compiled kernel, which knows distinct directions only."""
    S = V.T.astype(np.float64) @ V
    first, group, share = equal_directions(S)
    S, V, n = ridged(S[np.ix_(first, first)]), V[:, first], len(first)
    factor = share.astype(W.dtype)

    def update(rows: slice, X_b: Array) -> Moments:
        kernel = row_solver(X_b.dtype)  # of the process that works on the block
        assert kernel is not None
        read = rows_to_read(X_b)
        W_b = W[rows] if n == len(group) else np.divide(W[rows][:, first], factor[first], order="C")
        M, G, violation = np.zeros((n, read.shape[1]), W.dtype), np.zeros((n, n)), np.zeros(n)
        step2 = kernel(read, X_b @ V, W_b, S, M, G, violation)
        M = M.T if M.size else X_b.T @ W_b
        if n == len(group):
            return Moments(M, G, step2, violation=violation)
        W[rows] = W_b[:, group] * factor
        shares = np.outer(share, share)
        M, G, violation = M[:, group] * share, G[np.ix_(group, group)] * shares, violation[group]
        return Moments(M, G, step2, violation=violation * share**2)

    return update
