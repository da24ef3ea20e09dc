"""Numbers of components: the error against that of shuffled data, and how parts split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opnmf_pipeline.decomposition.shape import Weights

__all__ = ["gains", "hierarchy", "null_crossing", "permuted"]


def permuted(X: NDArray[np.floating], random_state: int) -> NDArray[np.floating]:
    """Return X with the voxels of each subject in an order of their own.

    Each column keeps its values, and ‖X‖ stays; what voxels have in common is gone.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        Left as it is; it may be a memory map.
    random_state : int
        Seed.

    Returns
    -------
    ndarray of shape (n_voxels, n_subjects)
        In memory, in the dtype of X.
    """
    shuffled: NDArray[np.floating] = np.random.default_rng(random_state).permuted(X, axis=0)
    return shuffled


def gains(errors: ArrayLike, ks: Sequence[int]) -> NDArray[np.float64]:
    """Return by how much the error fell with each added component.

    Parameters
    ----------
    errors : array-like of shape (..., n_ks)
        Reconstruction errors.
    ks : sequence of int
        Numbers of components, increasing.

    Returns
    -------
    ndarray of shape (..., n_ks), float64
        (error of the k before − error of k) / (k − the k before); NaN for the first k.

    Examples
    --------
    >>> from opnmf_pipeline.decomposition.ranks import gains
    >>> gains([10, 6, 5], [2, 4, 5])
    array([nan,  2.,  1.])
    """
    values = np.asarray(errors, dtype=np.float64)
    found = np.full(values.shape, np.nan)
    found[..., 1:] = -np.diff(values) / np.diff(ks)
    return found


def null_crossing(ks: Sequence[int], errors: ArrayLike, null_errors: ArrayLike) -> int | None:
    """Return the last k before an added component gains no more than it does on shuffled data.

    The idea is that of Frigyesi & Höglund 2008 (Cancer Informatics 6, 275-292,
    https://doi.org/10.4137/CIN.S606): beyond that k, components fit what is noise to each other.

    Parameters
    ----------
    ks : sequence of int
        Numbers of components, increasing.
    errors : array-like of shape (n_ks,)
        Reconstruction errors.
    null_errors : array-like of shape (n_ks,) or (n_permutations, n_ks)
        The same of `permuted` data.

    Returns
    -------
    int or None
        The largest k if its gain is above that of shuffled data, as all before; None if that of the
        second k is not.

    Examples
    --------
    >>> from opnmf_pipeline.decomposition.ranks import null_crossing
    >>> null_crossing([2, 3, 4, 5], [9, 6, 4, 3.9], [9, 8.5, 8, 7.5])
    4
    """
    null = np.atleast_2d(np.asarray(null_errors, dtype=np.float64)).mean(axis=0)
    above = gains(errors, ks)[1:] > gains(null, ks)[1:]
    n_above = len(above) if above.all() else int(np.argmin(above))
    return int(ks[n_above]) if n_above else None


def hierarchy(W_coarse: Weights, W_fine: Weights) -> NDArray[np.int64]:
    """Count the voxels that the parts of two factorizations share.

    A voxel is of the part that weighs most in it; one without weight in either is left out.

    Parameters
    ----------
    W_coarse, W_fine : ndarray of shape (n_voxels, n_components)
        The numbers of components may differ.

    Returns
    -------
    ndarray of shape (k_coarse, k_fine), int64
        Row i says which parts of the second part i of the first falls into.
    """
    weighted = W_coarse.any(axis=1) & W_fine.any(axis=1)
    parts = W_coarse[weighted].argmax(axis=1), W_fine[weighted].argmax(axis=1)
    shared = np.zeros((W_coarse.shape[1], W_fine.shape[1]), dtype=np.int64)
    np.add.at(shared, parts, 1)
    return shared
