"""Meshes of surfaces: templates by their number of vertices, and which vertices are neighbours."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MESHES", "SYMMETRIC", "coordinates", "edges", "faces", "mesh_name"]

MESHES = {
    642: "fsaverage3",
    2562: "fsaverage4",
    10242: "fsaverage5",
    40962: "fsaverage6",
    163842: "fsaverage",
    4002: "fsLR 4k",
    7842: "fsLR 8k",
    32492: "fsLR 32k",
    59292: "fsLR 59k",
}
"""Names of template meshes by their number of vertices per hemisphere."""
SYMMETRIC = {n for n, name in MESHES.items() if name.startswith("fsLR")}
"""Meshes in which equal vertices of both hemispheres correspond. In fsaverage they do not."""
PACKAGED = 10242
"""Vertices of the mesh that nilearn contains: fsaverage5."""
LEVELS = (2562, 642)
"""Coarser meshes of fsaverage: their vertices are the first ones of the finer meshes."""
PLACED = (PACKAGED, *LEVELS)
"""Meshes whose triangles and coordinates are known."""


def mesh_name(n_vertices: int) -> str:
    """Return the name of a mesh for messages."""
    return MESHES.get(n_vertices, "unknown mesh")


@cache
def faces(n_vertices: int, side: str) -> NDArray[np.int64] | None:
    """Return the triangles of a hemisphere of fsaverage3, 4 or 5, and None for other meshes.

    Parameters
    ----------
    n_vertices : int
        Number of vertices of the hemisphere.
    side : {'L', 'R'}
        The hemisphere.

    Returns
    -------
    ndarray of shape (n_triangles, 3), int64, or None
    """
    if n_vertices not in PLACED:
        return None
    triangles = np.asarray(_white(side).faces, dtype=np.int64)
    for level in LEVELS:
        if n_vertices <= level:
            triangles = _coarser(triangles, level)
    return triangles


@cache
def coordinates(n_vertices: int, side: str) -> NDArray[np.float64] | None:
    """Return where the vertices of a hemisphere of fsaverage3, 4 or 5 are; None for other meshes.

    Parameters
    ----------
    n_vertices : int
        Number of vertices of the hemisphere.
    side : {'L', 'R'}
        The hemisphere.

    Returns
    -------
    ndarray of shape (n_vertices, 3), float64, or None
        Coordinates on the white surface of fsaverage5, in mm.
    """
    if n_vertices not in PLACED:
        return None
    found: NDArray[np.float64] = np.asarray(_white(side).coordinates, dtype=np.float64)
    return found[:n_vertices]


def _white(side: str) -> Any:
    from nilearn.datasets import load_fsaverage

    mesh: Any = load_fsaverage("fsaverage5")["white_matter"]
    return mesh.parts[{"L": "left", "R": "right"}[side]]


def _coarser(triangles: NDArray[np.int64], n_vertices: int) -> NDArray[np.int64]:
    """Undo one subdivision of a mesh, which put a new vertex in the middle of each edge.

    The triangle in the middle of each old triangle has three new vertices. Two of them are on edges
    that share one vertex of the old triangle.
    """
    n_new = int(triangles.max()) + 1 - n_vertices
    halves = edges(triangles)
    halves = halves[(halves[:, 0] < n_vertices) & (halves[:, 1] >= n_vertices)]
    ends = halves[np.argsort(halves[:, 1]), 0].reshape(n_new, 2)
    first = ends[triangles[(triangles >= n_vertices).all(axis=1)] - n_vertices]
    second = np.roll(first, -1, axis=1)
    is_shared = (first[..., :1] == second).any(axis=-1)
    coarse: NDArray[np.int64] = np.where(is_shared, first[..., 0], first[..., 1])
    return coarse


def edges(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the edges of triangles, each once: shape (n_edges, 2), smaller vertex first."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    found: NDArray[np.int64] = np.unique(np.sort(pairs, axis=1), axis=0)
    return found
