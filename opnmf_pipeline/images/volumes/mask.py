"""The mask of volumes: voxels as rows of a matrix, and rows as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray
from scipy.ndimage import (
    distance_transform_edt,
    find_objects,
    generate_binary_structure,
    label,
)

from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Colour
from opnmf_pipeline.images.volumes.files import load, open_image, read_all, set_space
from opnmf_pipeline.images.volumes.grid import Grid, resampled
from opnmf_pipeline.images.volumes.standard import MNI_CODE, NAME, space_code

__all__ = ["Mask", "open_mask"]

RIM_MM = 3.0
"""Depth of the rim below the edge of the brain mask; a rim of partial volumes is this thick."""


@dataclass(frozen=True, eq=False)
class Mask:
    """The voxels of the analysis: rows of the matrix, in C order of the grid.

    Parameters
    ----------
    image : nibabel image
        3D image, not zero in the mask. Its voxels are read when they are first needed.
    """

    image: Any

    label_columns: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "index": {"Description": "Value in the label map; 0 means no component"},
        "name": {"Description": "Name of the component"},
        "n_voxels": {
            "Description": "Number of voxels in which the component has the largest weight"
        },
        "volume": {"Description": "Volume of these voxels", "Units": "mm^3"},
        "peak_x": {"Description": "First coordinate of the largest weight", "Units": "mm"},
        "peak_y": {"Description": "Second coordinate of the largest weight", "Units": "mm"},
        "peak_z": {"Description": "Third coordinate of the largest weight", "Units": "mm"},
        "grey_matter": {
            "Description": "Mean grey-matter density of the MNI152 template in these voxels; only "
            "in MNI152 space, like the columns after it"
        },
        "white_matter": {
            "Description": "Mean white-matter density of the MNI152 template in these voxels"
        },
        "csf_or_outside": {
            "Description": "Mean share of neither grey nor white matter in these voxels: "
            "cerebrospinal fluid or outside the brain"
        },
        "rim": {
            "Description": f"Share of these voxels that is within {RIM_MM:g} mm of the edge of the "
            "MNI152 brain mask (or within one voxel, if voxels are larger), or outside it"
        },
    }

    @property
    def grid(self) -> Grid:
        """Grid of the mask."""
        return Grid.of(self.image)

    @property
    def in_standard_space(self) -> bool:
        """Whether the mask is in MNI152 space."""
        return space_code(self.image) == MNI_CODE

    @property
    def template_space(self) -> str | None:
        """``MNI152``, or None if the mask is in another space."""
        return NAME if self.in_standard_space else None

    @property
    def resolution(self) -> str:
        """Edge of the voxels, such as ``res-3mm`` or ``res-1p5mm``; empty if edges differ."""
        edges = {f"{edge:g}" for edge in self.grid.spacing}
        return f"res-{edges.pop().replace('.', 'p')}mm" if len(edges) == 1 else ""

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each voxel is a row, an array of ``grid.shape``."""
        inside: NDArray[np.bool_] = read_all(self.image, self.image.get_filename()) != 0
        return inside.reshape(self.grid.shape)

    def masked(self, path: Path) -> NDArray[Any]:
        """Return the values of an image inside the mask.

        Parameters
        ----------
        path : path
            3D or 4D image on the grid of the mask.

        Returns
        -------
        ndarray of shape (n_voxels,) or, for a 4D image, (n_voxels, n_volumes)
            In the dtype of the image.

        Raises
        ------
        ImageError
            The file is missing or is not an image.
        """
        values: NDArray[Any] = read_all(load(path), path)[self.inside]
        return values

    def unmasked(self, values: NDArray[Any]) -> Any:
        """Return rows of the matrix as an image.

        Parameters
        ----------
        values : ndarray of shape (n_voxels,) or (n_voxels, n_volumes)

        Returns
        -------
        Nifti1Image
            3D or 4D with the dtype of ``values``, zero outside the mask, in the space of the mask.
        """
        data = np.zeros(self.grid.shape + values.shape[1:], dtype=values.dtype)
        data[self.inside] = values
        image = nb.Nifti1Image(data, self.image.affine)
        set_space(image, int(self.image.header["sform_code"]))
        return image

    def moved_to(self, grid: Grid, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return maps on another grid: linear interpolation, antialiased; 0 outside.

        Parameters
        ----------
        grid : Grid
            The other grid, in the same coordinates in mm.
        values : ndarray of shape (n_voxels, n_maps)

        Returns
        -------
        ndarray of shape (*grid.shape, n_maps), float32
        """
        same = self.grid.same_as(grid)
        moved = np.empty((*grid.shape, values.shape[1]), dtype=np.float32)
        for number, column in enumerate(values.T):  # one map in memory at a time
            image = self.unmasked(column.astype(np.float32))
            moved[..., number] = image.dataobj if same else resampled(image, grid)
        return moved

    def write(self, values: NDArray[Any], path: Path) -> None:
        """Write the image that :meth:`unmasked` returns."""
        self.unmasked(values).to_filename(path)

    def write_labels(
        self, labels: NDArray[np.int16], colours: Sequence[Colour], path: Path
    ) -> None:
        """Write a label map; NIfTI files have no colours."""
        self.write(labels, path)

    def label_table(self, W: NDArray[np.floating], labels: NDArray[np.int16]) -> pd.DataFrame:
        """Describe the part of each component in the winner-takes-all map.

        Parameters
        ----------
        W : ndarray of shape (n_voxels, n_components)
        labels : ndarray of shape (n_voxels,), int16
            Result of :func:`opnmf_pipeline.selection.shape.winner_takes_all`.

        Returns
        -------
        DataFrame
            One row per component: ``index``, ``name``, ``n_voxels``, ``volume`` (mm³), the
            coordinates ``peak_x``, ``peak_y``, ``peak_z`` (mm) of its largest weight, and in
            MNI152 space the :meth:`composition` of its part.
        """
        n_components = W.shape[1]
        n_voxels = np.bincount(labels, minlength=n_components + 1)[1:]
        peaks = self.positions()[np.argmax(W, axis=0)]
        volume = float(np.prod(voxel_sizes(self.image.affine)))
        table = pd.DataFrame(
            {
                "index": np.arange(1, n_components + 1),
                "name": component_names(n_components),
                "n_voxels": n_voxels,
                "volume": np.round(n_voxels * volume, 3),
                **{f"peak_{axis}": np.round(peaks[:, i], 3) for i, axis in enumerate("xyz")},
            }
        )
        parts = labels[:, np.newaxis] == table["index"].to_numpy()
        tissues = self.composition(parts)
        return table if tissues is None else pd.concat([table, tissues.round(4)], axis=1)

    def composition(self, weights: NDArray[Any]) -> pd.DataFrame | None:
        """Return how maps are divided among tissues of the MNI152 template.

        Parameters
        ----------
        weights : ndarray of shape (n_voxels, n_maps)
            Non-negative.

        Returns
        -------
        DataFrame or None
            One row per map. ``grey_matter``, ``white_matter`` and ``csf_or_outside`` are shares of
            the sum of the weights, and add up to 1; ``rim`` is the share within 3 mm (or one voxel)
            of the edge of the brain mask, or outside it. NaN for a map of zeros. None if the mask
            is not in MNI152 space.
        """
        if not self.in_standard_space:
            return None
        total = weights.sum(axis=0, dtype=np.float64)
        shares = self._tissues.to_numpy().T @ weights / np.where(total > 0, total, np.nan)
        return pd.DataFrame(shares.T, columns=self._tissues.columns)

    @cached_property
    def _tissues(self) -> pd.DataFrame:
        """Share of each tissue in each voxel of the mask."""
        grey = np.clip(self.grid.read_template(), 0, 1)[self.inside]
        white = np.clip(self.grid.read_white_matter(), 0, 1)[self.inside]
        tissue = np.maximum(grey + white, 1)  # interpolation can add up to slightly more than 1
        grey, white = grey / tissue, white / tissue
        edges = self.grid.spacing
        brain = self.grid.read_brain()
        depth = np.full(brain.shape, np.inf)  # the field of view may lie inside the brain
        if not brain.all():
            depth = distance_transform_edt(brain, sampling=edges)
        return pd.DataFrame(
            {
                "grey_matter": grey,
                "white_matter": white,
                "csf_or_outside": 1 - grey - white,
                "rim": (depth[self.inside] <= max(RIM_MM, *edges)).astype(float),
            }
        )

    def positions(self) -> NDArray[np.float64]:
        """Return the coordinates of the voxels in mm, shape (n_voxels, 3)."""
        positions: NDArray[np.float64] = apply_affine(self.image.affine, np.argwhere(self.inside))
        return positions

    @property
    def hemispheres(self) -> NDArray[np.int8]:
        """Hemisphere of each row: −1 left, 1 right, 0 at x = 0 mm, between them."""
        return np.sign(np.round(self.positions()[:, 0], 3)).astype(np.int8)

    def mirrored_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose mirror voxel is in the mask, and those mirror rows.

        The mirror is the plane x = 0 mm between the hemispheres. The mirror voxel is the voxel
        nearest to the mirrored position.
        """
        row_of = np.full(self.inside.shape, -1)
        row_of[self.inside] = np.arange(np.count_nonzero(self.inside))
        positions = self.positions()
        positions[:, 0] *= -1
        indices = np.rint(apply_affine(np.linalg.inv(self.image.affine), positions)).astype(int)
        rows = np.flatnonzero(((indices >= 0) & (indices < self.inside.shape)).all(axis=1))
        mirrored = row_of[tuple(indices[rows].T)]
        return rows[mirrored >= 0], mirrored[mirrored >= 0]

    def n_pieces(self, labels: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the number of connected pieces of each part.

        Voxels are connected if they share a face, an edge or a corner.

        Parameters
        ----------
        labels : ndarray of shape (n_voxels,), integer
            Number of the part of each voxel, from 1; 0 for no part.

        Returns
        -------
        ndarray of shape (labels.max(),), int64
            0 for a part without voxels.
        """
        volume = np.zeros(self.grid.shape, dtype=labels.dtype)
        volume[self.inside] = labels
        neighbours = generate_binary_structure(3, 3)
        counts = [
            0 if box is None else label(volume[box] == part, neighbours)[1]
            for part, box in enumerate(find_objects(volume), start=1)
        ]
        return np.array(counts, dtype=np.int64)


def open_mask(path: Path) -> Mask:
    """Open a mask that :meth:`Grid.write_mask` wrote, without reading its voxels.

    Raises
    ------
    ImageError
        The file is missing or is not a 3D image.
    """
    return Mask(open_image(path))
