"""Surfaces for the interactive viewer of the report, in the format MZ3 of NiiVue.

Each component is scaled to its largest weight and rounded to steps of 0.4 %, so that it compresses
well.
"""

from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.reporting.surfaces.cortex import Maps, read_maps
from opnmf_pipeline.reporting.viewer import Embedded

__all__ = ["embed"]

MAGIC, FACES, VERTICES, SCALARS = 23117, 1, 2, 8
"""First number of an MZ3 file, and what it contains."""
LEVELS = 255
MAX_BYTES = 10 * 2**20
"""Largest size of all surfaces of a page; a page with more has no viewer."""


def embed(images: Sequence[Any], *, meshes: Sequence[Path] = ()) -> Embedded | None:
    """Return maps and their meshes as text, or None without a mesh, or if they are too large.

    Parameters
    ----------
    images : sequence of path or Cifti2Image
        CIFTI images of one or more maps, non-negative.
    meshes : sequence of path
        Meshes of the left and of the right hemisphere. Default: the pial surface of fsaverage5.
    """
    maps = [read_maps(image, list(meshes)) for image in images]
    if any(one.problem for one in maps):
        return None
    cortex = maps[0].cortex
    shapes = [mesh if meshes else _pial(side) for side, (mesh, _) in cortex.items()]
    embedded = tuple(map(_hemispheres, maps))
    if sum(map(len, embedded)) > MAX_BYTES:
        return None
    return Embedded(embedded, coarsening=1, meshes=tuple(map(_mesh, shapes)))


def _hemispheres(maps: Maps) -> str:
    """Return the values of all hemispheres, separated by a space."""
    largest = np.nanmax([np.nanmax(values, axis=0) for values in maps.values.values()], axis=0)
    return " ".join(_scalars(values, largest) for values in maps.values.values())


def _pial(side: str) -> Any:
    from nilearn.datasets import load_fsaverage

    return load_fsaverage("fsaverage5")["pial"].parts[side]


def _mesh(mesh: Any) -> str:
    faces = np.asarray(mesh.faces, dtype="<u4")
    positions = np.asarray(mesh.coordinates, dtype="<f4")
    return _mz3(FACES | VERTICES, len(faces), len(positions), faces.tobytes(), positions.tobytes())


def _scalars(values: NDArray[np.float64], largest: NDArray[np.float64]) -> str:
    """Return maps, shape (n_vertices, n_maps), as the frames of a file."""
    scaled = np.rint(np.nan_to_num(values) * (LEVELS / np.where(largest > 0, largest, 1)))
    return _mz3(SCALARS, 0, len(values), scaled.T.astype("<f4").tobytes())


def _mz3(attributes: int, n_faces: int, n_vertices: int, *parts: bytes) -> str:
    header = struct.pack("<HHIII", MAGIC, attributes, n_faces, n_vertices, 0)
    # Without a time in the header, equal surfaces give equal bytes
    return base64.b64encode(gzip.compress(b"".join([header, *parts]), 6, mtime=0)).decode()
