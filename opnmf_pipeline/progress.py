"""How a long stage says how far it is, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar

__all__ = ["Display", "SilentDisplay", "Track", "silent"]

Item = TypeVar("Item")


class Track(Protocol):
    """Passes items on while it shows how many of ``total`` have passed."""

    def __call__(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` unchanged."""


def silent(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Pass items on and show nothing."""
    yield from items


class Display(Protocol):
    """What an engine tells its user while it works."""

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` unchanged and show how many of ``total`` have passed."""

    def note(self, text: str) -> None:
        """Show one line about a stage."""

    def fit(
        self, description: str, tol: float
    ) -> AbstractContextManager[Callable[[Any], None] | None]:
        """Show the course of a fit; the context is the callback that takes each iteration."""


class SilentDisplay:
    """Shows nothing."""

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Pass items on."""
        return silent(items, description, total)

    def note(self, text: str) -> None:
        """Show nothing."""

    def fit(self, description: str, tol: float) -> AbstractContextManager[None]:
        """Return no callback."""
        return nullcontext()
