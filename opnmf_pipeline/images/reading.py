"""Read many images, in order and with bounded memory, in this process or in parallel processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import joblib

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.problems import joined
from opnmf_pipeline.workers import killed_workers_named, settle

__all__ = ["map_images"]

Result = TypeVar("Result")

Elsewhere = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Applies a function to each of many items on other machines, and yields the results in order."""

BATCH = 64
PROCESS_START_S = 3.0
"""Worker processes are started only if reading in this process would take longer than this."""


_elsewhere: ContextVar[Elsewhere | None] = ContextVar("elsewhere", default=None)


@contextmanager
def read_elsewhere(apply: Elsewhere) -> Iterator[None]:
    """Have other machines read the images inside the with block, if they are many."""
    token = _elsewhere.set(apply)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def map_images(
    function: Callable[[str | Path], Result], paths: Sequence[str | Path], n_procs: int
) -> Iterator[Result]:
    """Apply a function to each path and yield the results in order.

    Parameters
    ----------
    function : callable
        Takes a path and returns a result; must be picklable.
    paths : sequence of path
        Image files.
    n_procs : int
        Largest number of processes.

    Yields
    ------
    The result for each path. At most 64 results are held at a time.

    Raises
    ------
    ImageError
        Images cannot be used. The images after the first of them are read, too, and the error names
        all that cannot be used.
    EngineError
        A worker process was killed.
    """
    errors = []
    for result in _results(partial(_attempt, function), paths, n_procs):
        if isinstance(result, ImageError):
            errors.append(result)
        elif not errors:
            yield result
    if errors:
        raise joined(errors, len(paths))


def _attempt(function: Callable[[str | Path], Result], path: str | Path) -> Result | ImageError:
    try:
        return function(path)
    except ImageError as error:
        return error


def _results(
    function: Callable[[str | Path], Result], paths: Sequence[str | Path], n_procs: int
) -> Iterator[Result]:
    start = time.perf_counter()
    yield function(paths[0])
    expected = (time.perf_counter() - start) * (len(paths) - 1)
    rest = paths[1:]
    apply = _elsewhere.get()
    if expected < PROCESS_START_S or (n_procs == 1 and apply is None):
        yield from map(function, rest)
        return
    if apply is not None:
        yield from apply(function, rest)
        return
    with killed_workers_named(), joblib.Parallel(n_procs, return_as="generator") as parallel:
        for first in range(0, len(rest), BATCH):
            batch = rest[first : first + BATCH]
            yield from parallel(joblib.delayed(_settled)(function, path) for path in batch)


def _settled(function: Callable[[str | Path], Result], path: str | Path) -> Result:
    settle()
    return function(path)
