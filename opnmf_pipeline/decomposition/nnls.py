"""Non-negative least squares for many rows that share one Gram matrix."""

from typing import NamedTuple

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

FULL_EXCHANGES = 3
"""So often may a row exchange all wrong indices without getting fewer of them."""

MAX_ROUNDS = 200
"""The method is finite; this is for rounding errors."""

TOLERANCE = 1e-9
"""A slope this small, relative to the largest entry of the row's target, is zero."""

RIDGE = 1e-10
"""Share of the diagonal that is added to it, so that dependent directions have a solution.

Directions whose cosine differs from 1 by less are equal: the ridge would make them share their
weight, but from a system that is singular up to rounding errors.
"""


def nnls(S: Array, B: Array, support: Array) -> Array:
    """Return the z ≥ 0 of every row b of B that minimizes ½zSzᵀ − bzᵀ.

    Equal directions are solved for as one, and share its weight.

    Parameters
    ----------
    S : ndarray of shape (k, k), float64
        Gram matrix of the directions: VᵀV.
    B : ndarray of shape (n_rows, k)
        Products of the rows with the directions: XV.
    support : ndarray of shape (n_rows, k), bool
        Guess of the positive weights; the result does not depend on it.

    Returns
    -------
    ndarray of shape (n_rows, k), float64
    """
    groups = equal_directions(S)
    first = groups.first
    Z = _pivot(S[np.ix_(first, first)], B[:, first], support[:, first])
    shared: Array = Z[:, groups.group] * groups.share
    return shared


class Groups(NamedTuple):
    """Directions that are equal up to their lengths, as groups.

    Attributes
    ----------
    first : ndarray of shape (n_groups,), int
        The first direction of each group.
    group : ndarray of shape (k,), int
        The group of each direction.
    share : ndarray of shape (k,), float64
        What each direction gets of the weight of the first one of its group.
    """

    first: Array
    group: Array
    share: Array


def equal_directions(S: Array) -> Groups:
    """Return the groups of equal directions, from the Gram matrix S."""
    lengths = np.sqrt(np.diag(S))
    products = np.outer(lengths, lengths)
    equal = ((1 - RIDGE) * products <= S) & (products > 0) | np.eye(len(S), dtype=bool)
    same_as = equal.argmax(axis=1)
    first, group, counts = np.unique(same_as, return_inverse=True, return_counts=True)
    ratio = np.divide(lengths[same_as], lengths, out=np.ones_like(lengths), where=lengths > 0)
    return Groups(first, group, ratio / counts[group])


def ridged(S: Array) -> Array:
    """Return S with the ridge added to its diagonal."""
    return S + RIDGE * np.diag(np.diag(S))


def _pivot(S: Array, B: Array, support: Array) -> Array:
    """Solve by block principal pivoting, for directions that differ.

    Block principal pivoting [1]_: with the entries of a support solved for and all others zero,
    negative weights leave the support and entries with a negative slope enter it, all at once. A
    row that does not get fewer of them that way moves only its last one, which ends in any case.

    References
    ----------
    .. [1] Kim & Park (2011). Fast nonnegative matrix factorization: an active-set-like method and
       comparisons. SIAM J. Sci. Comput. 33(6). https://doi.org/10.1137/110821172
    """
    k = len(S)
    S = ridged(S)
    B = B.astype(np.float64)
    Z = np.zeros_like(B)
    rows = np.arange(len(B))
    support = support & (np.diag(S) > 0)
    allowed = -TOLERANCE * np.abs(B).max(axis=1, keepdims=True)
    fewest, chances = np.full(len(B), k + 1), np.full(len(B), FULL_EXCHANGES)
    for _ in range(MAX_ROUNDS):
        Z[rows] = z = _solve(S, B, support)
        slope = z @ S - B
        wrong = np.where(support, z < 0, slope < allowed)
        n_wrong = wrong.sum(axis=1)
        left = n_wrong > 0
        if not left.any():
            return Z
        rows, B, allowed, support, wrong, n_wrong = (
            each[left] for each in (rows, B, allowed, support, wrong, n_wrong)
        )
        fewer = n_wrong < fewest[left]
        fewest = np.where(fewer, n_wrong, fewest[left])
        exchange_all = fewer | (chances[left] > 0)
        chances = np.where(fewer, FULL_EXCHANGES, chances[left] - 1)
        support ^= np.where(exchange_all[:, np.newaxis], wrong, _last(wrong))
    return np.maximum(Z, 0)


def _solve(S: Array, B: Array, support: Array) -> Array:
    """Return the z of each row with zS = b on its support, and zeros elsewhere."""
    Z = np.zeros_like(B)
    sizes = support.sum(axis=1)
    for size in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == size)
        columns = np.nonzero(support[rows])[1].reshape(-1, size)
        at = rows[:, np.newaxis], columns
        systems = S[columns[:, :, np.newaxis], columns[:, np.newaxis, :]]
        Z[at] = np.linalg.solve(systems, B[at][..., np.newaxis])[..., 0]
    return Z


def _last(mask: Array) -> Array:
    """Return the mask with only the last true entry of each row."""
    only = np.zeros_like(mask)
    only[np.arange(len(mask)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)] = True
    return only
