"""Volumes for the interactive viewer of the report, small enough to embed.

Each component is scaled to its largest weight and stored in eight bits: steps of 0.4 %.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray

from opnmf_pipeline.reporting.viewer import Embedded

__all__ = ["embed"]

MAX_BYTES = 10 * 2**20
"""Largest size of all volumes of a page; larger volumes are embedded on a coarser grid."""
LEVELS = 255


def embed(
    images: Sequence[Any], max_bytes: int = MAX_BYTES, *, meshes: Sequence[Path] = ()
) -> Embedded:
    """Return images as text of limited size.

    Parameters
    ----------
    images : sequence of path or nibabel image
        3D or 4D, non-negative.
    max_bytes : int
        Largest total size. The images are averaged over larger and larger blocks of voxels until
        they fit.
    meshes : sequence of path
        Not used: volumes have no meshes.
    """
    opened = [nb.load(image) if isinstance(image, Path) else image for image in images]
    coarsening = 1
    while (embedded := _fitting(opened, coarsening, max_bytes)) is None:
        coarsening += 1
    return Embedded(embedded, coarsening)


def _fitting(images: Sequence[Any], coarsening: int, max_bytes: int) -> tuple[str, ...] | None:
    """Return the images as text, or None if they are too large."""
    embedded: list[str] = []
    for image in images:
        embedded.append(_embedded(image, coarsening))
        if sum(map(len, embedded)) > max_bytes:
            return None
    return tuple(embedded)


def _embedded(image: Any, coarsening: int) -> str:
    values, affine = _cropped(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    values, affine = _coarser(values, affine, coarsening)
    largest = values.max(axis=(0, 1, 2))
    scaled = values * (LEVELS / np.where(largest > 0, largest, 1))
    small = nb.Nifti1Image(np.rint(scaled).astype(np.uint8), affine)
    # Without a time in the header, equal images give equal bytes
    return base64.b64encode(gzip.compress(small.to_bytes(), 6, mtime=0)).decode()


def _cropped(
    values: NDArray[np.float32], affine: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Remove empty margins."""
    filled = values > 0 if values.ndim == 3 else (values > 0).any(axis=-1)
    if not filled.any():
        return values, affine
    found = np.argwhere(filled)
    first, end = found.min(axis=0), found.max(axis=0) + 1
    inside = tuple(slice(a, b) for a, b in zip(first, end, strict=True))
    return values[inside], affine @ from_matvec(np.eye(3), first)


def _coarser(
    values: NDArray[np.float32], affine: NDArray[np.float64], factor: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Average blocks of voxels; blocks at the end of an axis are filled up with zeros."""
    if factor == 1:
        return values, affine
    margins = [(0, -size % factor) for size in values.shape[:3]] + [(0, 0)] * (values.ndim - 3)
    padded = np.pad(values, margins)
    x, y, z, *volumes = padded.shape
    blocks = padded.reshape(x // factor, factor, y // factor, factor, z // factor, factor, *volumes)
    # The corners of the first voxels coincide
    shifted = affine @ from_matvec(np.eye(3) * factor, np.full(3, (factor - 1) / 2))
    return blocks.mean(axis=(1, 3, 5)), shifted
