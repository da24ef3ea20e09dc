"""What is done with files wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path

__all__ = ["file_digest", "folder_digest", "why_missing"]

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
