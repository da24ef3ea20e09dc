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
"""A slope this small, relative to the largest entry of the target in the support, is zero."""

GUESS_SIZE = 12
"""A support with more entries is no guess: the row starts from its best single direction."""

NO_NAN = {"nnan", "nsz"}
"""Promises to the compiler: there is no NaN, and no zero has a sign. It then compares several
numbers at once. Sums keep their order, so these promises change no bit."""

COUNTED = False
"""Compiled code does not count who uses an array, since that takes longer than what it does for a
row. So it cannot make arrays: its caller makes them."""

# Its type leaves out what the types of numba do not know: the option _nrt
_njit: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = numba.njit


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at the first call; keep the code beside the package or in the user's cache."""
    options = {"nogil": True, "fastmath": NO_NAN, "_nrt": COUNTED}
    try:
        return _njit(cache=True, **options)(function)
    except RuntimeError as error:  # no folder can be written to
        logger.debug(NO_CACHE_MSG, error)
        return _njit(**options)(function)


def _inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile into the caller: a call for each row would take as long as what it does."""
    return _njit(inline="always", _nrt=COUNTED)(function)


@_inlined
def _least_squares(
    S: Array, b: Array, support: Array, known: int, n: int, L: Array, y: Array, t: Array
) -> None:
    """Set t to the solution of St = b on a support of n entries.

    L gets the Cholesky factor, with the inverse of its diagonal (divisions take longest), and y
    the solution of Ly = b. The first `known` rows of both are there already.
    """
    for i in range(known, n):
        for j in range(i + 1):
            value = S[support[i], support[j]]
            for q in range(j):
                value -= L[i, q] * L[j, q]
            L[i, j] = value * L[j, j] if j < i else 1 / np.sqrt(max(value, 1e-300))
        value = np.float64(b[support[i]])
        for q in range(i):
            value -= L[i, q] * y[q]
        y[i] = value * L[i, i]
    for i in range(n - 1, -1, -1):
        value = y[i]
        for q in range(i + 1, n):
            value -= L[q, i] * t[q]
        t[i] = value * L[i, i]


@_inlined
def _step_towards(t: Array, z: Array, support: Array, n: int, negligible: float) -> tuple[int, int]:
    """Move z towards t as far as it stays feasible.

    At least the entry that limits the step leaves the support. Return the size of what is left, and
    how many entries come before the first that left.
    """
    step = 1.0
    for i in range(n):
        if t[i] <= 0:
            old = z[support[i]]
            step = min(step, old / (old - t[i]) if old > t[i] else 0.0)
    size, unmoved = 0, n
    for i in range(n):
        j = support[i]
        old = z[j]
        new = old + step * (t[i] - old)
        if t[i] <= 0 and (new <= negligible or old / (old - t[i]) <= step):
            z[j] = 0.0
            unmoved = min(unmoved, size)
        else:
            z[j] = new
            support[size] = j
            size += 1
    return size, unmoved


@_inlined
def _follow(S: Array, z: Array, seen: Array, entries: Array, n: int, g: Array) -> None:
    """Turn the slope g at `seen` into the slope at z, which differs in n entries at most."""
    for i in range(n):
        j = entries[i]
        step = z[j] - seen[j]
        seen[j] = z[j]
        for q in range(len(g)):
            g[q] += step * S[j, q]


@_inlined
def _old_row(
    S: Array, b: Array, w: Array, z: Array, seen: Array, had: Array, g: Array, violation: Array
) -> int:
    """Set g to wS − b, add min(w, g)² to the violation, and return the number of weights of w.

    `had` gets their places, and z and `seen`, zero at entry, their values.
    """
    size = 0
    for j in range(len(w)):  # without a branch, which no processor would foresee
        had[size] = j
        size += w[j] > 0
    for j in range(len(g)):
        g[j] = -b[j]
    for i in range(size):
        z[had[i]] = w[had[i]]
    _follow(S, z, seen, had, size, g)
    for i in range(size):
        j = had[i]
        if g[j] > 0:
            violation[j] += min(z[j], g[j]) ** 2
    for j in range(len(g)):
        violation[j] += min(g[j], 0.0) ** 2
    return size


@_inlined
def _best_direction(S: Array, b: Array, support: Array) -> int:
    """Set the support to the direction that explains most of the row; return its size, 0 or 1."""
    most = 0.0
    for j in range(len(b)):
        if b[j] > 0 and np.float64(b[j]) ** 2 > most * S[j, j]:
            support[0], most = j, np.float64(b[j]) ** 2 / S[j, j]
    return 1 if most > 0 else 0


@_inlined
def _solve_row(
    S: Array,
    b: Array,
    z: Array,
    seen: Array,
    support: Array,
    size: int,
    g: Array,
    L: Array,
    y: Array,
    t: Array,
    entries: Array,
) -> int:
    """Set z to the minimum of ½zSzᵀ − bzᵀ over z ≥ 0; return the size of its support.

    The active set method of Lawson and Hanson, from a feasible z that is zero outside its support,
    and from the slope g at `seen`.
    """
    k, known = len(b), 0
    for _ in range(3 * k + 10):
        largest, n = 0.0, size
        for i in range(n):
            entries[i] = support[i]
            largest = max(largest, abs(b[support[i]]))
        while size > 0:
            _least_squares(S, b, support, known, size, L, y, t)
            before = size
            size, known = _step_towards(t, z, support, size, 1e-14 * largest)
            if size == before:
                break
        _follow(S, z, seen, entries, n, g)
        for i in range(size):
            g[support[i]] = 0.0
        found = False  # without a branch, this is several times faster than to search `enters`
        for j in range(k):
            found |= g[j] < -TOLERANCE * largest
        if not found:
            break
        enters = 0
        for j in range(1, k):
            if g[j] < g[enters]:
                enters = j
        if S[enters, enters] <= 0:
            break
        support[size] = enters
        size += 1
    return size


@_inlined
def _replace(
    w: Array, z: Array, seen: Array, had: Array, n_had: int, support: Array, size: int
) -> float:
    """Write z to w, make z and `seen` zero, and return the squared norm of the step."""
    step2 = 0.0
    for i in range(size):
        j = support[i]
        step2 += (z[j] - w[j]) ** 2
        w[j] = z[j]
    for i in range(n_had):
        j = had[i]
        if z[j] == 0:
            step2 += np.float64(w[j]) ** 2
            w[j] = 0
        seen[j] = 0.0
    for i in range(size):
        z[support[i]] = seen[support[i]] = 0.0
    return step2


def solve_rows(
    X: Array, XV: Array, W: Array, S: Array, M: Array, G: Array, violation: Array
) -> float:
    """Solve min ‖x − zVᵀ‖, z ≥ 0, for each row x of a block, from its last solution.

    A row without one starts from the solution of the row before it: neighbours are alike.

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
    k = len(S)
    return float(
        _solve_rows(
            X, XV, W, S, M, G, violation, np.zeros((5, k)), np.empty((k, k)), np.empty((3, k), int)
        )
    )


