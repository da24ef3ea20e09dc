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
        Each image, compressed and in base64: for volumes a gzipped NIfTI (uint8), for surfaces
        one gzipped MZ3 for each hemisphere, separated by a space.
    coarsening : int
        Number of original voxels per voxel of the images, along each axis.
    meshes : tuple of str
        For surfaces, the mesh of each hemisphere, a gzipped MZ3 in base64.
    """

    images: tuple[str, ...]
    coarsening: int
    meshes: tuple[str, ...] = ()
