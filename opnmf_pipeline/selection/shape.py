"""Measures of one factorization: its parts, and the sparsity and overlap of its components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "hoyer_sparsity",
    "largest_overlap",
    "nearest_columns",
    "unit_columns",
    "winner_takes_all",
]

Weights = NDArray[np.floating]


def unit_columns(W: Weights) -> NDArray[np.float64]:
    """Return W with columns of norm 1, as a float64 copy; columns of zeros are unchanged."""
    unit = W.astype(np.float64)
    norms = np.linalg.norm(unit, axis=0)
    unit /= np.where(norms > 0, norms, 1)
    return unit


def hoyer_sparsity(W: Weights) -> NDArray[np.float64]:
    """Return the sparsity of each column: 0 if all entries are equal, 1 if one is not zero.

    (√n − ‖w‖₁ / ‖w‖₂) / (√n − 1); Hoyer 2004, J. Mach. Learn. Res. 5, 1457-1469.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    ndarray of shape (n_components,), float64
    """
    root = np.sqrt(W.shape[0])
    sparsity: NDArray[np.float64] = (root - np.abs(unit_columns(W)).sum(axis=0)) / (root - 1)
    return sparsity


def largest_overlap(W: Weights) -> float:
    """Return the largest cosine between two columns: 0 if WᵀW is diagonal.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    """
    unit = unit_columns(W)
    cosines = unit.T @ unit
    np.fill_diagonal(cosines, 0)
    return float(np.abs(cosines).max(initial=0.0))


def nearest_columns(
    gram: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return, for each column, the other column with the largest cosine, and that cosine.

    Parameters
    ----------
    gram : ndarray of shape (n_components, n_components), float64
        WᵀW, non-negative.

    Returns
    -------
    nearest : ndarray of shape (n_components,), int
        Index of the other column; 0 if all its cosines are 0.
    cosines : ndarray of shape (n_components,), float64
    """
    norms = np.sqrt(np.diag(gram))
    norms = np.where(norms > 0, norms, 1)
    cosines = gram / norms[:, np.newaxis] / norms
    np.fill_diagonal(cosines, 0)
    return cosines.argmax(axis=1), cosines.max(axis=1)


def winner_takes_all(W: Weights) -> NDArray[np.int16]:
    """Return for each voxel the component with the largest weight.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components), non-negative

    Returns
    -------
    ndarray of shape (n_voxels,), int16
        Number of the component, from 1; 0 if no component has weight.
    """
    weightless = ~W.any(axis=1)
    labels: NDArray[np.int16] = np.argmax(W, axis=1).astype(np.int16) + np.int16(1)
    labels[weightless] = 0
    return labels
