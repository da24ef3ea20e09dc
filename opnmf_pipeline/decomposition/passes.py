"""Passes over the rows of X: the one place that reads the data, and the kernel of every solver.

X is cut into blocks of rows that fit the cache. Worker threads take one block each, with a
single-threaded BLAS, and the results of the blocks are added in order and in float64. So the
bits of a result do not depend on the number of threads, nor on whether X lies in memory or in
a file.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import cache
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import ThreadpoolController

Array = NDArray[Any]
"""A floating array; the docstrings say shape and dtype."""

Rule = Callable[[slice, Array, Array], Array]
"""From a block of rows, W there and XM there to the new W there; it may overwrite the last."""

T = TypeVar("T")

BLOCK_BYTES = 2**21
"""Size of a block of X: block, weights and buffers should share a core's cache."""

FEWEST_ROWS = 2**8
"""Rows of a block, at least. With many columns a block does not fit the cache in any case, and the
sums of all blocks, which one thread adds, would take as long as their products."""

AHEAD = 2
"""The threads work on so many blocks each before the result of the first is taken."""

FEW_ROWS = 2**14
"""Up to this many rows WᵀW is multiplied in float64: its rounding errors would not average out."""


class Moments(NamedTuple):
    """The sums over rows that a solver needs to know of W.

    Attributes
    ----------
    M : ndarray of shape (n_columns, n_components), float64
        XᵀW.
    G : ndarray of shape (n_components, n_components), float64
        WᵀW.
    step2 : float
        ‖W − W_old‖², of the sweep that made W.
    along : float
        ⟨W − W_old, W_old⟩.
    violation : ndarray of shape (n_components,), float64, or 0
        Σ min(w, wS − xM)² of the W before, of the solver that asks for it.
    """

    M: Array
    G: Array
    step2: float = 0.0
    along: float = 0.0
    violation: Array | float = 0.0

    def of_scaled(self, norm: float) -> tuple[Array, Array]:
        """Return M and G of W / norm."""
        return self.M / norm, self.G / norm**2


