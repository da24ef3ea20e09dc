"""Locks of folders: only one run at a time writes into a folder."""

from __future__ import annotations

import contextlib
import errno
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from opnmf_pipeline.disk import full_disk_named
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.files import sweep

__all__ = ["LOCKS", "only_run"]

logger = logging.getLogger(__name__)

LOCKS = (".lock", ".lock-file")
"""Names of the files of locks; the second is used if the file system has no locks."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, 524)
"""Errors of file systems without locks; 524 (ENOTSUPP) comes from network file systems."""

NOT_WRITABLE_MSG = (
    "{setting}: {folder}: cannot be written ({reason}); choose another folder with {flag}"
)
IN_USE_MSG = (
    "{setting}: {folder}: another run is using it; wait until that run ends, or choose another "
    "folder with {flag}"
)
STALE_MSG = "; if no run is using it, delete {lock}"
NO_LOCKS_MSG = (
    "%s: the file system has no locks, so the run marks the folder with the file %s; "
    "do not start another run in this folder from another machine"
)


@contextlib.contextmanager
def only_run(folder: Path, setting: str, flag: str) -> Iterator[None]:
    """Lock a folder against other runs inside the with block.

    Incomplete files that killed runs left in the folder are removed.

    Parameters
    ----------
    folder : path
        The folder; it is created if it does not exist.
    setting, flag : str
        Setting and argument of the command line that name the folder, for messages.

    Raises
    ------
    OutputError
        The folder cannot be written, or another run is using it.
    """
    named = {"setting": setting, "folder": folder, "flag": flag}
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lock = _locked(folder)
            sweep(folder)
    except Timeout as error:
        message = IN_USE_MSG.format(**named)
        if Path(error.lock_file).name == LOCKS[1]:
            message += STALE_MSG.format(lock=error.lock_file)
        raise OutputError(message) from None
    except OSError as error:
        raise OutputError(NOT_WRITABLE_MSG.format(**named, reason=error.strerror)) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()  # before the release: another run may own the next one
        lock.release()


def _locked(folder: Path) -> BaseFileLock:
    lock: BaseFileLock = FileLock(folder / LOCKS[0])
    with warnings.catch_warnings(record=True) as told:  # filelock warns if it goes on without
        warnings.simplefilter("always")
        try:
            lock.acquire(timeout=0)
        except (OSError, NotImplementedError) as error:
            if isinstance(error, Timeout) or getattr(error, "errno", errno.ENOSYS) not in NO_LOCKS:
                raise
            (folder / LOCKS[0]).unlink(missing_ok=True)
            lock = SoftFileLock(folder / LOCKS[1])
            lock.acquire(timeout=0)
    if told or isinstance(lock, SoftFileLock):
        logger.warning(NO_LOCKS_MSG, folder, Path(lock.lock_file).name)
    return lock
