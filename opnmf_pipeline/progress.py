"""Interfaces through which a long stage reports its progress to a display."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

__all__ = ["Display", "SilentDisplay", "Track", "silent"]

Item = TypeVar("Item")


class Track(Protocol):
    """Yields items and shows how many of ``total`` have been yielded."""

    def __call__(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` unchanged."""


def silent(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield ``items`` unchanged and show nothing."""
    yield from items


class Display(Protocol):
    """What an engine shows to the user during a run."""

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` unchanged and show how many of ``total`` have been yielded."""

    def note(self, text: str) -> None:
        """Show one line about a stage."""

    def fit(self, description: str) -> AbstractContextManager[Callable[[Any], None] | None]:
        """Show the progress of a fit; the context manager returns the callback of the solver."""


class SilentDisplay:
    """Display that shows nothing."""

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` unchanged."""
        return silent(items, description, total)

    def note(self, text: str) -> None:
        """Show nothing."""

    def fit(self, description: str) -> AbstractContextManager[None]:
        """Return no callback."""
        return nullcontext()
