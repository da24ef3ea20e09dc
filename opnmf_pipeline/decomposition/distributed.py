"""X on the workers of a Dask cluster: the same passes, over rows that stay where they are.

Every worker reads some rows of X from its file and keeps them, and with them the same rows of W. A
pass sends all workers what the solver does with a block, with M in it, and each works on its rows
as `passes` does in one process. The sums come back along a tree. So the solvers are those of one
machine: an array of `Rows` takes the place of W.

Nothing on a worker is the only copy. This process has W as it once was, and what was sent since.
When a worker is lost, Dask reads its rows of X again, and the rows of W are made again from these.
Sums are added in the order of the parts, whoever has them, so that the fit ends with the same bits.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Self, TypeVar

import cloudpickle
import numpy as np
from distributed import Future
from numpy.typing import DTypeLike

from opnmf_pipeline.decomposition.crew import Crew, connected
from opnmf_pipeline.decomposition.orders import Facts, File, changed, passed, taken
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, memory_map
from opnmf_pipeline.exceptions import ClusterError

T = TypeVar("T")

LONGEST_LOG = 50
"""W is fetched after so many changes, or when these take more memory than W: then there is less to
repeat when a worker is lost."""

NO_FILE_MSG = (
    "X must be a memory map of a .npy file that all workers of the Dask cluster can read, got "
    "{kind}; use numpy.load(path, mmap_mode='r')"
)


class Change(NamedTuple):
    """What was done to rows: the function as it was sent, and the X that it read, if any."""

    order: bytes
    X: "DistributedBlocks | None"


class Rows:
    """An array whose rows are with the same rows of X; solvers use it as they use W.

    Attributes
    ----------
    parts : list of Future
        `Done` with the rows of each part.
    base : ndarray of shape (n_rows, n_columns), or None
        The array before the changes of the log. None for one that its first change made.
    log : list of Change
        What was done since.
    """

    def __init__(
        self, crew: Crew, shape: tuple[int, int], dtype: np.dtype, base: Array | None = None
    ) -> None:
        self.crew = crew
        self.shape = shape
        self.dtype = dtype
        self.base = base
        self.log: list[Change] = []
        self.parts = [] if base is None else crew.place(base)

    @property
    def nbytes(self) -> int:
        """Size of the array."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Fetch the array, which also becomes the base."""
        whole = self[:]
        self.base, self.log = whole.copy(), []
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __getitem__(self, index: Any) -> Array:
        """Fetch some rows, in increasing order, and some columns of them."""
        index, columns = index if isinstance(index, tuple) else (index, slice(None))
        wanted = np.arange(self.shape[0])[index]

        def fetched() -> list[Array]:
            return self.crew.gathered(
                [
                    self.crew.submit(taken, done, _within(wanted, part), columns)
                    for done, part in zip(self.parts, self.crew.parts, strict=True)
                ]
            )

        return np.concatenate(self.crew.tried(fetched, self))

    def __setitem__(self, index: Any, value: Array | float) -> None:
        """Replace all rows, ``W[...] = value``."""
        assert index is Ellipsis
        whole = np.empty(self.shape, self.dtype)
        whole[...] = value
        self.base, self.log = whole, []
        self.parts = self.crew.place(whole)

    def __imul__(self, factor: Array | float) -> Self:
        return self._change(partial(_with, np.multiply, factor))

    def __itruediv__(self, divisor: Array | float) -> Self:
        return self._change(partial(_with, np.divide, divisor))

    def __truediv__(self, divisor: Array | float) -> "Rows":
        quotient = Rows(self.crew, self.shape, self.dtype)
        quotient.base, quotient.log, quotient.parts = self.base, [*self.log], self.parts
        quotient /= divisor
        return quotient

    def restore(self) -> None:
        """Make the rows again from the base and the log."""
        for X in {id(change.X): change.X for change in self.log}.values():
            if X is not None:
                X.restore()
        if self.base is not None:
            self.parts = self.crew.place(self.base)
        for change in self.log:
            self.parts = self._after(change)

    def note(self, change: Change, parts: list[Future]) -> None:
        """Take the rows that a change has made."""
        self.log.append(change)
        self.parts = parts
        if self.base is None:
            return
        n_bytes = sum(len(each.order) for each in self.log)
        if n_bytes > self.nbytes or len(self.log) > LONGEST_LOG:
            self.__array__()

    def _change(self, function: Callable[[Array], Array]) -> Self:
        change = Change(cloudpickle.dumps(function), None)
        self.note(change, self.crew.tried(lambda: self._after(change), self))
        return self

    def _after(self, change: Change) -> list[Future]:
        """Return the rows that a change makes of the present ones."""
        order = self.crew.send(change.order)
        if change.X is None:
            return [self.crew.submit(changed, order, part) for part in self.parts]
        sources = [] if self.base is None else [self]
        return change.X.started(order, sources, writes=True)


