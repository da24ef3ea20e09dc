"""What a space gives to the interactive viewer of a page."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Embedded"]


@dataclass(frozen=True)
class Embedded:
    """Maps as text.

    Attributes
    ----------
    images : tuple of str
        Each map, compressed and in base64: for volumes a gzipped NIfTI (uint8).
    coarsening : int
        How much coarser they are than the originals, along each axis.
    """

    images: tuple[str, ...]
    coarsening: int
