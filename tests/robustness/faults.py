"""Faults on purpose: damaged files, and runs that are killed or fail at a change of the files.

To add a case, write a function that runs something, and pass it to :func:`outcome_with_fault`: it
runs in a child process, in which one change of the file system is its last, or fails. The kinds of
changes are the events of :data:`CHANGES` (:func:`sys.addaudithook`).
"""

import errno
import os
import signal
import sys
from pathlib import Path


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path):
    path.write_bytes(b"")


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _extend(path):
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGES = {
    "truncated": _truncate,
    "empty": _empty,
    "one bit": _flip,
    "a byte more": _extend,
    "missing": Path.unlink,
}
"""Functions that damage a file, by name."""
