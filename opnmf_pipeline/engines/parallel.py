"""Independent jobs in parallel processes; memory limits their number."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor

from opnmf_pipeline.engines.resources import available_memory
from opnmf_pipeline.stages.memory import GB
from opnmf_pipeline.workers import killed_workers_named, settle

__all__ = ["as_they_finish", "n_workers"]

Outcome = TypeVar("Outcome")


def n_workers(n_procs: int, memory_gb: float | None, job_bytes: int) -> int:
    """Return how many jobs may run in parallel, at least one.

    Parameters
    ----------
    n_procs : int
        Largest number of processes.
    memory_gb : float or None
        Memory to use, in GB (2**30 bytes); None for all that is available to this process.
    job_bytes : int
        Most memory that one job needs.
    """
    memory = available_memory() if memory_gb is None else int(memory_gb * GB)
    return max(1, min(n_procs, memory // job_bytes))


def as_they_finish(
    jobs: Sequence[Callable[[], Outcome]], n_workers: int
) -> Iterator[tuple[int, Outcome]]:
    """Run jobs, and yield the index and the return value of each job when it finishes.

    Parameters
    ----------
    jobs : sequence of callable
        Functions without arguments; they must be picklable if there are several workers.
    n_workers : int
        Number of processes; with 1, jobs run in this process, in order.

    Raises
    ------
    EngineError
        A worker process was killed; with it, all other jobs that had not finished have ended.
    """
    if n_workers == 1:
        yield from ((number, job()) for number, job in enumerate(jobs))
        return
    parallel = joblib.Parallel(n_jobs=n_workers, return_as="generator_unordered", batch_size=1)
    calls = (joblib.delayed(_numbered)(number, job) for number, job in enumerate(jobs))
    try:
        with killed_workers_named():
            yield from parallel(calls)
    finally:  # they would wait for more, with some hundred MB each
        get_reusable_executor().shutdown(kill_workers=True)


def _numbered(number: int, job: Callable[[], Outcome]) -> tuple[int, Outcome]:
    settle()
    return number, job()
