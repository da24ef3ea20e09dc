"""Values on the cortex: on fsaverage5, which nilearn contains, or on a mesh of the user."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nb
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

__all__ = ["VIEWS_OF_SIDES", "Maps", "View", "read_maps"]

View = tuple[str, str]
"""Hemisphere and direction."""

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
LIGHT = (0.05, 0.4)
"""Grey of the highest and of the deepest folds, from 0 (white) to 1: low weights are darker."""
ZOOM = 1.4
"""Without it, half of each picture is margin."""
NO_MESH = (
    "There is no picture: report.mesh is not set, and nilearn contains no mesh with {n} vertices.\n"
    "Set report.mesh, or open the maps in Connectome Workbench."
)
OTHER_MESH = (
    "There is no picture: the maps have {n} vertices in the {side} hemisphere, but the mesh\n"
    "{mesh} has {found}.\nSet report.mesh to another mesh."
)


class Maps(NamedTuple):
    """Maps, and the mesh that they are drawn on.

    Attributes
    ----------
    values : dict of str to ndarray of shape (n_vertices, n_maps)
        Values by hemisphere, ``left`` and ``right``; NaN where a map has no value. Empty if there
        is no mesh for the maps.
    cortex : dict of str to (mesh, ndarray of shape (n_vertices,) or None)
        Mesh and grey of the folds by hemisphere.
    problem : str
        Why ``values`` is empty, or "".
    """

    values: dict[str, NDArray[np.float64]]
    cortex: dict[str, tuple[Any, NDArray[np.float64] | None]]
    problem: str = ""

    def draw_view(self, axis: Any, values: NDArray[np.float64], view: View, **style: Any) -> None:
        """Draw values of one hemisphere, shape (n_vertices,); NaN is not drawn.

        Parameters
        ----------
        axis : matplotlib 3D axes
            Where to draw.
        values : ndarray of shape (n_vertices,)
            One value per vertex.
        view : (str, str)
            Hemisphere and direction, such as ``("left", "medial")``.
        **style
            Colours and their range, for :func:`nilearn.plotting.plot_surf`.
        """
        from nilearn import plotting

        side, direction = view
        mesh, depth = self.cortex[side]
        plotting.plot_surf(
            mesh,
            values,
            bg_map=depth,
            hemi=side,
            view=direction,
            axes=axis,
            colorbar=False,
            **style,
        )
        axis.set_box_aspect(None, zoom=ZOOM)


def read_maps(maps: Any, background: Any = None) -> Maps:
    """Read the maps of a CIFTI image, to draw them on a mesh.

    Without a mesh, maps on any mesh of fsaverage are moved to fsaverage5: of finer meshes, the
    vertices of fsaverage5 are shown; on coarser ones, each vertex of fsaverage5 shows the value of
    the nearest vertex.

    Parameters
    ----------
    maps : path or Cifti2Image
        CIFTI image.
    background : list of path, or object
        Meshes of the left and of the right hemisphere. Any other object, or an empty list, means
        fsaverage5.
    """
    image: Any = nb.Cifti2Image.from_filename(maps) if isinstance(maps, Path) else maps
    axis, values = image.header.get_axis(1), np.asarray(image.dataobj, dtype=np.float64).T
    given = background if isinstance(background, list) else []
    files = dict(zip(SIDES, given, strict=bool(given)))
    found: dict[str, NDArray[np.float64]] = {}
    cortex: dict[str, Any] = {}
    for side, name in SIDES.items():
        n_vertices = axis.nvertices.get(name)
        if n_vertices is None:
            continue
        if not files and n_vertices not in (N_VERTICES, *COARSER, *FINER):
            return Maps({}, {}, NO_MESH.format(n=n_vertices))
        rows = axis.name == name
        whole = np.full((n_vertices, values.shape[1]), np.nan)
        whole[axis.vertex[rows]] = values[rows]
        if not files:
            found[side], cortex[side] = whole[_shown(n_vertices, side)], _fsaverage5(side)
            continue
        mesh = _mesh(files[side])
        found[side], cortex[side], n_found = whole, (mesh, None), len(mesh.coordinates)
        if n_found != n_vertices:
            problem = {"n": n_vertices, "side": side, "mesh": files[side], "found": n_found}
            return Maps({}, {}, OTHER_MESH.format(**problem))
    return Maps(found, cortex)


@cache
def _mesh(path: Path) -> Any:
    from nilearn.surface import load_surf_mesh

    return load_surf_mesh(path)


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
def _fsaverage5(side: str) -> tuple[Any, NDArray[np.float64]]:
    """Return the inflated surface of a hemisphere, and the grey of its folds."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    mesh = load_fsaverage("fsaverage5")["inflated"].parts[side]
    depth = load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts[side]
    low, high = LIGHT
    return mesh, np.interp(depth, (depth.min(), depth.max()), (low, high))
