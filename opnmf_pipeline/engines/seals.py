"""Sealed folders: a list of digests tells whether the files of a result are those of its run."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from opnmf_pipeline.exceptions import FileError
from opnmf_pipeline.files import file_digest, read_object, synced, written_whole

__all__ = ["DAMAGED_MSG", "Digests", "seal"]

logger = logging.getLogger(__name__)

DAMAGED_MSG = (
    "%s: files are missing or have changed since a run wrote them; the result is computed again"
)
MANIFEST = "manifest.json"
"""File in a sealed folder with the SHA-256 of each of its other files, by relative path."""


def seal(folder: Path) -> None:
    """Write the digests of all files of a folder into it, after all files are on the disk."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        synced(path)
        if path.is_file() and path != folder / MANIFEST:
            digests[str(path.relative_to(folder))] = file_digest(path)
    with written_whole(folder / MANIFEST) as partial:
        partial.write_text(json.dumps(digests, indent=1), encoding="utf-8")
    synced(folder)


class Digests:
    """The SHA-256 of files; a file is read again only if it was changed or replaced.

    Parameters
    ----------
    memo_file : path
        File that keeps the digests between runs. Its folder must exist.
    """

    def __init__(self, memo_file: Path) -> None:
        self._memo_file = memo_file
        self._memo: dict[str, Any] = {}
        with contextlib.suppress(FileError):  # absent or damaged
            self._memo = read_object(memo_file)
        self._n_read = 0

    def of(self, paths: Iterable[str | Path]) -> list[str]:
        """Return the SHA-256 of each file."""
        n_read = self._n_read
        digests = [self._digest(Path(path)) for path in paths]
        if self._n_read > n_read:
            with written_whole(self._memo_file) as partial:
                partial.write_text(json.dumps(self._memo), encoding="utf-8")
        return digests

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        # Programs can set the time of a file to any value, but not the time of its last change
        now = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        match self._memo.get(str(path)):
            case [*then, str(digest)] if then == now:
                return digest
        digest = file_digest(path)
        self._n_read += 1
        self._memo[str(path)] = [*now, digest]
        return digest

    def confirm(self, folder: Path) -> bool:
        """Tell whether a folder has a seal, and its files are those that were sealed."""
        try:
            sealed = read_object(folder / MANIFEST)
            found = self.of(folder / name for name in sealed)
        except (OSError, ValueError):  # a file is missing, or the list is damaged
            return False
        return list(sealed.values()) == found

    def drop_others(self, folders: Iterable[Path]) -> None:
        """Remove the folders that are not sealed, and with a warning those with other files."""
        for folder in folders:
            if not self.confirm(folder):
                if (folder / MANIFEST).exists():
                    logger.warning(DAMAGED_MSG, folder)
                shutil.rmtree(folder)
