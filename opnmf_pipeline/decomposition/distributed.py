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
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from itertools import chain, pairwise
from typing import Any, NamedTuple, Self, TypeVar

import cloudpickle
import numpy as np
from distributed import Client, Future, KilledWorker, wait
from numpy.typing import DTypeLike

from opnmf_pipeline.decomposition.orders import (
    Done,
    Facts,
    File,
    changed,
    found,
    passed,
    read,
    software,
    summed,
    taken,
)
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, memory_map
from opnmf_pipeline.exceptions import ClusterError

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 5
"""So often is a pass tried while workers are lost."""

PATIENCE = 60
"""So many seconds may pass without any worker."""

LONGEST_LOG = 50
"""W is fetched after so many changes, or when these take more memory than W: then there is less to
repeat when a worker is lost."""

GONE_MSG = (
    "the Dask scheduler at {address} does not respond; the checkpoint of the fit, if it had one, "
    "is kept: start the cluster again and repeat the command"
)
LOST_MSG = (
    "workers of the Dask cluster at {address} were lost {n} times during one pass over the data "
    "({error}); they may be out of memory: {size:.1f} GB of X are on {n_workers} worker(s); start "
    "more workers, or give them more memory"
)
RESTORED_MSG = "a worker was lost (%s): its rows are read and computed again"
NO_SCHEDULER_MSG = (
    "no Dask scheduler responds at {address} ({error}); check the address, or start it with `dask "
    "scheduler`"
)
NO_WORKERS_MSG = "the Dask cluster at {address} has no workers; start some"
DIFFERENT_MSG = (
    "the worker {worker} has {theirs}, this process has {ours}; install the same packages on both"
)
NO_FILE_MSG = (
    "X must be a memory map of a .npy file that all workers of the Dask cluster can read, got "
    "{kind}; use numpy.load(path, mmap_mode='r')"
)
UNREADABLE_MSG = (
    "{error}: the Dask workers cannot read the file of X; put it into a folder that all machines "
    "share"
)


class Crew:
    """The workers of a cluster, and the rows that each part of X has.

    Parameters
    ----------
    client : distributed.Client
        Connected to the scheduler.
    n_rows : int
        Number of rows of X.
    n_parts : int, optional
        Number of parts; by default one for each worker, whose threads share it.
    """

    def __init__(self, client: Client, n_rows: int, n_parts: int | None = None) -> None:
        self.client = client
        self.address = client.scheduler.address
        self.workers = list(client.nthreads())
        if not self.workers:
            raise ClusterError(NO_WORKERS_MSG.format(address=self.address))
        ours = software()
        for worker, theirs in client.run(software).items():
            if theirs != ours:
                message = DIFFERENT_MSG.format(worker=worker, theirs=theirs, ours=ours)
                raise ClusterError(message)
        n_parts = min(n_parts or len(self.workers), n_rows)
        ends = np.linspace(0, n_rows, n_parts + 1).astype(int).tolist()
        self.parts = [slice(*bounds) for bounds in pairwise(ends)]

    def read(self, file: File, dtype: np.dtype) -> list[Future]:
        """Have each worker read its rows of X."""
        homes = np.linspace(0, len(self.workers), len(self.parts), endpoint=False).astype(int)
        return [
            self.submit(
                read, file, part, dtype, workers=self.workers[home], allow_other_workers=True
            )
            for part, home in zip(self.parts, homes, strict=True)
        ]

    def read_again(self, parts: list[Future], file: File, dtype: np.dtype) -> list[Future]:
        """Replace the parts that no worker has.

        Any worker may read them. A task that prefers a worker that is gone is never started if
        there was no worker at all when it became ready.
        """
        where = self.client.who_has(parts)
        return [
            one if where[one.key] else self.submit(read, file, part, dtype)
            for one, part in zip(parts, self.parts, strict=True)
        ]

    def place(self, array: Array) -> list[Future]:
        """Send the rows of an array to the workers."""
        done = [Done(None, np.ascontiguousarray(array[part])) for part in self.parts]

        def placed() -> list[Future]:
            return self.client.scatter(  # type: ignore[no-any-return]
                done, hash=False, timeout=PATIENCE
            )

        return self.tried(placed)

    def send(self, order: bytes) -> Future:
        """Send the workers what is to be done; it stays out of the graph of tasks.

        One worker gets it, and the others get it from each other. A broadcast by the scheduler does
        not end if a worker is lost during it.
        """
        return self.client.scatter([order], hash=False, timeout=PATIENCE)[0]

    def submit(self, function: Callable[..., Any], *arguments: Any, **where: Any) -> Future:
        """Have a worker call a function."""
        return self.client.submit(function, *arguments, pure=False, **where)

    def added(self, done: Sequence[Future]) -> Any:
        """Return the sum of what was found in the parts, along a tree."""
        values = [self.submit(found, part) for part in done]
        while len(values) > 1:
            pairs = [values[i : i + 2] for i in range(0, len(values), 2)]
            values = [self.submit(summed, *pair) if len(pair) > 1 else pair[0] for pair in pairs]
        return self.gathered(values)[0]

    def gathered(self, futures: list[Future]) -> list[Any]:
        """Return what tasks have returned, once all have ended.

        Raises
        ------
        ClusterError
            No worker has been there for a while.
        """
        while True:
            try:
                with self.client.as_current():
                    wait(futures, timeout=PATIENCE)
            except TimeoutError:
                if not self.client.nthreads():
                    raise ClusterError(NO_WORKERS_MSG.format(address=self.address)) from None
            else:
                return self.client.gather(futures)  # type: ignore[no-any-return]

    def tried(self, work: Callable[[], T], *rows: "Rows | DistributedBlocks") -> T:
        """Return the result of work with rows, which are made again when workers are lost.

        Raises
        ------
        ClusterError
            The scheduler is gone, or workers are lost again and again.
        """
        last: Exception | None = None
        for _ in range(ATTEMPTS):
            try:
                if last is not None:
                    for each in rows:
                        each.restore()
                return work()
            except (CancelledError, KilledWorker, OSError) as error:
                if isinstance(error, FileNotFoundError | PermissionError):
                    raise ClusterError(UNREADABLE_MSG.format(error=error)) from error
                if self.client.status != "running":
                    raise ClusterError(GONE_MSG.format(address=self.address)) from error
                last = error
                logger.warning(RESTORED_MSG, error)
        size = sum(each.nbytes for each in rows) / 1e9
        n = len(self.client.nthreads())
        message = LOST_MSG.format(
            address=self.address, n=ATTEMPTS, error=type(last).__name__, size=size, n_workers=n
        )
        raise ClusterError(message) from last


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
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(NO_SCHEDULER_MSG.format(address=address, error=error)) from error
    with client, DistributedBlocks(X, dtype, Crew(client, len(X))) as blocks:
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
