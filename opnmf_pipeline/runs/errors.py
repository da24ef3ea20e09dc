"""Errors about images, with the names of their subjects and of the tables that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opnmf_pipeline.exceptions import ImageError

__all__ = ["naming_subjects", "naming_tables", "with_tables_named"]

SEPARATOR = ": "


@contextmanager
def naming_subjects(images: Sequence[str], participants: Sequence[str]) -> Iterator[None]:
    """Add the name of the subject to each line of an error that begins with the path of an image.

    The stages that read images know only their paths, which need not contain the subject.
    """
    try:
        yield
    except ImageError as error:
        names = dict(zip(images, participants, strict=True))
        lines = [_named(line, names) for line in str(error).splitlines()]
        raise ImageError("\n".join(lines)) from None


@contextmanager
def naming_tables(tables: Mapping[str, str]) -> Iterator[None]:
    """Name the tables of the user in errors, and not the files of subjects made from them.

    Parameters
    ----------
    tables : mapping of str to str
        The tables that each file comes from.
    """
    try:
        yield
    except ImageError as error:
        raise with_tables_named(error, tables) from None


def with_tables_named(error: ImageError, tables: Mapping[str, str]) -> ImageError:
    """Return an error that names the tables of the user; see :func:`naming_tables`."""
    text = str(error)
    for file in tables:
        text = text.replace(f"{file}{SEPARATOR}", f"{tables[file]}{SEPARATOR}")
    return ImageError(text)


def _named(line: str, names: Mapping[str, str]) -> str:
    content = line.lstrip()
    name = names.get(content.partition(SEPARATOR)[0])
    return line if name is None else f"{line[: -len(content)]}{name}: {content}"
