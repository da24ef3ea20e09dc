"""The processes and the event loop of a Pydra run: they end when the run is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import attrs
from pydra.workers import cf

from opnmf_pipeline.workers import kill, killed_workers_named, settle

__all__ = ["RESULT", "ProcessWorker", "killed_at_once", "outside_loop", "tasks_ended"]

RESULT = "_result.pklz"
"""File of Pydra with the result of a job, or with the fact that it failed."""


@attrs.define(getstate_setstate=False)  # keep Pydra's own methods: the worker must be picklable
class ProcessWorker(cf.Worker):  # type: ignore[misc]
    """Worker of Pydra with processes that end with the run, or when the run is interrupted."""

    _plugin_name = "cf"

    error: Exception | None = attrs.field(default=None, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Replace the processes of Pydra; none has started yet."""
        self.pool = ProcessPoolExecutor(  # type: ignore[misc]
            self.n_procs, initializer=settle
        )

    async def run(self, job: Any, rerun: bool = False) -> Any:
        """Run one job in a process; cancel the whole run if the job cannot store how it ended.

        Its process was killed, for example, or the disk is full. Pydra would wait without end.
        """
        try:
            # Pydra cancels the jobs that wait when one fails. The pool must not learn of it: the
            # pool of Python 3.11 prints a traceback if it is ended with cancelled jobs.
            return await asyncio.shield(super().run(job, rerun))
        except Exception as error:
            if isinstance(error, BrokenProcessPool) or not (job.cache_dir / RESULT).exists():
                self.error = error
                raise asyncio.CancelledError from None
            raise

    def kill(self) -> None:
        """End all processes at once, and wait until the pool has noticed it.

        If their jobs were cancelled before that, the pool could wait without end for them.
        """
        kill((self.pool._processes or {}).values())  # it has no public list of them
        self.pool.shutdown()


@contextmanager
def killed_at_once(worker: Any) -> Iterator[None]:
    """Do not wait for the jobs that run if the with block is interrupted."""
    try:
        yield
    except BaseException:
        if isinstance(worker, ProcessWorker):
            worker.kill()
        raise


@contextmanager
def tasks_ended(loop: asyncio.AbstractEventLoop, worker: Any) -> Iterator[None]:
    """End what an event loop still runs when the with block ends, before the loop is closed.

    Jobs are left if the block is interrupted, or if Pydra itself fails.

    Raises
    ------
    EngineError
        The run was cancelled because a process of the worker was killed.
    Exception
        The error for which the worker cancelled the run.
    """
    try:
        yield
    except BaseException as error:
        _end_tasks(loop, worker)
        if isinstance(error, asyncio.CancelledError) and worker.error is not None:
            with killed_workers_named():
                raise worker.error from None
        raise
    _end_tasks(loop, worker)


def _end_tasks(loop: asyncio.AbstractEventLoop, worker: Any) -> None:
    tasks = asyncio.all_tasks(loop)
    if tasks and isinstance(worker, ProcessWorker):
        worker.kill()
    for task in tasks:
        task.cancel()
    loop.run_until_complete(_end_of(tasks))


async def _end_of(tasks: Iterable[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


def outside_loop(function: Callable[[], Any]) -> Any:
    """Call a function in another thread if an event loop runs in this one, as in a notebook.

    Pydra starts an event loop of its own, and a thread can run only one.
    """
    if asyncio._get_running_loop() is None:  # the public function raises an error without a loop
        return function()
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(function).result()
    finally:
        pool.shutdown(wait=False)  # an interruption does not wait for the function
