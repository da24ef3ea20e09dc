"""Disjoint or overlapping parts, whichever the data have.

Data with disjoint parts are explained better by exactly orthonormal components than by any
stationary point of the published update, and data with overlapping parts the other way round. But
with many components the lowest error can also come from disjoint parts that follow the noise. So
disjoint parts are taken only where they have the lower error *and* do not agree less between the
halves of the subjects, each fitted from random starts of its own.

With much noise, many overlapping solutions have nearly the same error, and what those of the halves
have in common is nearer to the truth than the best of them. docs/solvers.md has the comparisons.

The search uses a share of the rows of large data; what was chosen is then fitted to all.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_random_state

from opnmf_pipeline.decomposition import accelerated, orthonormal
from opnmf_pipeline.decomposition.accelerated import (
    COARSE_PER_COMPONENT,
    COARSE_ROWS,
    Steps,
    coarse_step,
    descend,
)
from opnmf_pipeline.decomposition.compression import compressed_in_memory
from opnmf_pipeline.decomposition.optimality import best_scale, objective
from opnmf_pipeline.decomposition.passes import Array, Moments, RowBlocks, moments, squared_norm
from opnmf_pipeline.decomposition.progress import Criterion, Progress
from opnmf_pipeline.decomposition.seeding import far_rows
from opnmf_pipeline.selection.reproducibility import cosine_and_rand_index
from opnmf_pipeline.selection.shape import unit_columns

logger = logging.getLogger(__name__)

SEARCH_TOL = 2e-5
"""Overlapping parts of different starts are compared once the KKT residual is ten times this,"""

SEARCH_PASSES = 100
"""or after so many passes."""

COMPARED_PASSES = 3
"""After so many passes over more rows, solutions are compared once more."""

N_SPLITS = 3
"""So often the subjects are split into halves."""

CROSSED = 3
"""So many starts are crossed for the disjoint parts of a half."""

CLEAR = 0.05
"""Further halves are not asked once the mean difference of the agreements is above this."""

CLOSE = 0.0025
"""What solutions have in common is kept if its error is above that of the best two, crossed, by at
most this share, and not above that of the given start. Else errors differ by more than noise
explains, and the crossed solution is kept."""

TIED = 0.02
"""Disjoint parts of a lower error are taken unless their halves agree less by more than this.

