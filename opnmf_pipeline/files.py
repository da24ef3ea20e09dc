"""What is done with files wherever they are."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path

__all__ = ["file_digest", "folder_digest"]


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
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
