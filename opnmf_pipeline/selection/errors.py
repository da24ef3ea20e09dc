"""Reconstruction errors relative to the norm of the data, about zero or about a mean image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "column_norms",
    "explained_variance",
    "mean_image",
    "n_missing",
    "norm",
    "relative_errors",
    "residual_norms",
]

BLOCK_ROWS = 4096
"""So many rows of the matrix are in memory in float64 at once."""


def norm(X: NDArray[np.floating], mean: NDArray[np.float64] | None = None) -> float:
    """Return ‖X − m1ᵀ‖, the Frobenius norm of the data about a mean image m, or ‖X‖.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        Differences and sums are float64 for every dtype. Missing values (NaN) are left out.
    mean : ndarray of shape (n_voxels,), float64, optional
        Mean image. Default: zero.
    """
    total = 0.0
    for first in range(0, X.shape[0], BLOCK_ROWS):
        block = X[first : first + BLOCK_ROWS].astype(np.float64)
        if mean is not None:
            block -= mean[first : first + BLOCK_ROWS, np.newaxis]
        total += float(np.nansum(np.square(block)))
    return float(np.sqrt(total))


def mean_image(X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean of each row over its observed values; 0 for a row without any.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        NaN is a missing value. May be a memory map, which is read in blocks of rows.
    """
    means = np.empty(X.shape[0])
    for first in range(0, X.shape[0], BLOCK_ROWS):
        block = X[first : first + BLOCK_ROWS]
        n_observed = block.shape[1] - np.isnan(block).sum(axis=1)
        sums = np.nansum(block, axis=1, dtype=np.float64)
        means[first : first + BLOCK_ROWS] = sums / np.maximum(n_observed, 1)
    return means


def n_missing(X: NDArray[np.floating]) -> int:
    """Return the number of missing values (NaN)."""
    starts = range(0, X.shape[0], BLOCK_ROWS)
    return sum(int(np.isnan(X[first : first + BLOCK_ROWS]).sum()) for first in starts)


def residual_norms(
    X: NDArray[np.floating], W: NDArray[np.floating], H: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return ‖x − Wh‖ of each subject over its observed values.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        NaN is a missing value. May be a memory map, which is read in blocks of rows.
    W : ndarray of shape (n_voxels, n_components)
    H : ndarray of shape (n_components, n_subjects)

    Returns
    -------
    ndarray of shape (n_subjects,), float64
    """
    squares = np.zeros(X.shape[1])
    for first in range(0, X.shape[0], BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        squares += np.nansum(np.square(X[rows] - W[rows] @ H), axis=0, dtype=np.float64)
    return np.sqrt(squares)


def column_norms(X: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Euclidean norm of each column of X, shape (n_subjects,), float64.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        Sums are float64 for every dtype. Missing values (NaN) are left out.
    """
    squares = np.zeros(X.shape[1])
    for first in range(0, X.shape[0], BLOCK_ROWS):
        squares += np.nansum(np.square(X[first : first + BLOCK_ROWS].astype(np.float64)), axis=0)
    norms: NDArray[np.float64] = np.sqrt(squares)
    return norms


def explained_variance(error: float, norm: float) -> float:
    """Return 1 − (error / norm)²; NaN if the norm is zero, because nothing varies.

    With the norm about the mean image this is R²: 0 for the mean image itself, 1 without any error,
    and negative for components that describe the subjects worse than the mean image does.
    """
    return 1 - (error / norm) ** 2 if norm > 0 else float("nan")


def relative_errors(
    norms: NDArray[np.floating], loadings: NDArray[np.floating], gram: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ‖x − Wh‖ / ‖x‖ of each subject, from ‖x‖² − 2‖h‖² + hᵀWᵀWh with h = Wᵀx.

    With loadings in float32, the square of the result has an error of about 1e-7.

    Parameters
    ----------
    norms : ndarray of shape (n_subjects,)
        ‖x‖, the Euclidean norm of each column of X.
    loadings : ndarray of shape (n_subjects, n_components)
        Hᵀ, where H = WᵀX.
    gram : ndarray of shape (n_components, n_components), float64
        WᵀW.

    Returns
    -------
    ndarray of shape (n_subjects,), float64
        Not negative; zero for a subject whose norm is zero.
    """
    squares = norms.astype(np.float64) ** 2
    H = loadings.astype(np.float64)
    left = squares - 2 * (H**2).sum(axis=1) + np.einsum("ij,jk,ik->i", H, gram, H)
    errors: NDArray[np.float64] = np.sqrt(np.maximum(left, 0) / np.where(squares > 0, squares, 1))
    return errors
