"""The workers of a Dask cluster, to which a fit sends what they are to do with the rows of X."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import cloudpickle
import numpy as np
from distributed import Client, Future, KilledWorker, wait

from opnmf_pipeline.decomposition.orders import Done, File, called, found, read, software, summed
from opnmf_pipeline.decomposition.passes import AHEAD, Array
from opnmf_pipeline.exceptions import ClusterError

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 5
"""So often is a pass tried while workers are lost."""

PATIENCE = 60
"""So many seconds may pass without any worker."""

NO_SCHEDULER_MSG = (
    "no Dask scheduler responds at {address} ({error}); check the address, or start it with `dask "
    "scheduler`"
)
GONE_MSG = (
    "the Dask scheduler at {address} does not respond; the checkpoint of the fit, if it had one, "
    "is kept: start the cluster again and repeat the command"
)
LOST_MSG = (
    "workers of the Dask cluster at {address} were lost {n} times during one step ({error}); they "
    "may be out of memory: {n_workers} worker(s) hold {size:.1f} GB of X; start more workers, or "
    "give them more memory"
)
RESTORED_MSG = "a worker was lost (%s): what it had is read and computed again"
NO_WORKERS_MSG = "the Dask cluster at {address} has no workers; start some"
PAUSED_MSG = (
    "{n} of the workers of the Dask cluster at {address} are paused, since their memory of "
    "{limit:.2f} GB is nearly full; a worker needs about 0.6 GB and its share of X: give them more "
    "memory"
)
DIFFERENT_MSG = (
    "the worker {worker} has {theirs}, this process has {ours}; install the same packages on both"
)
UNREADABLE_MSG = (
    "{error}: the Dask workers cannot read the file of X; put it into a folder that all machines "
    "share"
)


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of a scheduler."""
    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(NO_SCHEDULER_MSG.format(address=address, error=error)) from error
    with client:
        yield client


class Placed(Protocol):
    """Rows that are on the workers."""

    @property
    def nbytes(self) -> int:
        """Size of the rows."""

    def restore(self) -> None:
        """Make the rows again that were lost."""


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
        for worker, theirs in self.tried(lambda: client.run(software)).items():
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

    def each(self, function: Callable[[Any], T], items: Sequence[Any]) -> Iterator[T]:
        """Yield the result of a function for each item, in order; few wait for the caller."""
        order = cloudpickle.dumps(function)
        sent = self.tried(lambda: self.send(order))
        waiting: deque[tuple[Any, Future]] = deque()

        def result() -> T:
            nonlocal sent
            item, future = waiting.popleft()
            futures = [future]

            def attempt() -> T:
                nonlocal sent
                if not futures:  # a worker was lost, and with it what was sent to it
                    sent = self.send(order)
                    futures.append(self.submit(called, sent, item))
                return self.gathered([futures.pop()])[0]  # type: ignore[no-any-return]

            return self.tried(attempt)

        most = AHEAD * sum(self.client.nthreads().values())
        for item in items:
            if len(waiting) >= most:
                yield result()
            waiting.append((item, self.submit(called, sent, item)))
        while waiting:
            yield result()

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
            No worker has been there for a while, or some are paused for long.
        """
        paused: set[str] = set()
        while True:
            try:
                with self.client.as_current():
                    wait(futures, timeout=PATIENCE)
            except TimeoutError:
                if not self.client.nthreads():
                    raise ClusterError(NO_WORKERS_MSG.format(address=self.address)) from None
                paused = self.paused(paused)
            else:
                return self.client.gather(futures)  # type: ignore[no-any-return]

    def paused(self, before: set[str]) -> set[str]:
        """Return the workers that Dask has paused, since their memory is nearly full.

        Raises
        ------
        ClusterError
            One of them was paused before: it will not go on by itself.
        """
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        paused = {name for name, facts in workers.items() if facts["status"] == "paused"}
        if still := paused & before:
            limit = min(workers[name]["memory_limit"] for name in still) / 1e9
            message = PAUSED_MSG.format(n=len(still), address=self.address, limit=limit)
            raise ClusterError(message) from None
        return paused

    def tried(self, work: Callable[[], T], *rows: Placed) -> T:
        """Return the result of work with rows, which are made again when workers are lost.

        Raises
        ------
        ClusterError
            The scheduler is gone, workers are paused, or are lost again and again.
        """
        last: Exception | None = None
        paused: set[str] = set()
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
                paused = self.paused(paused)
                last = error
                logger.warning(RESTORED_MSG, error)
        size = sum(each.nbytes for each in rows) / 1e9
        n = len(self.client.nthreads())
        message = LOST_MSG.format(
            address=self.address, n=ATTEMPTS, error=type(last).__name__, size=size, n_workers=n
        )
        raise ClusterError(message) from last
