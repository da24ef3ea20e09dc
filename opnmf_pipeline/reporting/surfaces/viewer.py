"""The viewer of the report does not show surfaces yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["embed"]


def embed(images: Sequence[Any]) -> None:
    """Return None: the viewer shows volumes only."""
