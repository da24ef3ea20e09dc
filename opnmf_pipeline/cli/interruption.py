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

__all__ = ["INTERRUPTED_MSG", "interruptible"]

GRACE_S = 1.5
"""Time for the run to clean up. Batch systems kill a job some seconds after SIGTERM."""
SHOW_CURSOR = "\x1b[?25h"

INTERRUPTED_MSG = (
    "{program}: interrupted; run the same command to continue, finished stages are not repeated"
)


@contextlib.contextmanager
def interruptible(program: str) -> Iterator[None]:
    """Raise KeyboardInterrupt inside the with block at Ctrl-C and at SIGTERM.

    Python raises it only between two of its instructions, which can be minutes apart. So if the
    block has not ended in time, a thread ends the process and its children. All files are written
    so that this loses nothing.

    Parameters
    ----------
    program : str
        Name of the program in the message.
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
    watcher = threading.Thread(target=_watch, args=(waiting, ended, program), daemon=True)
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


def _watch(signals: socket.socket, ended: threading.Event, program: str) -> None:
    """Wait for a signal, and end the process if it does not end by itself."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    while received := signals.recv(1):  # nothing when the other end is closed
        if received[0] in numbers and not ended.wait(GRACE_S):
            kill(psutil.Process().children(recursive=True))
            cursor = SHOW_CURSOR if sys.stderr.isatty() else ""
            print(f"{cursor}{INTERRUPTED_MSG.format(program=program)}", file=sys.stderr, flush=True)
            os._exit(ExitCode.INTERRUPTED)
