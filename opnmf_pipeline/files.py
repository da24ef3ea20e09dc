"""What is done with files in every folder: digests, reading of JSON, complete writing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Container, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from opnmf_pipeline.exceptions import FileError

__all__ = [
    "PARTIAL",
    "file_digest",
    "folder_digest",
    "is_utf8",
    "read_object",
    "sweep",
    "synced",
    "why_missing",
    "written_whole",
]

PARTIAL = ".partial"
"""Ending of the names of files and folders that are not complete."""
NO_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.EACCES)
"""Errors of file systems that cannot write a folder, or a file that is read-only, to the disk."""

LONGEST = 60
NOT_JSON_MSG = "{path}: cannot be read as JSON ({reason})"
NO_OBJECT_MSG = "{path}: expected an object {{...}}, got {content}"
DANGLING_MSG = (
    "is a link to a file that is not there; get its content first, for example with `datalad get`"
)


def why_missing(path: str | Path) -> str:
    """Say why a path that does not exist cannot be read, and what to do.

    The files of a dataset of git-annex (DataLad) are links, whose targets may not be there.
    """
    return DANGLING_MSG if Path(path).is_symlink() else "no such file; check the path"


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path, without: Container[str] = ()) -> str:
    """Return the SHA-256 of the names and the content of all files in a folder.

    Parameters
    ----------
    folder : path
        The folder; files in its folders count too.
    without : container of str
        Names of files that are left out: large ones, for which the checksum in another file stands.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in without:
            # A name ends where its digest begins: `a` with `bc` is not `ab` with `c`
            digest.update(f"{path.relative_to(folder)}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def is_utf8(name: str | Path) -> bool:
    """Return whether a file name is UTF-8; Python keeps its other bytes as surrogates."""
    try:
        str(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def read_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that contains an object.

    Raises
    ------
    FileError
        The file cannot be read, is not JSON in UTF-8, or contains something else than an object.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(NOT_JSON_MSG.format(path=path, reason=reason)) from None
    except RecursionError:
        raise FileError(NOT_JSON_MSG.format(path=path, reason="nested too deep")) from None
    if not isinstance(content, dict):
        raise FileError(NO_OBJECT_MSG.format(path=path, content=str(content)[:LONGEST]))
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside a file; the file changes only when the new one is complete.

    The new content is on the disk before it gets the name of the file. So a reader, and a run after
    a power failure, find the old file or the new one. After an error, the old file is unchanged.

    Parameters
    ----------
    path : path
        The file. Its folder must exist.
    """
    # A unique name, because jobs on several machines may write the same file
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        yield partial
        synced(partial)
        partial.replace(path)
    except BaseException:  # also if the process is being terminated
        with suppress(OSError):
            partial.unlink()
        raise


def synced(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Remove the incomplete files and folders that killed runs left directly in a folder."""
    for path in folder.glob(f"*{PARTIAL}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