@_compiled
def _solve_rows(
    X: Array,
    XV: Array,
    W: Array,
    S: Array,
    M: Array,
    G: Array,
    violation: Array,
    vectors: Array,
    L: Array,
    places: Array,
) -> float:
    """Do what `solve_rows` says, with arrays to work in."""
    z, seen, g, y, t = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    had, support, entries = places[0], places[1], places[2]
    step2, size = 0.0, 0
    for row in range(len(W)):
        w, b = W[row], XV[row]
        n_had = _old_row(S, b, w, z, seen, had, g, violation)
        if n_had > 0:
            size = n_had
            for i in range(size):
                support[i] = had[i]
        else:  # z is zero
            for i in range(size):
                z[support[i]] = W[row - 1, support[i]]
        if size == 0 or size > GUESS_SIZE:
            for i in range(size):
                z[support[i]] = 0.0
            _follow(S, z, seen, had, n_had, g)
            size = _best_direction(S, b, support)
        size = _solve_row(S, b, z, seen, support, size, g, L, y, t, entries)
        step2 += _replace(w, z, seen, had, n_had, support, size)
        for i in range(size):
            weight = w[support[i]]
            for q in range(size):
                G[support[i], support[q]] += np.float64(weight) * w[support[q]]
            products = M[support[i]]
            for j in range(X.shape[1]):
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
        had, best = 0, 0
        while had < k and W[row, had] <= 0:
            had += 1
        for j in range(1, k):
            if XV[row, j] > XV[row, best]:
                best = j
        if had < k and np.float64(XV[row, had]) * tie >= XV[row, best]:
            best = had
        weight = max(XV[row, best], XV[row, best] * 0)
        old = np.float64(W[row, had]) if had < k else 0.0
        if had == best:
            step2 += (weight - old) ** 2
        else:
            step2 += np.float64(weight) ** 2 + old**2
            if had < k:
                W[row, had] = 0
        W[row, best] = weight
        G[best, best] += np.float64(weight) ** 2
        products = M[best]
        for j in range(n_columns):
            products[j] += weight * X[row, j]
    return step2
