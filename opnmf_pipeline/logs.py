"""Logging of the package: the destination of messages, and the versions of the libraries."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["configure_logging", "library_versions", "log_file"]

LIBRARIES = (
    "opnmf-pipeline",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "statsmodels",
    "nibabel",
    "nilearn",
    "nipype",
    "pydra",
)
DEFAULT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
APPEND_MSG = (
    "{path} exists, so messages are appended to it; pass overwrite=True to replace the file, "
    "or overwrite=False to append without this warning"
)

logger = logging.getLogger("opnmf_pipeline")


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def configure_logging(
    level: int | str = "WARNING",
    fname: str | Path | None = None,
    overwrite: bool | None = None,
    output_format: str | None = None,
) -> logging.Handler:
    """Send the messages of the package to the standard output or to a file.

    A call replaces the handler of an earlier call. The first message lists the versions of the
    libraries.

    Parameters
    ----------
    level : int or str, default="WARNING"
        Lowest level of the messages: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    fname : path, optional
        File to write to. Default: the standard output.
    overwrite : bool, optional
        True replaces an existing file, False appends to it. Default: append with a warning.
    output_format : str, optional
        Format of a message, as :class:`logging.Formatter` takes it.

    Returns
    -------
    logging.Handler
        The handler that was installed.

    Raises
    ------
    ValueError
        :mod:`logging` does not know the level.
    """
    logging.Handler().setLevel(level)  # raises for an unknown level before a file is opened
    handler = _new_handler(fname, overwrite)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        old.close()
    _install(handler, level, output_format)
    logger.setLevel(level)
    return handler


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append messages of level INFO and above, and warnings, to a file inside the with block."""
    handler = _new_handler(path, overwrite=False)
    old_level = logger.level
    logger.setLevel(min(logging.INFO, old_level or logging.INFO))
    _install(handler, logging.INFO)
    logging.captureWarnings(True)
    warnings_logger = logging.getLogger("py.warnings")
    warnings_logger.addHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        warnings_logger.removeHandler(handler)
        logger.removeHandler(handler)
        logger.setLevel(old_level)
        handler.close()


def _install(handler: logging.Handler, level: int | str, output_format: str | None = None) -> None:
    handler.setFormatter(logging.Formatter(output_format or DEFAULT_FORMAT))
    handler.setLevel(level)
    logger.addHandler(handler)
    versions = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    # The record goes directly to the handler: each log starts with the versions, at every level.
    handler.handle(
        logger.makeRecord(logger.name, logging.INFO, "", 0, f"versions: {versions}", (), None)
    )


def _new_handler(fname: str | Path | None, overwrite: bool | None) -> logging.Handler:
    if fname is None:
        return logging.StreamHandler(sys.stdout)
    path = Path(fname)
    if path.exists() and overwrite is None:
        warnings.warn(APPEND_MSG.format(path=path), stacklevel=3)
    return _LogFile(path, mode="w" if overwrite else "a", encoding="utf-8")


class _LogFile(logging.FileHandler):
    """Log that loses messages if the disk is full; the run fails with an error of its own."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Print no traceback."""

    def close(self) -> None:
        """Close the file, even if its last message cannot be written."""
        with suppress(OSError):
            super().close()
