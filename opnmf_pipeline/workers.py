"""Worker processes: they leave interruptions to the process that started them, and end with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from opnmf_pipeline.exceptions import EngineError

__all__ = ["KILLED_BY", "KILLED_MSG", "kill", "killed_workers_named", "settle"]

POLL_S = 0.5
KILLED_MSG = (
    "a worker process was killed, probably because the memory was full; use fewer processes "
    "(--nprocs), or limit their memory (--mem), and run the same command again"
)
KILLED_BY = ("MemoryError",)
"""Causes of the error, as :class:`EngineError` takes them."""

_settled_pid = 0


def settle() -> None:
    """Make this worker process leave Ctrl-C to its parent, and end when its parent has ended.

    A call in a process that is no worker, or in a thread, does nothing.
    """
    global _settled_pid
    main = multiprocessing.current_process().name == "MainProcess"
    in_thread = threading.current_thread() is not threading.main_thread()
    if main or in_thread or _settled_pid == os.getpid():
        return
    _settled_pid = os.getpid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()


def _end_after(parent: int) -> None:
    """End this process when another process has become its parent."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


class _Process(Protocol):
    def kill(self) -> None: ...


def kill(processes: Iterable[_Process]) -> None:
    """Kill processes; some may have ended already."""
    for process in list(processes):
        with contextlib.suppress(OSError, ValueError):
            process.kill()


@contextlib.contextmanager
def killed_workers_named() -> Iterator[None]:
    """Say that a worker process was killed if this happens inside the with block.

    Raises
    ------
    EngineError
        A worker process was killed.
    """
    try:
        yield
    except BrokenProcessPool:
        raise EngineError(KILLED_MSG, KILLED_BY) from None
