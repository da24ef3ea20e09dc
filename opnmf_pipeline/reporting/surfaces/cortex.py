"""The cortex of fsaverage5, which nilearn contains, and values on it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

__all__ = ["SIDES", "VIEWS_OF_SIDES", "Maps", "draw_view", "read_maps"]

SIDES = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
VIEWS_OF_SIDES = (
    ("left", "lateral"),
    ("left", "medial"),
    ("right", "medial"),
    ("right", "lateral"),
)
"""The four views, from left to right."""
N_VERTICES = 10242
COARSER, FINER = (642, 2562), (40962, 163842)
"""Other meshes of fsaverage. The vertices of a mesh are the first ones of all finer meshes."""
ZOOM = 1.4
"""Without it, half of each picture is margin."""
NO_MESH = (
    "There is no picture, because nilearn contains no mesh with {n} vertices.\n"
    "Open the maps in Connectome Workbench, or resample the images to fsaverage."
)


class Maps(NamedTuple):
    """Maps on the cortex of fsaverage5.

    Attributes
    ----------
    values : dict of str to ndarray of shape (10242, n_maps)
        Values by hemisphere, ``left`` and ``right``; NaN where a map has no value. Empty if the
        maps are not on a mesh of fsaverage.
    problem : str
        Why ``values`` is empty, or "".
    """

    values: dict[str, NDArray[np.float64]]
    problem: str = ""


def read_maps(path: Path) -> Maps:
    """Read the maps of a CIFTI file, and move them to fsaverage5.

    Of finer meshes, the vertices of fsaverage5 are shown; on coarser ones, each vertex of
    fsaverage5 shows the value of the nearest vertex.
    """
    image: Any = nb.Cifti2Image.from_filename(path)
    axis, values = image.header.get_axis(1), np.asarray(image.dataobj, dtype=np.float64).T
    found = {}
    for side, name in SIDES.items():
        n_vertices = axis.nvertices.get(name)
        if n_vertices is None:
            continue
        if n_vertices not in (N_VERTICES, *COARSER, *FINER):
            return Maps({}, NO_MESH.format(n=n_vertices))
        rows = axis.name == name
        whole = np.full((n_vertices, values.shape[1]), np.nan)
        whole[axis.vertex[rows]] = values[rows]
        found[side] = whole[_shown(n_vertices, side)]
    return Maps(found)


@cache
def _shown(n_vertices: int, side: str) -> NDArray[np.int64]:
    """Return the vertex of a mesh that each vertex of fsaverage5 shows."""
    if n_vertices not in COARSER:
        return np.arange(N_VERTICES)
    from nilearn.datasets import load_fsaverage

    sphere = load_fsaverage("fsaverage5")["sphere"].parts[side].coordinates
    nearest: NDArray[np.int64] = KDTree(sphere[:n_vertices]).query(sphere)[1]
    return nearest


@cache
def _cortex(side: str) -> tuple[Any, NDArray[np.float64]]:
    """Return the inflated surface of a hemisphere, and its sulcal depth."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    mesh = load_fsaverage("fsaverage5")["inflated"].parts[side]
    depth = load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts[side]
    return mesh, np.asarray(depth, dtype=np.float64)


def draw_view(axis: Any, values: NDArray[np.float64], view: tuple[str, str], **style: Any) -> None:
    """Draw values of one hemisphere, shape (10242,), on its folds; NaN is not drawn.

    Parameters
    ----------
    axis : matplotlib 3D axes
        Where to draw.
    values : ndarray of shape (10242,)
        One value per vertex.
    view : (str, str)
        Hemisphere and direction, such as ``("left", "medial")``.
    **style
        Colours and their range, for :func:`nilearn.plotting.plot_surf`.
    """
    from nilearn import plotting

    mesh, depth = _cortex(view[0])
    plotting.plot_surf(
        mesh,
        values,
        bg_map=depth,
        hemi=view[0],
        view=view[1],
        axes=axis,
        colorbar=False,
        **style,
    )
    axis.set_box_aspect(None, zoom=ZOOM)
