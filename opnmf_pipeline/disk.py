"""A full disk: space is taken before it is needed, and an error names the folder and the bytes."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.exceptions import OutputError

__all__ = ["allocate", "array_on_disk", "full_disk_named", "require_space"]

FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_MSG = (
    "{folder}: the disk or the quota is full: {needed} are needed, {free} are free; free some "
    "space, or choose other folders with --output and --work-dir, and run the same command again"
)


def allocate(path: Path) -> None:
    """Reserve space on the disk for all bytes of a sparse file.

    Without it, a write to a memory map ends the process with SIGBUS when the disk is full.

    Raises
    ------
    OutputError
        The disk is full.
    """
    with path.open("rb+") as stream:
        _reserve(stream.fileno(), path.stat().st_size, path.parent)


def array_on_disk(shape: tuple[int, ...], dtype: str, folder: Path) -> np.memmap[Any, Any]:
    """Return an array in a file that has no name and is gone when the array, or the process, is.

    Parameters
    ----------
    shape : tuple of int
    dtype : str
    folder : path
        Folder on the disk that holds the array.

    Raises
    ------
    OutputError
        The disk is full.
    """
    n_bytes = np.dtype(dtype).itemsize * int(np.prod(shape))
    with tempfile.TemporaryFile(dir=folder) as stream:
        stream.truncate(n_bytes)
        _reserve(stream.fileno(), n_bytes, folder)
        return np.memmap(stream, dtype, "r+", shape=shape)


def _reserve(descriptor: int, n_bytes: int, folder: Path) -> None:
    try:
        os.posix_fallocate(descriptor, 0, n_bytes)
    except AttributeError:  # macOS lacks the function
        return
    except OSError as error:
        if error.errno in FULL:
            raise OutputError(_full(folder, _size(n_bytes))) from None
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Name the folder and the free space if the disk becomes full inside the with block.

    Raises
    ------
    OutputError
        The disk or the quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        if isinstance(error.filename, str | Path):  # a failed write has none
            folder = Path(error.filename).parent
        raise OutputError(_full(folder, "more bytes")) from None


def require_space(report: str, folder: Path) -> None:
    """Raise the error of a full disk if the report of an error in another process says so.

    Parameters
    ----------
    report : str
        Text of the error; it may contain a traceback.
    folder : path
        Folder that the process wrote to.

    Raises
    ------
    OutputError
        The disk or the quota is full.
    """
    if any(f"[Errno {code}]" in report for code in FULL):
        raise OutputError(_full(folder, "more bytes"))


def _full(folder: Path, needed: str) -> str:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    free = _size(shutil.disk_usage(there).free)
    return FULL_MSG.format(folder=folder, needed=needed, free=free)


def _size(n_bytes: int) -> str:
    return f"{n_bytes:,} bytes"
