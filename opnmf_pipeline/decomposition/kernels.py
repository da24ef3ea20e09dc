"""Loops over rows that numba compiles: least squares for `accelerated`, choices for `orthonormal`.

The module needs numba; `compilation` imports it when a fit first asks for it. Nothing here starts
a thread or keeps a lock, so that the compiled code works in the threads of `passes` and after a
fork.
"""

import logging
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from opnmf_pipeline.decomposition.passes import Array

logger = logging.getLogger(__name__)

NO_CACHE_MSG = (
    "numba found no folder to keep compiled code in (%s): each process compiles again, which takes "
    "some seconds; set NUMBA_CACHE_DIR to a folder that can be written to"
)

TOLERANCE = 1e-9
"""A slope this small, relative to the largest entry of the row's target, is zero."""

GUESS_SIZE = 12
"""A support with more entries is no guess: the row starts from its best single direction."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; keep the code beside the package or in the user's cache."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError as error:  # no folder can be written to
        logger.debug(NO_CACHE_MSG, error)
        return numba.njit(nogil=True)(function)


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile into the caller: a call for each row would take as long as what it does."""
    return numba.njit(inline="always")(function)


@_inlined
def _least_squares(S: Array, b: Array, support: Array, n: int, L: Array, t: Array) -> None:
    """Set t to the solution of St = b on a support of n entries, by Cholesky factors in L."""
    for i in range(n):
        for j in range(i + 1):
            value = S[support[i], support[j]]
            for q in range(j):
                value -= L[i, q] * L[j, q]
            L[i, j] = value / L[j, j] if j < i else np.sqrt(max(value, 1e-300))
        value = b[support[i]]
        for q in range(i):
            value -= L[i, q] * t[q]
        t[i] = value / L[i, i]
    for i in range(n - 1, -1, -1):
        value = t[i]
        for q in range(i + 1, n):
            value -= L[q, i] * t[q]
        t[i] = value / L[i, i]


@_inlined
def _step_towards(t: Array, z: Array, support: Array, n: int, negligible: float) -> int:
    """Move z towards t as far as it stays feasible; return the size of the support that is left.

    At least the entry that limits the step leaves the support.
    """
    step = 1.0
    for i in range(n):
        if t[i] <= 0:
            old = z[support[i]]
            step = min(step, old / (old - t[i]) if old > t[i] else 0.0)
    size = 0
    for i in range(n):
        j = support[i]
        old = z[j]
        new = old + step * (t[i] - old)
        if t[i] <= 0 and (new <= negligible or old / (old - t[i]) <= step):
            z[j] = 0.0
        else:
            z[j] = new
            support[size] = j
            size += 1
    return size


@_inlined
def _slope(S: Array, b: Array, z: Array, support: Array, n: int, g: Array) -> None:
    """Set g to zS − b, for a z with a support of n entries."""
    for i in range(len(g)):
        g[i] = -b[i]
    for p in range(n):
        j = support[p]
        weight = z[j]
        for i in range(len(g)):
            g[i] += weight * S[j, i]


@_inlined
def _first_support(S: Array, b: Array, z: Array, support: Array, size: int) -> int:
    """Replace a support that is no guess by the direction that explains most of the row."""
    if 0 < size <= GUESS_SIZE:
        return size
    z[:] = 0.0
    best, most = -1, 0.0
    for j in range(len(b)):
        if S[j, j] > 0 and b[j] > most * np.sqrt(S[j, j]):
            best, most = j, b[j] / np.sqrt(S[j, j])
    if best < 0:
        return 0
    support[0] = best
    return 1