class DistributedBlocks(RowBlocks):
    """X as row blocks that the workers of a cluster have.

    Parameters
    ----------
    X : memmap of shape (n_rows, n_columns), or Rows
        The data; of a memory map, the workers read the file.
    dtype : dtype or its name
        The dtype to compute in.
    crew : Crew
        The workers.
    compressed, original
        As in `RowBlocks`.
    """

    def __init__(
        self,
        X: Any,
        dtype: DTypeLike,
        crew: Crew,
        *,
        compressed: bool = False,
        original: RowBlocks | None = None,
    ) -> None:
        super().__init__(X, dtype, compressed=compressed, original=original)
        self.crew = crew
        if not isinstance(X, Rows):
            self._file = _file_of(X)
            self._parts = crew.read(self._file, self.dtype)
        step = self.blocks[0].stop
        self.blocks = [
            slice(i, min(i + step, part.stop))
            for part in crew.parts
            for i in range(part.start, part.stop, step)
        ]

    def map(self, function: Callable[[slice, Array], T]) -> Iterator[T]:
        """Yield ``function(rows, X[rows])`` for each block, in order."""
        self.n_passes += 1
        order, sources = packed("map", function)

        def results() -> list[list[T]]:
            done = self.started(self.crew.send(order), sources)
            return [part.found for part in self.crew.gathered(done)]

        return chain.from_iterable(self.crew.tried(results, self, *sources))

    def sum(self, function: Callable[[slice, Array], T], writes: Any = None) -> T:
        """Return the sum of ``function(rows, X[rows])`` over the blocks."""
        self.n_passes += 1
        order, sources = packed("sum", function)
        assert writes is None or sources == [writes]

        def result() -> tuple[Any, list[Future]]:
            done = self.started(self.crew.send(order), sources, writes=writes is not None)
            return self.crew.added(done), done

        total, parts = self.crew.tried(result, self, *sources)
        if writes is not None:
            writes.note(Change(order, self), parts)
        return total  # type: ignore[no-any-return]

    def rows(self, function: Callable[[Array], Array], n_columns: int) -> Any:
        """Return the rows ``function(X[rows])``, which stay on the workers."""
        self.n_passes += 1
        order, _ = packed("rows", function, n_columns)
        made = Rows(self.crew, (self.shape[0], n_columns), self.dtype)
        made.log.append(Change(order, self))
        self.crew.tried(made.restore)
        return made

    def held(self, W: Any) -> Any:
        """Return W with its rows on the workers."""
        return W if isinstance(W, Rows) else Rows(self.crew, W.shape, W.dtype, W)

    def stand_in(self, rows: Any) -> "DistributedBlocks":
        """Return rows made by `rows` as data that stand in for X."""
        return DistributedBlocks(
            rows, self.dtype, self.crew, compressed=True, original=self.every(1)
        )

    def started(self, order: Future, sources: list[Rows], *, writes: bool = False) -> list[Future]:
        """Start a pass; return the `Done` of each part."""
        X_parts = self.X.parts if isinstance(self.X, Rows) else self._parts
        return [
            self.crew.submit(
                passed, order, part, self.scale, writes, X_b, *(W.parts[i] for W in sources)
            )
            for i, (part, X_b) in enumerate(zip(self.crew.parts, X_parts, strict=True))
        ]

    @property
    def nbytes(self) -> int:
        """Size of the data on the workers."""
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def restore(self) -> None:
        """Make or read the rows again that were lost."""
        if isinstance(self.X, Rows):
            self.X.restore()
        else:
            self._parts = self.crew.read_again(self._parts, self._file, self.dtype)


@contextmanager
def on_workers(X: Array, dtype: DTypeLike, address: str) -> Iterator[DistributedBlocks]:
    """Yield X, a memory map, as row blocks that the workers of a scheduler have."""
    with connected(address) as client, DistributedBlocks(X, dtype, Crew(client, len(X))) as blocks:
        yield blocks


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickle a function without the data that the workers have."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.found: list[Rows] = []

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, DistributedBlocks):
            return Facts(value.shape, value.dtype)
        if isinstance(value, Rows):
            if value not in self.found:
                self.found.append(value)
            return self.found.index(value)
        return None


def packed(method: str, *arguments: Any) -> tuple[bytes, list[Rows]]:
    """Return a call of a method of `RowBlocks` as bytes, and the rows that it works with."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump((method, arguments))
    return file.getvalue(), pickler.found


def _file_of(X: Array) -> File:
    """Return the file of a memory map, or of whole rows of one."""
    mapped = memory_map(X)
    if mapped is None or not X.flags.c_contiguous:
        raise ClusterError(NO_FILE_MSG.format(kind=type(X).__name__))
    offset = mapped.offset + X.ctypes.data - mapped.ctypes.data
    n_rows, n_columns = X.shape
    return File(str(mapped.filename), X.dtype, "r", offset, (n_rows, n_columns))


def _with(operation: np.ufunc, other: Array | float, W_b: Array) -> Array:
    """Return what an operation in place would make of a block."""
    changed: Array = operation(W_b, other, dtype=W_b.dtype, casting="same_kind")
    return changed


def _within(rows: Array, part: slice) -> Array:
    """Return the rows of a part, counted from its first one; `rows` are in increasing order."""
    first, last = np.searchsorted(rows, [part.start, part.stop])
    own: Array = rows[first:last] - part.start
    return own
