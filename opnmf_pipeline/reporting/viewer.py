"""Images as text, which a space makes for the interactive viewer of the report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Embedded"]


@dataclass(frozen=True)
class Embedded:
    """Images as text.

    Attributes
    ----------
    images : tuple of str
        Each image, compressed and in base64; for volumes a gzipped NIfTI (uint8).
    coarsening : int
        Number of original voxels per voxel of the images, along each axis.
    """

    images: tuple[str, ...]
    coarsening: int
