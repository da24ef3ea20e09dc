"""Rows of the factorization back in the brain: component maps, labels and their table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from opnmf_pipeline.images.volumes import open_image, set_space

__all__ = ["component_names", "label_table", "masked", "unmasked"]


def component_names(n_components: int) -> list[str]:
    """Name components by their number, with equal width.

    Examples
    --------
    >>> component_names(10)[-2:]
    ['component09', 'component10']
    """
    width = max(2, len(str(n_components)))
    return [f"component{number:0{width}d}" for number in range(1, n_components + 1)]


def unmasked(values: NDArray[Any], mask: Any) -> Any:
    """Put rows of the matrix back into the brain.

    Parameters
    ----------
    values : ndarray of shape (n_voxels,) or (n_voxels, n_volumes)
    mask : nibabel image
        The mask that the rows came from.

    Returns
    -------
    Nifti1Image
        3D or 4D with the dtype of ``values``, zero outside the mask, in the space of the mask.
    """
    inside = np.asarray(mask.dataobj) != 0
    data = np.zeros(mask.shape + values.shape[1:], dtype=values.dtype)
    data[inside] = values
    image = nb.Nifti1Image(data, mask.affine)
    set_space(image, int(mask.header["sform_code"]))
    return image


def masked(image_file: Path, mask_file: Path) -> NDArray[Any]:
    """Return the values of a 3D image in a mask on the same grid, shape (n_voxels,)."""
    inside = np.asarray(open_image(mask_file).dataobj) != 0
    values: NDArray[Any] = np.asarray(open_image(image_file).dataobj)[inside]
    return values


def label_table(W: NDArray[np.floating], labels: NDArray[np.int16], mask: Any) -> pd.DataFrame:
    """Describe the part of each component in the winner-takes-all map.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    labels : ndarray of shape (n_voxels,), int16
        Result of :func:`opnmf_pipeline.selection.shape.winner_takes_all`.
    mask : nibabel image
        The mask that the rows came from.

    Returns
    -------
    DataFrame
        One row per component: ``index``, ``name``, ``n_voxels``, ``volume`` (mm³) and the
        coordinates ``peak_x``, ``peak_y``, ``peak_z`` (mm) of its largest weight.
    """
    n_components = W.shape[1]
    n_voxels = np.bincount(labels, minlength=n_components + 1)[1:]
    indices = np.argwhere(np.asarray(mask.dataobj) != 0)
    peaks = apply_affine(mask.affine, indices[np.argmax(W, axis=0)])
    volume = float(np.prod(voxel_sizes(mask.affine)))
    return pd.DataFrame(
        {
            "index": np.arange(1, n_components + 1),
            "name": component_names(n_components),
            "n_voxels": n_voxels,
            "volume": np.round(n_voxels * volume, 3),
            **{f"peak_{axis}": np.round(peaks[:, i], 3) for i, axis in enumerate("xyz")},
        }
    )
