"""The file that describes a crash: what a developer needs, without the values of participants."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_tb
from typing import Any

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.dataset.description import settings_yaml
from opnmf_pipeline.exceptions import OPNMFError
from opnmf_pipeline.images.bids import OF_THE_ROW
from opnmf_pipeline.logs import library_versions

__all__ = ["write_crash_file"]

TEXT = """\
opnmf-pipeline stopped because of a fault in the program.
Please send this file to the developers: SECURITY.md of the project says how.
It contains no image data and no values of participants. The text of the error is left out, because
it can contain such values; it was printed in the terminal. Paths are in it: remove them if they
are private.

Versions
--------
{versions}

Settings
--------
{settings}

Traceback
---------
{traceback}
"""


def write_crash_file(error: BaseException, args: argparse.Namespace) -> Path:
    """Write a new file about a crash to the current folder, or to the folder of temporary files.

    Parameters
    ----------
    error : exception
        The error that ended the command.
    args : Namespace
        Arguments of the command.

    Returns
    -------
    path
        The file.
    """
    versions = "\n".join(f"{name} {version}" for name, version in library_versions().items())
    traceback = "\n".join(_frames(error))
    text = TEXT.format(versions=versions, settings=_settings(args), traceback=traceback)
    name = f"opnmf-pipeline-crash-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.txt"
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        try:
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return folder / name
    raise error


def _settings(args: argparse.Namespace) -> str:
    try:
        config = _config(args)
    except OPNMFError:
        config = None
    if config is None:
        return "(none)"
    settings = config.settings()
    filters: dict[str, Any] = settings["inputs"].get("filters", {})
    for entity in OF_THE_ROW:
        if entity in filters:
            filters[entity] = f"({len(filters[entity])} values)"
    return settings_yaml(settings)


def _config(args: argparse.Namespace) -> PipelineConfig | None:
    if hasattr(args, "bids_dir"):
        from opnmf_pipeline.cli.bids_app import settings_of

        return settings_of(args)
    return load_config(args.config, overrides(args)) if hasattr(args, "config") else None


def _frames(error: BaseException | None) -> Iterator[str]:
    """Yield the files and lines of a traceback, and the types of its errors, the cause first."""
    if error is None:
        return
    yield from _frames(error.__cause__ or error.__context__)
    yield from (frame.rstrip() for frame in format_tb(error.__traceback__))
    # A worker process sends its traceback as text, which ends with the text of the error
    yield from (line for line in str(error).splitlines() if line.startswith('  File "'))
    yield f"{type(error).__module__}.{type(error).__qualname__}\n"
