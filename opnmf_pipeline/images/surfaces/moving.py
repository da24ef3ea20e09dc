"""Values of one file on the vertices and voxels of another: masks and labels of atlases."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.cifti2 import BrainModelAxis
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.surfaces.meshes import mesh_name

__all__ = ["on_axis"]

OTHER_MESH_MSG = (
    "{file} is on {got} vertices per hemisphere ({got_name}), but the images are on {want} "
    "({want_name}); use a file on the mesh of the images"
)
OTHER_VOXELS_MSG = "{file} has voxels of a different grid than the images"


def on_axis(
    values: NDArray[Any], found: BrainModelAxis, axis: BrainModelAxis, file: str
) -> NDArray[Any]:
    """Return values on the vertices and voxels of images; zero where the file has none.

    Parameters
    ----------
    values : ndarray of shape (len(found),)
        Values of the file.
    found : BrainModelAxis
        Vertices and voxels of the file.
    axis : BrainModelAxis
        Vertices and voxels of the images.
    file : str
        The file for messages, such as ``mask.image: lh.cortex.label``.

    Returns
    -------
    ndarray of shape (len(axis),), in the dtype of ``values``

    Raises
    ------
    ImageError
        The file has another mesh or other voxels.
    """
    moved = np.zeros(len(axis), dtype=values.dtype)
    for name, rows, model in axis.iter_structures():
        if name not in axis.nvertices or name not in found.nvertices:
            continue
        want, got = axis.nvertices[name], found.nvertices[name]
        if want != got:
            names = {"got_name": mesh_name(got), "want_name": mesh_name(want)}
            raise ImageError(OTHER_MESH_MSG.format(file=file, got=got, want=want, **names))
        there, whole = found.name == name, np.zeros(want, dtype=values.dtype)
        whole[found.vertex[there]] = values[there]
        moved[rows] = whole[model.vertex]
    if axis.volume_mask.any() and found.volume_mask.any():
        if axis.volume_shape != found.volume_shape or not np.allclose(axis.affine, found.affine):
            raise ImageError(OTHER_VOXELS_MSG.format(file=file))
        volume = np.zeros(axis.volume_shape, dtype=values.dtype)
        volume[tuple(found.voxel[found.volume_mask].T)] = values[found.volume_mask]
        moved[axis.volume_mask] = volume[tuple(axis.voxel[axis.volume_mask].T)]
    return moved
