"""Refuse parameters and data that no factorization can use, saying what is wrong."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.spectrum import GRAM_SIDE

DTYPES = ("float32", "float64")

INTEGERS = {"n_init", "max_iter", "n_threads"}
"""Parameters that count something; of these, n_threads may be None."""

AUTO = "auto"
"""n_components that asks for a search, from 2 to half of the smaller side of X,"""

AUTO_LARGEST = 40
"""or to this, if that is less: few papers use more."""

INTERPRETER_MB = 300
"""Python, its libraries and the blocks in work."""

CHOICE_MSG = "{name}={value!r} is unknown; use one of {choices}"
RANGE_MSG = "{name} must be {expected}, got {value!r}"
RANKS_MSG = (
    "n_components must be an integer >= 1, or several to choose from, or {auto!r}, got {value!r}"
)
RANK_MSG = (
    "n_components={k} must be at most min(n_samples={n_rows}, n_features={n_columns}); "
    "ask for fewer components"
)
NOT_FINITE_MSG = (
    "Input X contains NaN, infinity or a value too large for {dtype}: {n} of them, "
    "the first in row {row}"
)
NEGATIVE_MSG = (
    "Negative values in data passed to {name} (input X): {n} of them, the least is {least:g}; "
    "the factorization is defined for X >= 0"
)
MEMORY_MSG = (
    "max_memory={limit:.0f} MB is too little: the fit needs about {needed:.0f} MB, of which "
    "{weights:.0f} MB for arrays of the size of W; raise it, ask for fewer components, or pass X "
    "as a memory map"
)
W_INIT_MSG = "W_init must be {expected}, got {got}"


class DataFacts(NamedTuple):
    """What one look at X tells.

    Attributes
    ----------
    mean : float
        Mean of X.
    zero_rows : ndarray of shape (n_rows,), bool
        Rows of zeros only.
    """

    mean: float
    zero_rows: Array


class _BlockFacts(NamedTuple):
    """The same of one block."""

    total: float
    nonzero: Array
    n_bad: int
    first_bad: int
    n_negative: int
    least: float


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among the choices."""
    if value not in choices:
        raise ValueError(CHOICE_MSG.format(name=name, value=value, choices=", ".join(choices)))


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Check the parameters that an estimator has."""
    check_choice("dtype", parameters["dtype"], DTYPES)
    check_ranks(parameters["n_components"])
    for name in INTEGERS & parameters.keys():
        value = parameters[name]
        optional = name == "n_threads" and value is None
        if not optional and (not isinstance(value, Integral) or value < 1):
            raise ValueError(RANGE_MSG.format(name=name, value=value, expected="an integer >= 1"))
    tol = parameters["tol"]
    if not isinstance(tol, (int, float, np.number)) or not tol >= 0:
        raise ValueError(RANGE_MSG.format(name="tol", value=tol, expected="a number >= 0"))
    if parameters["callback"] is not None and not callable(parameters["callback"]):
        expected, value = "callable or None", parameters["callback"]
        raise ValueError(RANGE_MSG.format(name="callback", value=value, expected=expected))


def check_ranks(n_components: object) -> None:
    """Refuse what is neither a number of components, nor 'auto', nor numbers to choose from."""
    if isinstance(n_components, str) and n_components == AUTO:
        return
    ks = list(n_components) if isinstance(n_components, Iterable) else [n_components]
    if not ks or not all(isinstance(k, (int, np.integer)) and k >= 1 for k in ks):
        raise ValueError(RANKS_MSG.format(auto=AUTO, value=n_components))


def ranks_to_try(n_components: int | str | Iterable[int], shape: tuple[int, int]) -> list[int]:
    """Return the numbers of components that a parameter asks for, increasing; refuse too large."""
    if isinstance(n_components, str):
        ks = list(range(2, max(2, min(AUTO_LARGEST, min(shape) // 2)) + 1))
    elif isinstance(n_components, Iterable):
        ks = sorted({int(k) for k in n_components})
    else:
        ks = [int(n_components)]  # numpy's small integers would overflow
    check_rank(ks[-1], shape)
    return ks


def check_rank(k: int, shape: tuple[int, int]) -> None:
    """Refuse more components than rows or columns."""
    if k > min(shape):
        raise ValueError(RANK_MSG.format(k=k, n_rows=shape[0], n_columns=shape[1]))


def check_memory(limit: float | None, X: RowBlocks, k: int, n_sample: int) -> None:
    """Refuse a fit whose private memory would exceed `limit` MB.

    A memory map counts as nothing, since its pages belong to the file. Counted are four arrays of
    the size of W, a sample of X, the Gram matrix and its vectors, and the interpreter.
    """
    if limit is None:
        return
    n_rows, n_columns = X.shape
    weights = 4 * n_rows * k * X.dtype.itemsize
    sample = n_sample * n_columns * X.dtype.itemsize
    gram = 3 * 8 * min(n_rows, n_columns, GRAM_SIDE) ** 2
    data = 0 if X.mapped else X.X.nbytes
    needed = INTERPRETER_MB + (weights + sample + gram + data) / 1e6
    if needed > limit:
        raise ValueError(MEMORY_MSG.format(limit=limit, needed=needed, weights=weights / 1e6))


def check_data(X: RowBlocks, name: str) -> DataFacts:
    """Look at every value of X once; refuse NaN, infinity and negative values.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data.
    name : str
        Of the estimator, for messages.
    """
    blocks = list(X.map(_look_at))
    n_bad = sum(block.n_bad for block in blocks)
    if n_bad:
        row = next(block.first_bad for block in blocks if block.n_bad)
        raise ValueError(NOT_FINITE_MSG.format(dtype=X.dtype, n=n_bad, row=row))
    n_negative = sum(block.n_negative for block in blocks)
    if n_negative:
        least = min(block.least for block in blocks)
        raise ValueError(NEGATIVE_MSG.format(name=name, n=n_negative, least=least))
    nonzero = np.concatenate([block.nonzero for block in blocks])
    return DataFacts(sum(block.total for block in blocks) / float(np.prod(X.shape)), ~nonzero)


def _look_at(rows: slice, X_b: Array) -> _BlockFacts:
    """Gather the facts of one block."""
    with np.errstate(over="ignore", invalid="ignore"):
        total, least = float(X_b.sum(dtype=np.float64)), float(X_b.min())
    n_bad = first_bad = n_negative = 0
    if not np.isfinite(total):
        bad = ~np.isfinite(X_b)
        n_bad, first_bad = int(bad.sum()), rows.start + int(np.argmax(bad.any(axis=1)))
    elif least < 0:
        n_negative = int((X_b < 0).sum())
    return _BlockFacts(total, np.any(X_b, axis=1), n_bad, first_bad, n_negative, least)


def check_start(W_init: Array | None, init: str, shape: tuple[int, int]) -> None:
    """Refuse a start that does not go with `init` or cannot be a W of this shape."""
    if (W_init is None) == (init == "custom"):
        expected = "given to fit when init='custom', and only then"
        raise ValueError(W_INIT_MSG.format(expected=expected, got=f"init={init!r}"))
    if W_init is None:
        return
    W = np.asarray(W_init)
    if W.shape != shape:
        raise ValueError(W_INIT_MSG.format(expected=f"of shape {shape}", got=W.shape))
    if not (np.isfinite(W).all() and (W >= 0).all()):
        got = "negative or non-finite values"
        raise ValueError(W_INIT_MSG.format(expected="finite and non-negative", got=got))
