"""Ctrl-C and SIGTERM: the run cleans up, and ends in time even if it is in a long computation."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import psutil

from opnmf_pipeline.exceptions import ExitCode
from opnmf_pipeline.workers import kill

__all__ = ["interrupted", "interruptible"]

GRACE_S = 1.5
"""Time for the run to clean up. Batch systems kill a job some seconds after SIGTERM."""
SHOW_CURSOR = "\x1b[?25h"

CONTINUED = {
    **dict.fromkeys(("run", "select", "bids_app"), "finished stages are not repeated"),
    "project": "images with loadings are not read again",
}
"""Commands that continue where they were interrupted, and what they do not do again."""


def interrupted(program: str, command: str) -> str:
    """Return the message about an interrupted command.

    Examples
    --------
    >>> interrupted("opnmf-pipeline", "report")
    'opnmf-pipeline: interrupted; run the same command again'
    """
    again = "again"
    if command in CONTINUED:
        again = f"to continue, {CONTINUED[command]}"
    return f"{program}: interrupted; run the same command {again}"


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Raise KeyboardInterrupt inside the with block at Ctrl-C and at SIGTERM.

    Python raises it only between two of its instructions, which can be minutes apart. So if the
    block has not ended in time, a thread ends the process and its children. All files are written
    so that this loses nothing.

    Parameters
    ----------
    message : str
        What is printed if the thread ends the process.
    """
    if threading.current_thread() is not threading.main_thread():  # only it can handle signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    waiting, noted = socket.socketpair()
    noted.setblocking(False)
    ended = threading.Event()
    for number in before:
        signal.signal(number, signal.default_int_handler)
    wakeup = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(waiting, ended, message), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        noted.close()
        watcher.join()
        waiting.close()


def _watch(signals: socket.socket, ended: threading.Event, message: str) -> None:
    """Wait for a signal, and end the process if it does not end by itself."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    while received := signals.recv(1):  # nothing when the other end is closed
        if received[0] in numbers and not ended.wait(GRACE_S):
            kill(psutil.Process().children(recursive=True))
            cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
            print(f"{cursor}{message}", file=sys.stderr, flush=True)
            os._exit(ExitCode.INTERRUPTED)
