"""How components lie in the brain: their symmetry, and the pieces that their parts fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label

from opnmf_pipeline.images.maps import unmasked

__all__ = ["n_pieces", "symmetry"]


def symmetry(W: NDArray[np.floating], mask: Any) -> NDArray[np.float64]:
    """Return how well the mirror image of each component is a component.

    With w' the component w mirrored in the plane x = 0 of the world (left and right exchanged),
    this is the largest Pearson correlation of w' with a component: with w itself where it is
    bilateral, with its partner on the other side where the two hemispheres have one each. Only
    voxels count whose mirror image (its nearest voxel) is in the mask.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    mask : nibabel image
        The mask that the rows came from, in a space whose plane x = 0 lies between the
        hemispheres.

    Returns
    -------
    ndarray of shape (n_components,), float64
        1 for perfect symmetry; NaN where a component is constant in these voxels, or where there
        are none.
    """
    rows, mirrored = _mirrored_rows(mask)
    if len(rows) == 0:
        return np.full(W.shape[1], np.nan)
    correlations = _standardized(W[mirrored]).T @ _standardized(W[rows])
    constant = np.isnan(correlations).all(axis=1)
    largest: NDArray[np.float64] = np.where(np.isnan(correlations), -np.inf, correlations).max(1)
    largest[constant] = np.nan
    return largest


def _mirrored_rows(mask: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows whose mirror image is a row, and these."""
    inside = np.asarray(mask.dataobj) != 0
    row_of = np.full(inside.shape, -1)
    row_of[inside] = np.arange(np.count_nonzero(inside))
    positions = apply_affine(mask.affine, np.argwhere(inside))
    positions[:, 0] *= -1
    indices = np.rint(apply_affine(np.linalg.inv(mask.affine), positions)).astype(int)
    rows = np.flatnonzero(((indices >= 0) & (indices < inside.shape)).all(axis=1))
    mirrored = row_of[tuple(indices[rows].T)]
    return rows[mirrored >= 0], mirrored[mirrored >= 0]


def _standardized(W: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns of mean 0 and norm 1, NaN where a column is constant."""
    centred = W - W.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(centred, axis=0)
    constant = W.max(axis=0) == W.min(axis=0)
    standardized: NDArray[np.float64] = centred / np.where(constant, np.nan, norms)
    return standardized


def n_pieces(labels: NDArray[np.integer], mask: Any) -> NDArray[np.int64]:
    """Return the number of connected pieces of each part.

    Voxels are connected that share a face, an edge or a corner.

    Parameters
    ----------
    labels : ndarray of shape (n_voxels,), integer
        Number of the part of each voxel, from 1; 0 where it has none.
    mask : nibabel image
        The mask that the rows came from.

    Returns
    -------
    ndarray of shape (labels.max(),), int64
        0 for a part without voxels.
    """
    volume = np.asarray(unmasked(labels, mask).dataobj)
    neighbours = generate_binary_structure(3, 3)
    counts = [
        0 if box is None else label(volume[box] == part, neighbours)[1]
        for part, box in enumerate(find_objects(volume), start=1)
    ]
    return np.array(counts, dtype=np.int64)