Where the lower error is that of noise, on real maps, they agree less by 0.05 or more. Parts that
were planted as disjoint, with much noise, agreed less by 0.007."""

SUBJECTS_BYTES = 2**29
"""Halves are those of a sample of the subjects, where all of them would need more memory."""

FEWEST_SUBJECTS = 8
"""Fewer subjects are not halved."""

MEAN_ROUNDS = 3
"""So often are solutions matched to their mean."""

CHOSEN_MSG = "%s parts: error %.6g if disjoint, %.6g if overlapping%s"
HALVES_MSG = "; halves agree by %+.3f if disjoint rather than overlapping"

KKT_OR_CHANGE = Criterion(
    "KKT residual",
    "KKT residual (for disjoint parts, the relative change of W)",
    lambda fit: fit.kkt_residual_,
    factor=accelerated.KKT.factor,
)


class Candidate(NamedTuple):
    """One solution on the rows that starts are compared on.

    Attributes
    ----------
    W : ndarray of shape (n_rows, k)
        Weights.
    V : ndarray of shape (n_columns, k), float64
        Unit directions of WᵀX.
    error : float
        ‖X − WWᵀX‖.
    """

    W: Array
    V: Array
    error: float


Pair = tuple[Array, Array]
"""What belongs to each of two halves of the subjects."""

Fit = Callable[[RowBlocks, int, np.random.RandomState], Array]
"""From rows, the number of components and a source of random numbers to W."""


def adaptive(
    X: RowBlocks,
    W: Array,
    progress: Progress,
    *,
    n_init: int,
    random_state: int | np.random.RandomState | None,
) -> Array:
    """Return disjoint parts, or a stationary point of the orthonormal update.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    W : ndarray of shape (n_rows, k)
        The first start, overwritten.
    progress : Progress
        Receives objective and change of every pass over all rows.
    n_init : int
        Number of starts for disjoint parts, where these are chosen.
    random_state : int, RandomState or None
        Source of the random starts and of the halves of the subjects.

    Returns
    -------
    ndarray of shape (n_rows, k)
    """
    if saved := progress.resumed:
        disjoint, V = "size2" in saved, saved["V"]
    else:
        rng = check_random_state(random_state)
        disjoint, V = _search(X, W, n_init, rng, progress.tol, progress.level)
        W[...] = 0
    finish = orthonormal.finish if disjoint else accelerated.finish
    return finish(X, W, V, progress)


def refine(X: RowBlocks, W: Array, progress: Progress) -> Array:
    """Improve W, a solution for similar data; disjoint parts stay disjoint."""
    if np.count_nonzero(W, axis=1).max() <= 1:
        return orthonormal.refine(X, W, progress)
    return accelerated.refine(X, W, progress)


def _search(
    X: RowBlocks, W: Array, n_init: int, rng: np.random.RandomState, tol: float, level: int
) -> tuple[bool, Array]:
    """Return whether the parts are disjoint, and the directions of the best solution."""
    n_rows, k = W.shape
    large = n_rows > orthonormal.SAMPLE_ROWS
    step = max(1, n_rows // max(COARSE_ROWS, COARSE_PER_COMPONENT * k)) if large else 1
    with X.thinned(step) as rows:
        rows.original = _subjects(rows, rng)
        first = unit_columns(moments(rows, np.ascontiguousarray(W[::step])).M)
        splits = [_halves(rows, rng) for _ in range(N_SPLITS)]
        pairs = [_fitted(rows, split, k, _overlapping, rng) for split in splits]
        given = _settled(rows, first)
        found = [given, *(_of_all(rows, W) for pair in pairs for W in pair)]
        found.sort(key=lambda each: each.error)
        parts = _disjoint_parts(rows, splits, pairs, found[0].error, rng, level)
        if parts is not None:
            return True, orthonormal.search(rows, parts, n_init, rng)
        overlapping = [given.V, _shared(rows, found), _crossed(rows, found)]
    with X.thinned(coarse_step(X, k)) as rows:
        given, shared, crossed = (_settled(rows, V, passes=COMPARED_PASSES) for V in overlapping)
        limit = min(given.error, (1 + CLOSE) * crossed.error)
        chosen = shared if shared.error <= limit else crossed
        return False, _settled(rows, chosen.V, tol).V


def _subjects(X: RowBlocks, rng: np.random.RandomState) -> RowBlocks | None:
    """Return the data that X stands in for, or a sample of their columns in memory.

    Each half is read from them, a dozen times in all. A large file would be read as often.
    """
    if X.original is None:
        return None
    n_rows, n_subjects = X.original.shape
    most = max(2 * FEWEST_SUBJECTS, SUBJECTS_BYTES // (n_rows * X.dtype.itemsize))
    if n_subjects <= most:
        return X.original
    sample = np.sort(rng.choice(n_subjects, most, replace=False))
    return X.with_rows(X.original.columns(sample))


def _halves(X: RowBlocks, rng: np.random.RandomState) -> Pair:
    """Return the columns of two halves of the subjects, or all columns twice where few."""
    n = (X.original or X).shape[1]
    if (X.compressed and not X.original) or n < FEWEST_SUBJECTS:
        return np.arange(n), np.arange(n)
    order = rng.permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def _fitted(X: RowBlocks, split: Pair, k: int, fit: Fit, rng: np.random.RandomState) -> Pair:
    """Return W of both halves of the subjects; one half of the data is in memory at a time."""
    first, second = (_of_half(X, half, k, fit, rng) for half in split)
    return first, second


def _of_half(X: RowBlocks, half: Array, k: int, fit: Fit, rng: np.random.RandomState) -> Array:
    with compressed_in_memory((X.original or X).columns(half), X, k) as rows:
        return fit(rows, k, rng)


def _overlapping(X: RowBlocks, k: int, rng: np.random.RandomState) -> Array:
    """Return the weights of the stationary point that a random start leads to."""
    return _settled(X, _random_start(X, k, rng)).W


def _disjoint(X: RowBlocks, k: int, rng: np.random.RandomState) -> Array:
    """Return the weights of the best exactly orthonormal solution of a few random starts."""
    return _aligned(X, orthonormal.search(X, _random_start(X, k, rng), CROSSED, rng)).W


def _aligned(X: RowBlocks, V: Array) -> Candidate:
    """Return the exactly orthonormal solution that directions lead to."""
    W = np.zeros((X.shape[0], V.shape[1]), X.dtype)
    progress = Progress(SEARCH_TOL, SEARCH_PASSES)
    V = orthonormal.alternate(X, W, V, progress)
    return Candidate(W, V, progress.history[-1].objective)


def _disjoint_parts(
    X: RowBlocks,
    splits: list[Pair],
    overlapping: list[Pair],
    error: float,
    rng: np.random.RandomState,
    level: int,
) -> Array | None:
    """Return directions of disjoint parts, if these are better than overlapping ones."""
    k = overlapping[0][0].shape[1]
    pair = _fitted(X, splits[0], k, _disjoint, rng)
    V = np.hstack([unit_columns(moments(X, W).M) for W in pair])
    disjoint = _aligned(X, orthonormal.cross(X[:], V, k))
    chosen, agreement = disjoint.error < error, ""
    if chosen:
        margins = [_agreement(pair) - _agreement(overlapping[0])]
        for split, other in zip(splits[1:], overlapping[1:], strict=True):
            if abs(np.mean(margins)) > CLEAR:
                break
            pair = _fitted(X, split, k, _disjoint, rng)
            margins.append(_agreement(pair) - _agreement(other))
        chosen, agreement = bool(np.mean(margins) > -TIED), HALVES_MSG % np.mean(margins)
    kind = "disjoint" if chosen else "overlapping"
    logger.log(level, CHOSEN_MSG, kind, disjoint.error, error, agreement)
    return disjoint.V if chosen else None


def _agreement(pair: Pair) -> float:
    """Return the agreement of two solutions.

    The mean of the cosine of matched components, which counts three times, and of the Rand index,
    which differs less between right and wrong: compact parts have equal labels by chance.
    """
    cosine, rand_index = cosine_and_rand_index(*pair)
    return (3 * cosine + rand_index) / 4


def _random_start(X: RowBlocks, k: int, rng: np.random.RandomState) -> Array:
    """Return directions of random rows that are far apart, each with the rows that are like it.

    A single row is noisy. The mean of all rows, weighted by their products with it, is less so.
    """
    V = far_rows(X[:], k, rng).astype(X.dtype)
    return unit_columns(moments(X, np.maximum(X[:] @ V, 0)).M)


def _of_all(X: RowBlocks, W: Array) -> Candidate:
    """Return weights of some subjects as a solution for all subjects."""
    M, G, *_ = moments(X, W)
    c = best_scale(M, G)
    return Candidate(W, unit_columns(M), objective(squared_norm(X), c * M, c**2 * G))


def _shared(X: RowBlocks, found: list[Candidate]) -> Array:
    """Return the directions of the mean of all solutions."""
    return unit_columns(moments(X, _mean([each.W for each in found])).M)


def _crossed(X: RowBlocks, found: list[Candidate]) -> Array:
    """Return the directions that are left of those of the best two solutions."""
    V = np.hstack([each.V for each in found[:2]])
    return orthonormal.cross(X[:], V, found[0].V.shape[1])


def _settled(
    X: RowBlocks, V: Array, tol: float = SEARCH_TOL, passes: int = SEARCH_PASSES
) -> Candidate:
    """Return the stationary point that directions lead to, or what is reached on the way."""
    W, k = np.zeros((X.shape[0], V.shape[1]), X.dtype), V.shape[1]
    progress = Progress(tol, passes)
    nothing = Moments(np.zeros_like(V), np.zeros((k, k)))
    state = descend(X, W, V, nothing, Steps(), progress)
    accelerated.rescale(W, state)
    return Candidate(W, unit_columns(state.M), progress.history[-1].objective)


def _mean(solutions: list[Array]) -> Array:
    """Return the mean of solutions, each with its components in the order of the most typical.

    A component counts by its squared cosine with the mean.
    """
    unit = [unit_columns(W).astype(W.dtype) for W in solutions]
    likeness = [sum(_matched(U, other)[1].mean() for other in unit) for U in unit]
    mean = unit[int(np.argmax(likeness))]
    for _ in range(MEAN_ROUNDS):
        pairs = [(U, *_matched(mean, U)) for U in unit]
        mean = unit_columns(sum(U[:, order] * cosines**2 for U, order, cosines in pairs))
        mean = mean.astype(solutions[0].dtype)
    return mean


def _matched(mean: Array, U: Array) -> tuple[Array, Array]:
    """Return the order of the components of U that fits those of the mean, and the cosines."""
    cosines = mean.T @ U
    rows, order = linear_sum_assignment(-cosines)
    return order, cosines[rows, order]
