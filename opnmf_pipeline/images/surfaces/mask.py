"""The mask of surfaces: vertices (and voxels of CIFTI files) as rows, and rows as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from nibabel.cifti2 import BrainModelAxis
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Colour
from opnmf_pipeline.images.surfaces.files import CORTEX, read_axis, read_values, reading
from opnmf_pipeline.images.surfaces.grid import Grid
from opnmf_pipeline.images.surfaces.meshes import SYMMETRIC, coordinates, edges, faces, mesh_name
from opnmf_pipeline.images.surfaces.writing import (
    scalars,
    write_hemispheres,
    write_labels,
    write_scalars,
)

__all__ = ["Mask", "open_mask"]

STRUCTURES = {"CORTEX_LEFT": "left cortex", "CORTEX_RIGHT": "right cortex"}
OTHER_MESH_MSG = (
    "{here} cannot be compared with {there}; resample one of them first, with mri_surf2surf "
    "(FreeSurfer), wb_command -metric-resample (Connectome Workbench) or neuromaps"
)
NEIGHBOURS = 1.8
"""Voxels that share a face, an edge or a corner are at most this far apart, in voxels."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The vertices (and voxels) of the analysis: rows of the matrix, in the order of the grid.

    Parameters
    ----------
    axis : BrainModelAxis
        Vertices and voxels of the grid.
    inside : ndarray of shape (len(axis),), bool
        Which of them are rows.
    """

    axis: BrainModelAxis
    inside: NDArray[np.bool_]

    @property
    def label_columns(self) -> Mapping[str, Mapping[str, str]]:
        """Description of each column of :meth:`label_table`."""
        elements = self.grid.elements
        many = f"Number of {elements} in which the component has the largest weight"
        return {
            "index": {"Description": "Value in the label map; 0 means no component"},
            "name": {"Description": "Name of the component"},
            f"n_{elements}": {"Description": many},
            "n_left": {"Description": "Number of these in the left cortex"},
            "n_right": {"Description": "Number of these in the right cortex"},
            "peak_structure": {"Description": "Structure with the largest weight"},
            "peak_vertex": {
                "Description": "Vertex with the largest weight, numbered from 0 in its hemisphere"
            },
        }

    @property
    def grid(self) -> Grid:
        """Grid of the mask."""
        return Grid(self.axis)

    @property
    def in_standard_space(self) -> bool:
        """False: there are no templates for surfaces."""
        return False

    @property
    def template_space(self) -> str | None:
        """``fsLR`` or ``fsaverage``; None for other meshes."""
        names = {mesh_name(n) for n in self.axis.nvertices.values()}
        found = [
            space for space in ("fsLR", "fsaverage") if all(n.startswith(space) for n in names)
        ]
        return found[0] if found and names else None

    @property
    def resolution(self) -> str:
        """Vertices per hemisphere in thousands, such as ``den-32k``; empty if they differ."""
        sizes = {round(n / 1000) for n in self.axis.nvertices.values()}
        return f"den-{sizes.pop()}k" if len(sizes) == 1 else ""

    @property
    def hemispheres(self) -> NDArray[np.int8]:
        """Hemisphere of each row: −1 left, 1 right, 0 for voxels."""
        names = self._rows.name
        sides: NDArray[np.int8] = np.zeros(len(names), dtype=np.int8)
        sides[names == CORTEX["L"]], sides[names == CORTEX["R"]] = -1, 1
        return sides

    def composition(self, weights: NDArray[np.floating]) -> pd.DataFrame | None:
        """Return None: surfaces have no tissues."""
        return None

    def positions(self) -> NDArray[np.float64] | None:
        """Return the coordinates of the rows in mm, (n_rows, 3); None if the mesh is not known.

        Vertices are on the white surface of fsaverage5.
        """
        rows = self._rows
        found = np.full((len(rows), 3), np.nan)
        for side, name in CORTEX.items():
            there = rows.name == name
            if not there.any():
                continue
            vertices = coordinates(self.axis.nvertices[name], side)
            if vertices is None:
                return None
            found[there] = vertices[rows.vertex[there]]
        voxels = rows.volume_mask
        if voxels.any():
            found[voxels] = apply_affine(self.axis.affine, rows.voxel[voxels])
        return found

    def masked(self, path: Path) -> NDArray[Any]:
        """Return the values of a CIFTI file inside the mask.

        Parameters
        ----------
        path : path
            CIFTI file on the grid of the mask.

        Returns
        -------
        ndarray of shape (n_rows,) or, for several maps, (n_rows, n_maps)
            In the dtype of the file.

        Raises
        ------
        ImageError
            The file is missing or is not a CIFTI file.
        """
        with reading(path):
            values = np.asarray(nb.Cifti2Image.from_filename(path).dataobj)
        rows: NDArray[Any] = values.T[self.inside]
        return rows[:, 0] if rows.shape[1] == 1 else rows

    def unmasked(self, values: NDArray[Any]) -> Any:
        """Return rows of the matrix as a CIFTI image, 0 outside the mask.

        Parameters
        ----------
        values : ndarray of shape (n_rows,) or (n_rows, n_maps)
        """
        whole = self._whole(values)
        return scalars(whole, component_names(whole.shape[1]), self.axis)

    def moved_to(self, grid: Grid, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return maps, (n_rows, n_maps), on the vertices of another grid; 0 where they have none.

        Raises
        ------
        ImageError
            The other grid has another mesh or other voxels.
        """
        whole = self._whole(values).astype(np.float32)
        if self.grid.same_as(grid):
            return whole
        meshes = self.axis.nvertices
        if meshes != grid.axis.nvertices or self.axis.volume_shape or grid.axis.volume_shape:
            raise ImageError(OTHER_MESH_MSG.format(here=self.grid, there=grid))
        moved = np.zeros((len(grid.axis), whole.shape[1]), dtype=np.float32)
        for name, n_vertices in meshes.items():
            there = np.zeros((n_vertices, whole.shape[1]), dtype=np.float32)
            mine, theirs = self.axis.name == name, grid.axis.name == name
            there[self.axis.vertex[mine]] = whole[mine]
            moved[theirs] = there[grid.axis.vertex[theirs]]
        return moved

    def write(self, values: NDArray[Any], path: Path) -> None:
        """Write maps as one CIFTI file, and as one GIFTI file per hemisphere next to it."""
        whole = self._whole(values)
        name = path.name.partition(".")[0]
        names = component_names(whole.shape[1]) if values.ndim == 2 else [name]
        write_scalars(whole, names, self.axis, path)
        write_hemispheres(path)

    def write_labels(
        self, labels: NDArray[np.int16], colours: Sequence[Colour], path: Path
    ) -> None:
        """Write a label map with names and colours as CIFTI, and as GIFTI per hemisphere."""
        names = component_names(len(colours))
        write_labels(self._whole(labels)[:, 0], names, colours, self.axis, path)
        write_hemispheres(path)

    def _whole(self, values: NDArray[Any]) -> NDArray[Any]:
        whole = np.zeros((len(self.axis), *values.shape[1:]), dtype=values.dtype)
        whole[self.inside] = values
        return whole.reshape(len(whole), -1)

    @cached_property
    def _rows(self) -> BrainModelAxis:
        """The vertices and voxels that are rows."""
        return self.axis[self.inside]

    def label_table(self, W: NDArray[np.floating], labels: NDArray[np.int16]) -> pd.DataFrame:
        """Describe the part of each component in the winner-takes-all map.

        Parameters
        ----------
        W : ndarray of shape (n_rows, n_components)
        labels : ndarray of shape (n_rows,), int16

        Returns
        -------
        DataFrame
            One row per component, with the columns of :attr:`label_columns`.
        """
        n_components, rows = W.shape[1], self._rows
        peaks = np.argmax(W, axis=0)

        def count(where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(labels[where], minlength=n_components + 1)[1:]

        vertices = pd.array(rows.vertex[peaks], dtype="Int64")
        vertices[rows.volume_mask[peaks]] = pd.NA
        return pd.DataFrame(
            {
                "index": np.arange(1, n_components + 1),
                "name": component_names(n_components),
                f"n_{self.grid.elements}": count(np.ones(len(labels), dtype=bool)),
                "n_left": count(rows.name == CORTEX["L"]),
                "n_right": count(rows.name == CORTEX["R"]),
                "peak_structure": [_plain(name) for name in rows.name[peaks]],
                "peak_vertex": vertices,
            }
        )

    def mirrored_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose mirror vertex is in the mask, and those mirror rows.

        In fsLR, vertices with the same number correspond between the hemispheres. In fsaverage they
        do not, and there are no such rows.
        """
        sizes = set(self.axis.nvertices.values())
        if len(sizes) != 1 or not sizes <= SYMMETRIC:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        row_of = np.full((2, sizes.pop()), -1)
        for side, name in enumerate(CORTEX.values()):
            rows = np.flatnonzero(self._rows.name == name)
            row_of[side, self._rows.vertex[rows]] = rows
        both = row_of[:, (row_of >= 0).all(axis=0)]
        return np.concatenate([both[0], both[1]]), np.concatenate([both[1], both[0]])

    def n_pieces(self, labels: NDArray[np.integer]) -> NDArray[np.number]:
        """Return the number of connected pieces of each part.

        Vertices are connected by the edges of the mesh; voxels if they share a face, an edge or a
        corner.

        Parameters
        ----------
        labels : ndarray of shape (n_rows,), integer
            Number of the part of each row, from 1; 0 for no part.

        Returns
        -------
        ndarray of shape (labels.max(),)
            NaN if the edges of the mesh are not known.
        """
        n_parts, pairs = int(labels.max()), self._neighbours
        if pairs is None:
            return np.full(n_parts, np.nan)
        first, second = pairs[labels[pairs[:, 0]] == labels[pairs[:, 1]]].T
        graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(labels),) * 2)
        pieces = connected_components(graph, directed=False)[1]
        one_row_of_each = np.unique(pieces, return_index=True)[1]
        return np.bincount(labels[one_row_of_each], minlength=n_parts + 1)[1:]

    @cached_property
    def _neighbours(self) -> NDArray[np.int64] | None:
        """Pairs of neighbouring rows, shape (n_pairs, 2); None if the mesh is not known."""
        found = []
        for side, name in CORTEX.items():
            if name not in self.axis.nvertices:
                continue
            n_vertices = self.axis.nvertices[name]
            triangles = faces(n_vertices, side)
            if triangles is None:
                return None
            rows, row_of = np.flatnonzero(self._rows.name == name), np.full(n_vertices, -1)
            row_of[self._rows.vertex[rows]] = rows
            pairs = row_of[edges(triangles)]
            found.append(pairs[(pairs >= 0).all(axis=1)])
        voxels = np.flatnonzero(self._rows.volume_mask)
        if len(voxels):
            near = KDTree(self._rows.voxel[voxels]).query_pairs(NEIGHBOURS, output_type="ndarray")
            found.append(voxels[near])
        return np.concatenate(found)


def _plain(name: str) -> str:
    """Return a structure of CIFTI in words."""
    short = str(name).removeprefix("CIFTI_STRUCTURE_")
    return STRUCTURES.get(short, short.lower().replace("_", " "))


def open_mask(path: Path) -> Mask:
    """Open a mask that :meth:`Grid.write_mask` wrote.

    Raises
    ------
    ImageError
        The file is missing or is not a CIFTI file with one map.
    """
    return Mask(read_axis(path), read_values(path) != 0)
