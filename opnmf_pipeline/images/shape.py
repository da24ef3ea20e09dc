"""The symmetry of components: how well left and right agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.images.space import Mask

__all__ = ["symmetry"]


def symmetry(W: NDArray[np.floating], mask: Mask) -> NDArray[np.float64]:
    """Return how well the mirror image of each component is a component.

    With w' the component w mirrored (left and right exchanged), this is the largest Pearson
    correlation of w' with a component: with w itself where it is bilateral, with its partner on
    the other side where the two hemispheres have one each. Only rows count whose mirror place is
    in the mask.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    mask : Mask
        The mask that the rows came from.

    Returns
    -------
    ndarray of shape (n_components,), float64
        1 for perfect symmetry; NaN where a component is constant in these rows, or where there
        are none.
    """
    rows, mirrored = mask.mirrored_rows()
    if len(rows) == 0:
        return np.full(W.shape[1], np.nan)
    correlations = _standardized(W[mirrored]).T @ _standardized(W[rows])
    constant = np.isnan(correlations).all(axis=1)
    largest: NDArray[np.float64] = np.where(np.isnan(correlations), -np.inf, correlations).max(1)
    largest[constant] = np.nan
    return largest


def _standardized(W: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns of mean 0 and norm 1, NaN where a column is constant."""
    centred = W - W.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(centred, axis=0)
    constant = W.max(axis=0) == W.min(axis=0)
    standardized: NDArray[np.float64] = centred / np.where(constant, np.nan, norms)
    return standardized
