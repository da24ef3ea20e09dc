"""Exactly orthonormal factorizations: every voxel belongs to one component.

W ≥ 0 with WᵀW = I leaves one positive weight per row at most. So the problem is to assign rows to
components; w_j is then the leading left singular vector of the rows of component j, and
‖X − WWᵀX‖² = ‖X‖² − Σ_j σ₁(X_j)². Assignment and singular vectors are improved in turn, both in
the same pass over X.

References
----------
.. [1] Pompili, Gillis, Absil & Glineur (2014). Two algorithms for orthogonal nonnegative matrix
   factorization with application to clustering. Neurocomputing 141.
   https://doi.org/10.1016/j.neucom.2014.02.018
"""

import numpy as np
from sklearn.utils import check_random_state

from opnmf_pipeline.decomposition.compilation import row_assigner, rows_to_read
from opnmf_pipeline.decomposition.optimality import objective
from opnmf_pipeline.decomposition.passes import (
    Array,
    Moments,
    RowBlocks,
    moments,
    squared_norm,
    sweep,
)
from opnmf_pipeline.decomposition.progress import Progress
from opnmf_pipeline.decomposition.repair import worst_explained
from opnmf_pipeline.decomposition.seeding import far_rows
from opnmf_pipeline.selection.shape import unit_columns

SAMPLE_ROWS = 2**14
"""Random starts are improved on so many random rows,"""

ROWS_PER_COMPONENT = 400
"""or on so many per component, if that is more."""

FAR_ROWS_PER_COMPONENT = 50
"""Of fewer rows, those that are far apart are always the same few: starts are any rows."""

START_STEP = 3
"""A random start is improved on so many times fewer rows before it is crossed."""

START_TOL, START_SWEEPS = 0.1, 20
"""A random start is crossed once about one row in two hundred changes component, or after so many
sweeps."""

SEARCH_TOL, SEARCH_SWEEPS = 0.04, 15
"""Solutions are compared once about one row in a thousand changes component, or after so many."""

TIE = 8
"""A row keeps its component until another is better by more than so many rounding errors."""


def orthonormal(
    X: RowBlocks,
    W: Array,
    progress: Progress,
    *,
    n_init: int,
    random_state: int | np.random.RandomState | None,
) -> Array:
    """Return a W ≥ 0 with WᵀW = I.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        The first start, overwritten.
    progress : Progress
        Receives objective and change of every sweep over X.
    n_init : int
        Number of starts: the given one, and random rows of X that are far apart.
    random_state : int, RandomState or None
        Source of the random starts.

    Returns
    -------
    ndarray of shape (n_rows, k)
        Each row has one positive entry at most.
    """
    V = np.empty((X.shape[1], W.shape[1]))
    if not progress.resumed:
        rng = check_random_state(random_state)
        V = search(X, unit_columns(moments(X, W).M), n_init, rng)
        W[...] = 0
    return finish(X, W, V, progress)


def finish(X: RowBlocks, W: Array, V: Array, progress: Progress) -> Array:
    """Return the orthonormal W that directions V lead to, or continue from a checkpoint."""
    if saved := progress.resumed:
        W[...], V = saved["W"], saved["V"]
    alternate(X, W, V, progress)
    # squared in float64: float32 sums would leave WᵀW − I above 1e-6
    norms = np.sqrt(np.einsum("ij,ij->j", W, W, dtype=np.float64))
    W /= np.where(norms > 0, norms, 1)
    return W


