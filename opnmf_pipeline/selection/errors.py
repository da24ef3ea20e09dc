"""Reconstruction error of each subject, computed without the images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["relative_errors"]


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
