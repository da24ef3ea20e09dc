"""Results of stages, cached by the content of their inputs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from opnmf_pipeline import __version__
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.files import file_digest

__all__ = ["Cache", "Result", "only_run"]

NOT_WRITABLE_MSG = (
    "execution.work_dir: {folder}: cannot be written ({reason}); choose another folder with "
    "--work-dir"
)
IN_USE_MSG = (
    "execution.work_dir: {folder}: another run is using it; wait until that run ends, or choose "
    "another folder with --work-dir"
)


@contextlib.contextmanager
def only_run(work_dir: Path) -> Iterator[None]:
    """Lock a folder of intermediate results against other runs inside the with block.

    Raises
    ------
    OutputError
        The folder cannot be written, or another run is using it.
    """
    _make(work_dir)
    lock = FileLock(work_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(IN_USE_MSG.format(folder=work_dir)) from None
    try:
        yield
    finally:
        lock.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(NOT_WRITABLE_MSG.format(folder=folder, reason=error.strerror)) from None


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
        Folder of intermediate results; it is created if it does not exist.

    Raises
    ------
    OutputError
        The folder cannot be created.
    """

    def __init__(self, work_dir: Path) -> None:
        self.root = work_dir / f"opnmf-pipeline-{__version__}"
        _make(self.root)
        self._memo_file = self.root / "digests.json"
        self._memo: dict[str, list[Any]] = {}
        self._n_read = 0
        with contextlib.suppress(OSError, ValueError):  # absent or damaged: read the files again
            self._memo = json.loads(self._memo_file.read_text())

    def digests(self, paths: Iterable[str | Path]) -> list[str]:
        """Return the SHA-256 of each file; read it again only if its size or time changed."""
        n_read = self._n_read
        digests = [self._digest(Path(path)) for path in paths]
        if self._n_read > n_read:
            partial = self._memo_file.with_suffix(".partial")
            partial.write_text(json.dumps(self._memo))
            partial.replace(self._memo_file)
        return digests

    def _digest(self, path: Path) -> str:
        stat = path.stat()
        seen = self._memo.get(str(path))
        if seen is not None and seen[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(seen[2])
        digest = file_digest(path)
        self._n_read += 1
        self._memo[str(path)] = [stat.st_size, stat.st_mtime_ns, digest]
        return digest

    def key(self, name: str, inputs: Iterable[str], settings: Any) -> str:
        """Return the key of the result of a stage with these inputs and settings (SHA-256)."""
        content = json.dumps([name, list(inputs), settings], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def find(self, name: str, inputs: Iterable[str], settings: Any) -> Result | None:
        """Return the result of a stage, or None if it is not in the cache."""
        key = self.key(name, inputs, settings)
        folder = self._folder(name, key)
        return Result(folder, key, reused=True) if folder.exists() else None

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
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        partial.rename(folder)
        return Result(folder, key, reused=False)
