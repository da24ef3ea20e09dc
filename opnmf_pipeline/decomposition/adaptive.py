"""Disjoint or overlapping parts, whichever the data have, from the best of several starts.

Data with disjoint parts are explained better by exactly orthonormal components than by any
stationary point of the published update, and data with overlapping parts the other way round. But
with many components the lowest error can also come from disjoint parts that follow the noise. So
disjoint parts are taken only where they have the lower error *and* agree better between the
halves of the subjects, each fitted from random starts of its own. docs/solvers.md has the
comparisons.

Starts are compared on every eighth row of large data; what was chosen is then fitted to all rows.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from opnmf_pipeline.decomposition import accelerated, orthonormal
from opnmf_pipeline.decomposition.accelerated import Steps, coarse_step, descend
from opnmf_pipeline.decomposition.passes import Array, Moments, RowBlocks, moments
from opnmf_pipeline.decomposition.progress import Criterion, Progress
from opnmf_pipeline.decomposition.seeding import far_rows
from opnmf_pipeline.selection.reproducibility import (
    label_agreement,
    matched_inner_products,
    matching,
)
from opnmf_pipeline.selection.shape import unit_columns, winner_takes_all

logger = logging.getLogger(__name__)

SEARCH_TOL = 2e-5
"""Overlapping parts of different starts are compared once the KKT residual is ten times this,"""

SEARCH_PASSES = 100
"""or after so many passes."""

GOOD = 0.003
"""A solution is good if its error is above the lowest by at most this share: with much noise
nearly all are, and what they have in common is nearer to the truth than the best of them."""

MEAN_ROUNDS = 5
"""So often are solutions matched to their mean."""

FEW_STARTS = 4
"""So many starts show whether disjoint parts have a chance; if they are chosen, all are made."""

HALF_STARTS = 3
"""Starts for each half of the subjects."""

FEWEST_SUBJECTS = 8
"""Fewer subjects are not halved: the error decides."""

CHOSEN_MSG = "%s parts: error %.6g if disjoint, %.6g if overlapping%s"
HALVES_MSG = "; halves agree by %.3f if disjoint, %.3f if overlapping"

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


Fit = Callable[[RowBlocks, list[Array], np.random.RandomState], Candidate]
"""From rows, starts and a source of random numbers to the best solution of one kind."""


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
        Number of starts of either kind: the given one, and random rows that are far apart.
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
        step = coarse_step(*W.shape)
        with X.thinned(step) as rows:
            start = unit_columns(moments(rows, np.ascontiguousarray(W[::step])).M)
            disjoint, V = _choose(rows, start, n_init, rng, progress.level)
        W[...] = 0
    finish = orthonormal.finish if disjoint else accelerated.finish
    return finish(X, W, V, progress)


def _choose(
    X: RowBlocks, start: Array, n_init: int, rng: np.random.RandomState, level: int
) -> tuple[bool, Array]:
    """Return whether the parts are disjoint, and the directions of the best solution."""
    starts = [start, *_random_starts(X, start.shape[1], n_init - 1, rng)]
    overlapping, disjoint = _overlapping(X, starts, rng), _disjoint(X, starts[:FEW_STARTS], rng)
    chosen, halves = disjoint.error < overlapping.error, ""
    if chosen and not X.compressed and X.shape[1] >= FEWEST_SUBJECTS:
        order = rng.permutation(X.shape[1])
        split = order[: X.shape[1] // 2], order[X.shape[1] // 2 :]
        ours, others = (
            _recurrence(X, split, start.shape[1], fit, rng) for fit in (_disjoint, _overlapping)
        )
        chosen, halves = ours > others, HALVES_MSG % (ours, others)
    kind = "disjoint" if chosen else "overlapping"
    logger.log(level, CHOSEN_MSG, kind, disjoint.error, overlapping.error, halves)
    if not chosen:
        return False, overlapping.V
    return True, min(disjoint, _disjoint(X, starts, rng), key=lambda each: each.error).V


def _random_starts(X: RowBlocks, k: int, n: int, rng: np.random.RandomState) -> list[Array]:
    """Return n starts: draws of rows that are far apart, each with the rows that are like it.

    A single row is noisy. The mean of all rows, weighted by their products with it, is less so.
    """
    drawn = [far_rows(X[:], k, rng).astype(X.dtype) for _ in range(n)]
    return [unit_columns(moments(X, np.maximum(X[:] @ V, 0)).M) for V in drawn]


def _recurrence(
    X: RowBlocks, halves: tuple[Array, Array], k: int, fit: Fit, rng: np.random.RandomState
) -> float:
    """Return the agreement of fits to the halves of the subjects.

    The mean of the cosine of matched components, which counts twice, and of the Rand index, which
    differs less between right and wrong: compact parts have equal labels by chance.
    """
    weights = []
    for half in halves:
        columns = np.ascontiguousarray(X[:, np.sort(half)])
        with RowBlocks(columns, str(X.dtype), X.n_threads) as rows:
            starts = _random_starts(rows, k, HALF_STARTS, rng)
            weights.append(fit(rows, starts, rng).W)
    first, second = weights
    cosine = float(matched_inner_products(first, second).mean())
    ari = label_agreement(winner_takes_all(first), winner_takes_all(second), k)["ari"]
    return (2 * cosine + ari) / 3


def _disjoint(X: RowBlocks, starts: list[Array], rng: np.random.RandomState) -> Candidate:
    """Return the best exactly orthonormal solution."""
    V = orthonormal.search(X, starts[0], len(starts), rng)
    W = np.zeros((X.shape[0], V.shape[1]), X.dtype)
    progress = Progress(SEARCH_TOL, SEARCH_PASSES)
    V = orthonormal.alternate(X, W, V, progress)
    return Candidate(unit_columns(W).astype(X.dtype), V, progress.history[-1].objective)


def _overlapping(X: RowBlocks, starts: list[Array], _: np.random.RandomState) -> Candidate:
    """Return what the stationary points reached from the starts have in common.

    The mean of the good solutions, each matched to the one that is most like the others, is a
    start once more. Where that ends with a higher error than the first start, or is not good, the
    solution with the lowest error is returned.
    """
    found = [_settled(X, V) for V in starts]
    if len(found) == 1:
        return found[0]
    best = min(found, key=lambda each: each.error)
    good = [each.W for each in found if each.error <= (1 + GOOD) * best.error]
    shared = _settled(X, unit_columns(moments(X, _mean(good)).M))
    limit = min(found[0].error, (1 + GOOD) * best.error)
    return shared if shared.error <= limit else best


def _settled(X: RowBlocks, V: Array) -> Candidate:
    """Return the stationary point that directions lead to."""
    W, k = np.zeros((X.shape[0], V.shape[1]), X.dtype), V.shape[1]
    progress = Progress(SEARCH_TOL, SEARCH_PASSES)
    nothing = Moments(np.zeros_like(V), np.zeros((k, k)))
    state = descend(X, W, V, nothing, Steps(), progress)
    accelerated.rescale(W, state)
    return Candidate(W, unit_columns(state.M), progress.history[-1].objective)


def _mean(solutions: list[Array]) -> Array:
    """Return the mean of solutions, each with its components in the order of the most typical."""
    unit = [unit_columns(W) for W in solutions]
    likeness = [sum(matched_inner_products(U, other).mean() for other in unit) for U in unit]
    mean = unit[int(np.argmax(likeness))]
    for _ in range(MEAN_ROUNDS):
        pairs = [(U, matching(mean, U)[1]) for U in unit]
        mean = unit_columns(
            sum(U[:, order] * np.sum(mean * U[:, order], axis=0) ** 2 for U, order in pairs)
        )
    return mean.astype(solutions[0].dtype)
