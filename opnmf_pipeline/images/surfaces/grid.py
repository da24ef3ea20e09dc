"""The vertices of surfaces (and voxels of CIFTI files), and the images and masks read on them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.cleaning import cleaned
from opnmf_pipeline.images.space import WORDS, ImageMask, StandardSpace
from opnmf_pipeline.images.surfaces.files import CORTEX, read_axis, read_values
from opnmf_pipeline.images.surfaces.labels import read_regions
from opnmf_pipeline.images.surfaces.masks import read_inside
from opnmf_pipeline.images.surfaces.meshes import PLACED, mesh_name
from opnmf_pipeline.images.surfaces.moving import on_axis
from opnmf_pipeline.images.surfaces.writing import write_scalars

if TYPE_CHECKING:
    from opnmf_pipeline.config import MatrixConfig

__all__ = ["Grid", "analysis_grid", "check_grids", "standard_space"]

N_NAMED = 3
GRID_MSG = (
    "{n} of {total} images do not have the vertices of {reference} ({want}):\n{named}\n"
    "drop these subjects, or resample their images to one mesh with mri_surf2surf (FreeSurfer), "
    "wb_command -metric-resample (Connectome Workbench) or neuromaps"
)
OTHER_VERTICES = "{grid}, but other vertices or voxels (another medial wall)"
SPATIAL_MSG = (
    "matrix.{setting}: surfaces are not {done} here; use {tools} before the run, and remove the "
    "setting"
)
SPATIAL = {
    "resample": ("resampled", "mri_surf2surf, wb_command -metric-resample or neuromaps"),
    "voxel_size": ("resampled", "mri_surf2surf, wb_command -metric-resample or neuromaps"),
    "smoothing_fwhm": ("smoothed", "mri_surf2surf or wb_command -metric-smoothing"),
}
"""Settings of the matrix that change volumes only: what they do, and the tools for surfaces."""
OTHER_164K = 163842
FS_LR = re.compile(r"fs_?LR")
OTHER_164K_MSG = (
    "{path}: its name says that it is on fsLR 164k, which has as many vertices as fsaverage and "
    "would be taken for it; resample the images to fsLR 32k (wb_command -metric-resample)"
)
TEMPLATE_MSG = (
    "mask.method: template: surfaces have no template; use mean, coverage or image (such as the "
    "cortex without the medial wall)"
)

BRAIN_MSG = (
    "mask.within: surfaces are not compared with the brain of a template; remove the setting, or "
    "set mask.within: none"
)
MASK_MESH_MSG = "{path}: its mask {mask} has other vertices; give a mask on the mesh of the image"


@dataclass(frozen=True, eq=False)
class Grid:
    """Vertices of the left and the right hemisphere, then the voxels of a CIFTI file.

    Parameters
    ----------
    axis : BrainModelAxis
        The vertices and voxels.
    """

    axis: BrainModelAxis

    words = WORDS
    in_space = True
    template = "the template"
    brain = "the brain of the template"

    @property
    def element(self) -> str:
        """``vertex``, or ``grayordinate`` if there are voxels."""
        return "grayordinate" if self.axis.volume_shape else "vertex"

    @property
    def elements(self) -> str:
        """``vertices``, or ``grayordinates`` if there are voxels."""
        return "grayordinates" if self.axis.volume_shape else "vertices"

    @property
    def has_coordinates(self) -> bool:
        """Whether the package has the coordinates of the vertices: those of fsaverage3 to 5."""
        return set(self.axis.nvertices.values()) <= set(PLACED)

    @property
    def shape(self) -> tuple[int]:
        """Number of vertices and voxels."""
        return (len(self.axis),)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Return an empty tuple, because the distance between vertices varies."""
        return ()

    def __str__(self) -> str:
        meshes = self.axis.nvertices
        n_voxels = int(np.count_nonzero(self.axis.volume_mask))
        names = {side: meshes[name] for side, name in CORTEX.items() if name in meshes}
        sizes = " and ".join(dict.fromkeys(f"{n} ({mesh_name(n)})" for n in names.values()))
        which = {"LR": "per hemisphere", "L": "in the left", "R": "in the right"}[
            "".join(names) or "LR"
        ]
        text = f"{sizes} vertices {which}"
        n_vertices = len(self.axis) - n_voxels
        if n_vertices < sum(names.values()):
            text += f", {n_vertices} of them with values"
        return f"{text}, {n_voxels} voxels" if n_voxels else text

    def same_as(self, other: Grid) -> bool:
        """Tell whether both grids have the same vertices and voxels in the same order."""
        # equal axes are one object, unless they come from another process
        return self.axis is other.axis or bool(self.axis == other.axis)

    def describe(self) -> dict[str, Any]:
        """Return the description of the grid for the sidecar of a matrix."""
        places = hashlib.sha256(self.axis.vertex.tobytes() + self.axis.voxel.tobytes())
        return {
            "GridShape": [len(self.axis)],
            "Structures": {
                str(name): rows.stop - rows.start if rows.stop else len(self.axis) - rows.start
                for name, rows, _ in self.axis.iter_structures()
            },
            "VerticesOfMeshes": {str(name): int(n) for name, n in self.axis.nvertices.items()},
            "PlacesSHA256": places.hexdigest(),
        }

    def read(
        self, path: str | Path, options: MatrixConfig, mask: ImageMask | None = None
    ) -> NDArray[np.float32]:
        """Read one subject's image.

        Parameters
        ----------
        path : path
            Image with the vertices of the grid.
        options : MatrixConfig
            ``nan`` is applied first (after ``mask``), then ``negative: clip``.
        mask : ImageMask, optional
            Mask with the vertices of the image; its vertices become NaN.

        Returns
        -------
        ndarray of shape ``shape``, float32

        Raises
        ------
        ImageError
            A file is damaged, or the mask has other vertices.
        """
        values = read_values(path)
        if mask is not None:
            if read_axis(mask.path) != self.axis:
                raise ImageError(MASK_MESH_MSG.format(path=path, mask=mask.path))
            missing = mask.missing(read_values(mask.path))
            values = np.where(missing, np.float32(np.nan), values)
        return cleaned(values, options)

    def read_template(self) -> NDArray[np.floating]:
        """Raise an error: surfaces have no template."""
        raise ImageError(TEMPLATE_MSG)

    def read_brain(self) -> NDArray[np.bool_]:
        """Raise an error: surfaces have no template."""
        raise ImageError(BRAIN_MSG)

    def read_labels(self, path: Path, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return the region of an atlas at each vertex and voxel; 0 for no region.

        Parameters
        ----------
        path : path
            Labels of the hemispheres.
        regions : DataFrame
            Not used: the file contains the names.

        Returns
        -------
        ndarray of shape ``shape``, int64

        Raises
        ------
        ImageError
            The file has no labels, or is on another mesh.
        """
        axis, labels, _ = read_regions(path)
        return on_axis(labels, axis, self.axis, f"report.atlas: {path}")

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """Return which vertices and voxels are in a mask image of the user.

        Raises
        ------
        ImageError
            The mask is damaged or is on another mesh.
        """
        return read_inside(path, self.axis)

    def write_mask(self, inside: NDArray[np.bool_], reference: str | Path, out_file: Path) -> None:
        """Write a mask as CIFTI (uint8); the reference image is not used."""
        write_scalars(inside[:, None].astype(np.uint8), ["mask"], self.axis, out_file)


def check_grids(
    paths: Iterable[str | Path],
    reference: str | Path,
    *,
    name: str = "",
    resampled: bool = False,
    remedy: str = "",
) -> None:
    """Require that every image has the vertices of a reference image.

    Parameters
    ----------
    paths : iterable of path
        The images.
    reference : path
        Image whose vertices are compared.
    name : str
        What the reference is called in messages. Default: its path.
    resampled : bool
        Not used: surfaces are not resampled.
    remedy : str
        Not used: the message names the programs that resample surfaces.

    Raises
    ------
    ImageError
        Images are damaged or have other vertices; names the first ones and their number.
    """
    paths, want = list(paths), Grid(read_axis(reference))
    odd: list[str] = []
    for path in paths:
        grid = Grid(read_axis(path))
        if not grid.same_as(want):
            found = str(grid) if str(grid) != str(want) else OTHER_VERTICES.format(grid=grid)
            odd.append(f"  {path}: {found}")
    if odd:
        named = "\n".join(odd[:N_NAMED] + ["  ..."] * (len(odd) > N_NAMED))
        raise ImageError(
            GRID_MSG.format(
                n=len(odd), total=len(paths), reference=name or reference, want=want, named=named
            )
        )


def analysis_grid(first: str | Path, mask_image: Path | None, options: MatrixConfig) -> Grid:
    """Return the vertices of the first image; a mask of the user does not change them.

    Raises
    ------
    ImageError
        A setting would resample or smooth the images, or the images are on fsLR 164k.
    """
    for setting, (done, tools) in SPATIAL.items():
        if getattr(options, setting) is not None:
            raise ImageError(SPATIAL_MSG.format(setting=setting, done=done, tools=tools))
    axis = read_axis(first)
    if OTHER_164K in axis.nvertices.values() and FS_LR.search(Path(first).name):
        raise ImageError(OTHER_164K_MSG.format(path=first))
    return Grid(axis)


def standard_space(path: str | Path) -> StandardSpace | None:
    """Return None: there are no templates for surfaces."""
    return None
