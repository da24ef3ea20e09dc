"""Errors about images, with the names of their subjects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opnmf_pipeline.exceptions import ImageError

__all__ = ["naming_subjects"]


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


def _named(line: str, names: Mapping[str, str]) -> str:
    content = line.lstrip()
    name = names.get(content.partition(": ")[0])
    return line if name is None else f"{line[: -len(content)]}{name}: {content}"