@_inlined
def _solve_row(
    S: Array, b: Array, z: Array, support: Array, size: int, g: Array, L: Array, t: Array
) -> int:
    """Set z to the minimum of ½zSzᵀ − bzᵀ over z ≥ 0; return the size of its support.

    The active set method of Lawson and Hanson, from a feasible z that is zero outside its support.
    """
    k = len(b)
    largest = 0.0
    for j in range(k):
        largest = max(largest, abs(b[j]))
    size = _first_support(S, b, z, support, size)
    for _ in range(3 * k + 10):
        while size > 0:
            _least_squares(S, b, support, size, L, t)
            before = size
            size = _step_towards(t, z, support, size, 1e-14 * largest)
            if size == before:
                break
        _slope(S, b, z, support, size, g)
        for i in range(size):
            g[support[i]] = 0.0
        enters = 0
        for j in range(1, k):
            if g[j] < g[enters]:
                enters = j
        if size == k or g[enters] >= -TOLERANCE * largest or S[enters, enters] <= 0:
            break
        support[size] = enters
        size += 1
    return size


@_compiled
def solve_rows(
    X: Array, XV: Array, W: Array, S: Array, M: Array, G: Array, violation: Array
) -> float:
    """Solve min ‖x − zVᵀ‖, z ≥ 0, for each row x of a block, from its last solution.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The block.
    XV : ndarray of shape (n_rows, k)
        Its products with the directions.
    W : ndarray of shape (n_rows, k)
        The last solutions, overwritten.
    S : ndarray of shape (k, k), float64
        VᵀV, of directions that differ.
    M : ndarray of shape (k, n_columns)
        WᵀX of the new W is added to it.
    G : ndarray of shape (k, k), float64
        WᵀW of the new W is added to it.
    violation : ndarray of shape (k,), float64
        Σ min(w, wS − xV)² of the old W is added to it.

    Returns
    -------
    float
        ‖W − W_old‖².
    """
    k, n_columns = len(S), X.shape[1]
    b, g, z, t = np.empty(k), np.empty(k), np.zeros(k), np.empty(k)
    L, support = np.empty((k, k)), np.empty(k, np.int64)
    step2 = 0.0
    for row in range(len(W)):
        size = 0
        for j in range(k):
            b[j], z[j] = XV[row, j], W[row, j]
            if z[j] > 0:
                support[size] = j
                size += 1
        _slope(S, b, z, support, size, g)
        for j in range(k):
            violated = min(z[j], g[j])
            violation[j] += violated * violated
        size = _solve_row(S, b, z, support, size, g, L, t)
        for j in range(k):
            step = z[j] - W[row, j]
            step2 += step * step
            W[row, j] = z[j]
        for i in range(size):
            for q in range(size):
                G[support[i], support[q]] += z[support[i]] * z[support[q]]
            weight = W[row, support[i]]
            products = M[support[i]]
            for j in range(n_columns):
                products[j] += weight * X[row, j]
    return step2


@_compiled
def assign_rows(X: Array, XV: Array, W: Array, tie: float, M: Array, G: Array) -> float:
    """Leave each row of a block its largest product with a direction only, if that is positive.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The block.
    XV : ndarray of shape (n_rows, k)
        Its products with the directions.
    W : ndarray of shape (n_rows, k)
        The last weights, overwritten.
    tie : float
        The component that a row had counts so many times more.
    M : ndarray of shape (k, n_columns)
        WᵀX of the new W is added to it.
    G : ndarray of shape (k, k), float64
        WᵀW of the new W is added to it.

    Returns
    -------
    float
        ‖W − W_old‖².
    """
    k, n_columns = XV.shape[1], X.shape[1]
    step2 = 0.0
    for row in range(len(W)):
        best, most, had = 0, -np.inf, -1
        for j in range(k):
            value = np.float64(XV[row, j])
            if W[row, j] > 0:
                value *= tie
                had = j
            if value > most:
                best, most = j, value
        weight = max(XV[row, best], XV[row, best] * 0)
        old = np.float64(W[row, had]) if had >= 0 else 0.0
        if had == best:
            step2 += (weight - old) ** 2
        else:
            step2 += np.float64(weight) ** 2 + old**2
            if had >= 0:
                W[row, had] = 0
        W[row, best] = weight
        G[best, best] += np.float64(weight) ** 2
        products = M[best]
        for j in range(n_columns):
            products[j] += weight * X[row, j]
    return step2
