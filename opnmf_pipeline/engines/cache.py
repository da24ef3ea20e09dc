"""Results of stages, cached by the content of their inputs."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opnmf_pipeline import __version__
from opnmf_pipeline.engines.seals import DAMAGED_MSG, Digests, seal
from opnmf_pipeline.files import PARTIAL, sweep, synced

__all__ = ["Cache", "Result"]

logger = logging.getLogger(__name__)


class Result(NamedTuple):
    """Folder of one finished stage.

    Attributes
    ----------
    folder : path
        Folder with its files.
    key : str
        Key of the result in the cache, a SHA-256 of the inputs.
    reused : bool
        Whether it was in the cache before.
    """

    folder: Path
    key: str
    reused: bool


class Cache:
    """Folder with one subfolder per result, named by a hash of the inputs of the stage.

    The version of the package is part of the path, so that a new version does not reuse results of
    an old one.

    Parameters
    ----------
    work_dir : path
        Folder of intermediate results; it is created if it does not exist. The process holds its
        lock, because what killed runs left in it is removed.
    """

    def __init__(self, work_dir: Path) -> None:
        self.root = work_dir / f"opnmf-pipeline-{__version__}"
        self.root.mkdir(parents=True, exist_ok=True)
        sweep(self.root)
        self.digests = Digests(self.root / "digests.json")

    def key(self, name: str, inputs: Iterable[str], settings: Any) -> str:
        """Return the key of the result of a stage with these inputs and settings (SHA-256)."""
        content = json.dumps([name, list(inputs), settings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def find(self, name: str, inputs: Iterable[str], settings: Any) -> Result | None:
        """Return the result of a stage, or None if it is not in the cache.

        A result whose files are not as they were written is removed, with a warning.
        """
        key = self.key(name, inputs, settings)
        folder = self._folder(name, key)
        if not folder.exists():
            return None
        if self.digests.confirm(folder):
            return Result(folder, key, reused=True)
        logger.warning(DAMAGED_MSG, folder)
        shutil.rmtree(folder)
        return None

    def _folder(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key[:16]}"

    def stage(
        self, name: str, inputs: Sequence[str], settings: Any, make: Callable[[Path], object]
    ) -> Result:
        """Return the result of a stage; compute it only if it is not in the cache.

        Parameters
        ----------
        name : str
            Name of the stage.
        inputs : sequence of str
            Digests of the input files.
        settings : object
            Settings that the result depends on; must be convertible to JSON.
        make : callable
            Takes an empty folder and writes the result into it. If it raises an error, the folder
            is removed.
        """
        if found := self.find(name, inputs, settings):
            return found
        key = self.key(name, inputs, settings)
        folder = self._folder(name, key)
        partial = folder.with_suffix(PARTIAL)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
            seal(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(folder)
        synced(self.root)
        return Result(folder, key, reused=False)