def refine(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Improve W, a solution for similar data."""
    M = moments(X, W).M
    W *= np.linalg.norm(M, axis=0).astype(W.dtype)  # the weights against unit vectors
    return finish(X, W, unit_columns(M), progress)


def alternate(X: RowBlocks, W: Array, V: Array, progress: Progress) -> Array:
    """Assign each row to the v_j that explains most of it, and let v_j follow its rows.

    One pass does both: with the weights w = Xv of its rows, Xᵀw is a step of the power method
    towards the leading right singular vector of these rows. Neither ever raises the error.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        Overwritten; each row has one positive entry at most.
    V : ndarray of shape (n_columns, k), float64
        First directions, of norm 1.
    progress : Progress
        Receives objective and change of every sweep.

    Returns
    -------
    ndarray of shape (n_columns, k), float64
        The directions that the last W leads to.
    """
    norm_X2 = squared_norm(X)
    size2 = float(progress.resumed.get("size2", np.vdot(W, W)))
    while not progress.done:
        state = _assign(X, W, V)
        norms = np.sqrt(np.diag(state.G))
        empty = np.flatnonzero(norms == 0)
        norms[empty] = 1
        M = state.M / norms
        change = float(np.sqrt(state.step2 / size2)) if size2 > 0 else float(state.step2 > 0)
        size2 = float(np.trace(state.G))
        V = unit_columns(M)
        found = worst_explained(X, W, V, len(empty))
        repaired = empty[: found.shape[1]]
        V[:, repaired] = found
        error = objective(norm_X2, M, np.eye(len(norms)))
        progress.record(error, change, converged=change < progress.tol and not len(repaired))
        progress.save(W=W, V=V, size2=size2)
    return V


def search(X: RowBlocks, V: Array, n_init: int, rng: np.random.RandomState) -> Array:
    """Return the best directions found from a start and from random rows.

    Random starts are improved on a part of one random sample of the rows. Each is crossed with the
    best directions so far: of the components of both, those are dropped one by one that are missed
    least. So a component that one start found and another missed is kept. A child that is better
    on the whole sample takes the place of the best.
    """
    k = V.shape[1]
    sample = _sample(X, k, rng)
    step = START_STEP if len(sample) < X.shape[0] else 1
    with X.with_rows(sample) as small, small.thinned(step) as part:
        best, error = _settle(small, V, SEARCH_TOL, SEARCH_SWEEPS)
        for _ in range(n_init - 1):
            new, _ = _settle(part, _random_start(part[:], k, rng), START_TOL, START_SWEEPS)
            crossed = cross(sample, np.hstack([best, new]), k)
            child, child_error = _settle(small, crossed, SEARCH_TOL, SEARCH_SWEEPS)
            if child_error < error:
                best, error = child, child_error
    return best


def sample_size(n_rows: int, k: int) -> int:
    """Return the number of rows that random starts are improved on."""
    return min(n_rows, max(SAMPLE_ROWS, ROWS_PER_COMPONENT * k))


def _sample(X: RowBlocks, k: int, rng: np.random.RandomState) -> Array:
    """Return random rows of X, in order and in memory."""
    rows = np.sort(rng.choice(X.shape[0], sample_size(X.shape[0], k), replace=False))
    return X[rows]


def _random_start(X: Array, k: int, rng: np.random.RandomState) -> Array:
    """Return the directions of k random rows, which are far apart if there are rows enough."""
    if len(X) >= FAR_ROWS_PER_COMPONENT * k:
        return far_rows(X, k, rng)
    return unit_columns(X[rng.choice(len(X), k, replace=False)].T)


def _settle(X: RowBlocks, V: Array, tol: float, sweeps: int) -> tuple[Array, float]:
    """Improve directions until few rows change component; return them and the error."""
    progress = Progress(tol, sweeps)
    W = np.zeros((X.shape[0], V.shape[1]), dtype=X.dtype)
    V = alternate(X, W, V, progress)
    return V, progress.history[-1].objective


def cross(X: Array, V: Array, k: int) -> Array:
    """Drop columns of V, each time the one whose rows lose least by their second best."""
    scores = X @ V.astype(X.dtype)
    np.square(np.maximum(scores, 0, out=scores), out=scores)
    kept = np.ones(V.shape[1], dtype=bool)
    first, second = _two_best(scores)
    rows = np.arange(len(scores))
    for _ in range(V.shape[1] - k):
        loss = np.bincount(first, scores[rows, first] - scores[rows, second], len(kept))
        dropped = int(np.argmin(np.where(kept, loss, np.inf)))
        kept[dropped] = False
        scores[:, dropped] = -1
        affected = (first == dropped) | (second == dropped)
        first[affected], second[affected] = _two_best(scores[affected])
    return V[:, kept]


def _two_best(scores: Array) -> tuple[Array, Array]:
    """Return the columns of the largest and of the second largest entry of each row."""
    rows = np.arange(len(scores))
    first = scores.argmax(axis=1)
    largest = scores[rows, first]
    scores[rows, first] = -np.inf
    second = scores.argmax(axis=1)
    scores[rows, first] = largest
    return first, second


def _assign(X: RowBlocks, W: Array, V: Array) -> Moments:
    """Leave each row its largest product only, in one pass; return the moments of the new W."""
    if row_assigner(X.dtype) is None:
        return sweep(X, W, V, _numpy_rule)
    tie, V, k = 1 + TIE * float(np.finfo(X.dtype).eps), V.astype(X.dtype), V.shape[1]

    def update(rows: slice, X_b: Array) -> Moments:
        read = rows_to_read(X_b)
        M, G = np.zeros((k, read.shape[1]), W.dtype), np.zeros((k, k))
        kernel = row_assigner(X_b.dtype)  # of the process that works on the block
        assert kernel is not None
        step2 = kernel(read, X_b @ V, W[rows], tie, M, G)
        return Moments(M.T if M.size else X_b.T @ W[rows], G, step2)

    return X.sum(update, writes=W)


def _numpy_rule(rows: slice, W_b: Array, XV: Array) -> Array:
    """Leave each row its largest entry only; the component that the row had wins a tie."""
    XV *= 1 + TIE * np.finfo(XV.dtype).eps * (W_b > 0)
    index = np.arange(len(XV)), XV.argmax(axis=1)
    new = np.zeros_like(XV)
    new[index] = np.maximum(XV[index], 0)
    return new
