"""Refuse data, and parameters that do not go with them, saying what is wrong."""

from collections.abc import Iterable
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.spectrum import spectrum_bytes

AUTO = "auto"
"""n_components that asks for a search, from 2 to half of the smaller side of X,"""

AUTO_LARGEST = 40
"""or to this, if that is less: few papers use more."""

INTERPRETER_MB = 300
"""Python, its libraries and the blocks in work."""

RANKS_MSG = (
    "n_components must be an integer >= 1, or several to choose from, or {auto!r}, got {value!r}"
)
RANK_MSG = (
    "n_components={k} must be at most min(n_samples={n_rows}, n_features={n_columns}); "
    "ask for fewer components"
)
NOT_FINITE_MSG = (
    "Input X contains {what} or a value too large for {dtype}: {n} of them, the first in row {row}"
)
NEGATIVE_MSG = (
    "Negative values in data passed to {name} (input X): {n} of them, the least is {least:g}; "
    "the factorization is defined for X >= 0"
)
ALL_ZERO_MSG = (
    "all values of X with shape {shape}, passed to {name}, are zero: there is nothing to "
    "factorize; check the mask and the images"
)
MEMORY_MSG = (
    "max_memory={limit:.0f} MB is too little: the fit needs about {needed:.0f} MB "
    "({weights:.0f} MB for arrays of the size of W); raise it, ask for fewer components, or pass X "
    "as a memory map"
)
MASKED_MSG = (
    "X is a masked array with {n} masked values, whose mask would be lost; leave their rows or "
    "columns out, or replace them first, such as with X.filled(0)"
)
W_INIT_MSG = "W_init must be {expected}, got {got}"


class DataFacts(NamedTuple):
    """What one look at X tells.

    Attributes
    ----------
    mean : float
        Mean of X.
    largest : float
        Largest value of X.
    zero_rows : ndarray of shape (n_rows,), bool
        Rows without a value other than zero.
    n_missing : int
        Number of NaN, where these are allowed.
    """

    mean: float
    largest: float
    zero_rows: Array
    n_missing: int


def require_unmasked(X: Any) -> None:
    """Refuse a masked array of NumPy: scikit-learn would take what its mask hides.

    Raises
    ------
    ValueError
        Values are masked.
    """
    if np.ma.is_masked(X):
        raise ValueError(MASKED_MSG.format(n=np.ma.getmaskarray(X).sum()))


class _BlockFacts(NamedTuple):
    """The same of one block."""

    total: float
    nonzero: Array
    n_missing: int
    n_bad: int
    first_bad: int
    n_negative: int
    least: float
    largest: float


def ranks_to_try(n_components: int | str | Iterable[int], shape: tuple[int, int]) -> list[int]:
    """Return the numbers of components that a parameter asks for, increasing.

    Refuse what is no number of components, and more than there are rows or columns.
    """
    if isinstance(n_components, bool):  # an integer for Python
        raise ValueError(RANKS_MSG.format(auto=AUTO, value=n_components))
    if isinstance(n_components, str):
        ks = list(range(2, max(2, min(AUTO_LARGEST, min(shape) // 2)) + 1))
    elif isinstance(n_components, Iterable):
        several = list(n_components)
        numbers = all(isinstance(k, Integral) and not isinstance(k, bool) for k in several)
        if not several or not numbers or min(several) < 1:
            raise ValueError(RANKS_MSG.format(auto=AUTO, value=n_components))
        ks = sorted({int(k) for k in several})
    else:
        ks = [int(n_components)]  # numpy's small integers would overflow
    check_rank(ks[-1], shape)
    return ks


def check_rank(k: int, shape: tuple[int, int]) -> None:
    """Refuse more components than rows or columns."""
    if k > min(shape):
        raise ValueError(RANK_MSG.format(k=k, n_rows=shape[0], n_columns=shape[1]))


def check_memory(
    limit: float | None,
    X: RowBlocks,
    k: int,
    n_sample: int,
    n_weights: int = 4,
    stand_in: int = 0,
) -> None:
    """Refuse a fit whose private memory would exceed `limit` MB.

    A memory map counts as nothing, since its pages belong to the file. Counted are `n_weights`
    arrays of the size of W, a sample of X, the Gram matrix and its vectors, the bytes of
    compressed data, and the interpreter.
    """
    if limit is None:
        return
    n_rows, n_columns = X.shape
    weights = n_weights * n_rows * k * X.dtype.itemsize
    sample = n_sample * n_columns * X.dtype.itemsize
    gram = spectrum_bytes(n_rows, n_columns, k)
    data = 0 if X.mapped else X.X.nbytes
    needed = INTERPRETER_MB + (weights + sample + gram + data + stand_in) / 1e6
    if needed > limit:
        raise ValueError(MEMORY_MSG.format(limit=limit, needed=needed, weights=weights / 1e6))


def check_data(X: RowBlocks, name: str, *, missing: bool = False) -> DataFacts:
    """Look at every value of X once; refuse NaN, infinity, negative values and zeros only.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data.
    name : str
        Of the estimator, for messages.
    missing : bool, default=False
        Whether NaN is allowed.
    """
    blocks = list(X.map(partial(_look_at, missing=missing)))
    n_bad = sum(block.n_bad for block in blocks)
    if n_bad:
        row = next(block.first_bad for block in blocks if block.n_bad)
        what = "infinity" if missing else "NaN, infinity"
        raise ValueError(NOT_FINITE_MSG.format(what=what, dtype=X.dtype, n=n_bad, row=row))
    n_negative = sum(block.n_negative for block in blocks)
    if n_negative:
        least = min(block.least for block in blocks)
        raise ValueError(NEGATIVE_MSG.format(name=name, n=n_negative, least=least))
    largest = max(block.largest for block in blocks)
    if largest == 0:
        raise ValueError(ALL_ZERO_MSG.format(name=name, shape=X.shape))
    nonzero = np.concatenate([block.nonzero for block in blocks])
    n_missing = sum(block.n_missing for block in blocks)
    mean = sum(block.total for block in blocks) / (float(np.prod(X.shape)) - n_missing)
    return DataFacts(mean, largest, ~nonzero, n_missing)


def _look_at(rows: slice, X_b: Array, *, missing: bool) -> _BlockFacts:
    """Gather the facts of one block."""
    X_b, n_missing = np.asarray(X_b), 0
    if missing and (unknown := np.isnan(X_b)).any():
        X_b, n_missing = np.where(unknown, 0, X_b), int(unknown.sum())
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(X_b.sum(dtype=np.float64))
        least, largest = float(X_b.min()), float(X_b.max())
    n_bad = first_bad = n_negative = 0
    if not np.isfinite(total):
        bad = ~np.isfinite(X_b)
        n_bad, first_bad = int(bad.sum()), rows.start + int(np.argmax(bad.any(axis=1)))
    elif least < 0:
        n_negative = int((X_b < 0).sum())
    nonzero = np.any(X_b, axis=1)
    return _BlockFacts(total, nonzero, n_missing, n_bad, first_bad, n_negative, least, largest)


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