class RowBlocks(AbstractContextManager["RowBlocks"]):
    """X as a sequence of row blocks, worked on by several threads.

    Used as a context manager, since it owns threads and sets the threads of BLAS to one.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The data. A memory map is never read whole: where it has another dtype, its blocks are
        converted one by one.
    dtype : dtype or its name
        The dtype to compute in: float32 or float64.
    n_threads : int, optional
        Number of worker threads; by default as many as BLAS would use.
    compressed : bool, default=False
        Whether X stands in for data with the same XXᵀ, so that its columns are no subjects.
    original : RowBlocks, optional
        The data that a compressed X stands in for, where the solvers may look at subjects.

    Attributes
    ----------
    n_passes : int
        How often all rows were read.
    squared_norm : float or None
        ‖X‖_F², once it is known. X that stands in for other data has theirs.
    """

    def __init__(
        self,
        X: Array,
        dtype: DTypeLike,
        n_threads: int | None = None,
        *,
        compressed: bool = False,
        original: "RowBlocks | None" = None,
    ) -> None:
        self.compressed = compressed
        self.original = original
        self.n_passes = 0
        self.squared_norm: float | None = None
        self.scale = 1.0
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.mapped = not isinstance(X, np.ndarray) or memory_map(X) is not None
        self.X = X if self.mapped else self._cast(X)
        self.n_threads = n_threads or default_threads()
        n_block = max(FEWEST_ROWS, BLOCK_BYTES // (self.dtype.itemsize * X.shape[1]))
        self.blocks = [slice(i, i + n_block) for i in range(0, X.shape[0], n_block)]
        self._exit = ExitStack()

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        n_rows, n_columns = self.X.shape
        return n_rows, n_columns

    def rescale(self, largest: float) -> None:
        """Multiply X by the power of two that brings its largest value into (½, 1].

        Then no result depends on the unit of the data. The products with a power of two are exact,
        and data that have their largest value there already are left alone.
        """
        fraction, exponent = np.frexp(largest)
        self.scale = float(np.ldexp(1.0, int(fraction == 0.5) - int(exponent)))
        self.squared_norm = None

    def __getitem__(self, index: Any) -> Array:
        """Return a part of X in the dtype of the arithmetic, rescaled."""
        return self._cast(self.X[index])

    def __enter__(self) -> Self:
        self._exit.enter_context(_libraries().limit(limits=1, user_api="blas"))
        self._pool = self._exit.enter_context(ThreadPoolExecutor(self.n_threads))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exit.close()

    def thinned(self, step: int) -> "RowBlocks":
        """Return every step-th row, in memory."""
        rows = np.ascontiguousarray(self[::step])
        original = None if self.original is None else self.original.every(step)
        return self.with_rows(rows, compressed=self.compressed, original=original)

    def columns(self, index: Sequence[int] | Array, out: Array | None = None) -> Array:
        """Return some columns, in C order; X is read in the order of its rows.

        They are in memory, unless another array `out` is to be filled.

        NumPy's X[:, index] reads one column after the other. For each of them, all pages of a file
        are read again if they do not fit the memory.
        """
        made = np.empty((self.shape[0], len(index)), self.dtype) if out is None else out
        for rows in self.blocks:
            made[rows] = np.take(self[rows], index, axis=1)
        return made

    def every(self, step: int) -> "RowBlocks":
        """Return every step-th row, as a view."""
        view = RowBlocks(self.X[::step], str(self.dtype), self.n_threads)
        view.scale = self.scale
        return view

    def with_rows(
        self, rows: Array, *, compressed: bool = False, original: "RowBlocks | None" = None
    ) -> "RowBlocks":
        """Return other data in memory, on which passes are made in the same way."""
        return RowBlocks(rows, self.dtype, self.n_threads, compressed=compressed, original=original)

    def block(self, rows: slice) -> Array:
        """Return some rows for a function that works on a block."""
        return self[rows]

    def map(self, function: Callable[[slice, Array], T]) -> Iterator[T]:
        """Yield ``function(rows, X[rows])`` for each block, in order."""

        def work(rows: slice) -> T:
            return function(rows, self.block(rows))

        self.n_passes += 1
        parallel = min(self.n_threads, len(self.blocks)) > 1
        return self._in_parallel(work) if parallel else map(work, self.blocks)

    def _in_parallel(self, work: Callable[[slice], T]) -> Iterator[T]:
        """Yield the results of the blocks; few of them wait for the caller, since each is large."""
        waiting: deque[Future[T]] = deque()
        try:
            for rows in self.blocks:
                if len(waiting) >= AHEAD * self.n_threads:
                    yield waiting.popleft().result()
                waiting.append(self._pool.submit(work, rows))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def sum(self, function: Callable[[slice, Array], T], writes: Array | None = None) -> T:
        """Return the sum of ``function(rows, X[rows])`` over the blocks.

        Numbers, arrays and tuples of these are added in order and in float64. An array whose rows
        the function overwrites is named in `writes`: it may lie on other machines.
        """
        return added(self.map(function))

    def rows(self, function: Callable[[Array], Array], n_columns: int) -> Array:
        """Return the array that has ``function(X[rows])`` in these rows, in the dtype of X."""
        made = np.empty((self.shape[0], n_columns), self.dtype)

        def work(rows: slice, X_b: Array) -> None:
            made[rows] = function(X_b)

        for _ in self.map(work):
            pass
        return made

    def held(self, W: Array) -> Array:
        """Return W where a pass over X can overwrite it."""
        return np.asarray(W)

    def stand_in(self, rows: Array) -> "RowBlocks":
        """Return rows made by `rows` as data that stand in for X."""
        return self.with_rows(rows, compressed=True, original=self.every(1))

    def _cast(self, X: Array) -> Array:
        with np.errstate(over="ignore"):  # too large a value becomes infinite, and is refused
            if self.scale == 1:
                return np.asarray(X, dtype=self.dtype)
            # in the wider dtype: float32 cannot hold all values of float64, nor float16 the scale
            wide = np.result_type(X.dtype, self.dtype)
            return np.asarray(X * wide.type(self.scale), dtype=self.dtype)


def memory_map(X: Array) -> np.memmap | None:
    """Return the whole memory map that X is, or is a view of; checks of scikit-learn make views."""
    array: Any = X
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if isinstance(array, np.memmap) else None


def default_threads() -> int:
    """Return the number of threads that BLAS is set to use."""
    pools = _libraries().info()
    return max((pool["num_threads"] for pool in pools if pool["user_api"] == "blas"), default=1)


@cache
def _libraries() -> ThreadpoolController:
    """Return the libraries that have threads; to look for them takes some milliseconds."""
    return ThreadpoolController()


def moments(X: RowBlocks, W: Array) -> Moments:
    """Return XᵀW and WᵀW."""
    return X.sum(lambda rows, X_b: Moments(X_b.T @ W[rows], _squares(X, W[rows])))


def sweep(
    X: RowBlocks,
    W: Array,
    M: Array,
    rule: Rule,
    violation: Callable[[Array, Array], Array] | None = None,
) -> Moments:
    """Update W in place in one pass over X, and return its new moments.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data.
    W : ndarray of shape (n_rows, n_components)
        The weights, overwritten.
    M : ndarray of shape (n_columns, n_components)
        XᵀW of the weights at entry, at the scale that `rule` expects.
    rule : callable
        What to do with the rows of a block.
    violation : callable, optional
        From the old W and XM of a block to what is added up as `Moments.violation`.

    Returns
    -------
    Moments
        Of the new W.
    """
    M = M.astype(X.dtype)

    def update(rows: slice, X_b: Array) -> Moments:
        W_b = W[rows]
        old, XM = W_b.ravel(), X_b @ M
        violated = 0.0 if violation is None else violation(W_b, XM)
        new = rule(rows, W_b, XM)
        step = new.ravel() - old
        step2, along = float(step @ step), float(step @ old)
        W_b[...] = new
        return Moments(X_b.T @ new, _squares(X, new), step2, along, violated)

    return X.sum(update, writes=W)


def squared_norm(X: RowBlocks) -> float:
    """Return ‖X‖_F²; X is read once only."""
    if X.squared_norm is None:
        X.squared_norm = X.sum(lambda _, X_b: block_squared_norm(X_b))
    return X.squared_norm


def block_squared_norm(X_b: Array) -> float:
    """Return the squared norm of a block, added in float64."""
    return float(np.einsum("ij,ij", X_b, X_b, dtype=np.float64))


def residual_norm(X: RowBlocks, W: Array, H: Array) -> float:
    """Return ‖X − WH‖_F."""

    def squares(rows: slice, X_b: Array) -> float:
        return block_squared_norm(X_b - W[rows] @ H)

    return float(np.sqrt(X.sum(squares)))


def _squares(X: RowBlocks, W_b: Array) -> Array:
    """Return WᵀW of a block."""
    if X.shape[0] <= FEW_ROWS:
        W_b = W_b.astype(np.float64)
    return W_b.T @ W_b


def added(parts: Iterable[T]) -> T:
    """Return the sum of numbers, of arrays, or of tuples of these, in order and in float64."""
    total: Any = None
    for part in parts:
        total = _plus(total, part)
    return total  # type: ignore[no-any-return]


def _plus(total: Any, part: Any) -> Any:
    """Return total + part; an array that is the total is overwritten."""
    if isinstance(part, tuple):
        terms = zip(total or [None] * len(part), part, strict=True)
        made = (_plus(*term) for term in terms)
        return type(part)(*made) if hasattr(part, "_fields") else tuple(made)
    if total is None:
        return np.array(part, np.float64) if isinstance(part, np.ndarray) else part
    total += part
    return total
