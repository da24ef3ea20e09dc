"""The symmetry of components between left and right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.images.space import Mask

__all__ = ["symmetry"]


def symmetry(W: NDArray[np.floating], mask: Mask) -> NDArray[np.float64]:
    """Return how closely the mirror image of each component matches a component.

    This is the largest Pearson correlation between the mirror image of a component (left and right
    exchanged) and any component. For a bilateral component, that is the component itself; for a
    component in one hemisphere, its counterpart in the other. Rows are used only if the mirror
    place is in the mask.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    mask : Mask
        The mask that the rows came from.

    Returns
    -------
    ndarray of shape (n_components,), float64
        1 for perfect symmetry; NaN if a component is constant in these rows, or if there are no
        such rows.
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
