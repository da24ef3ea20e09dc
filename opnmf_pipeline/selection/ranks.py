"""Numbers of components: the error against that of shuffled data, and how parts split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opnmf_pipeline.selection.shape import Weights

__all__ = ["elbow", "gains", "hierarchy", "null_lead", "permuted"]

MARGIN = 0.2
"""Components have to gain so much more than on shuffled data, as a share of what they gain there.

Of 31 matrices without structure (300 by 40 to 3000 by 60, k up to 10, one permutation), the search
found some in 16 of 17 without a margin, in 4 of 31 with 0.1, and in none with 0.2.
"""


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
    >>> from opnmf_pipeline.selection.ranks import gains
    >>> gains([10, 6, 5], [2, 4, 5])
    array([nan,  2.,  1.])
    """
    values = np.asarray(errors, dtype=np.float64)
    found = np.full(values.shape, np.nan)
    found[..., 1:] = -np.diff(values) / np.diff(ks)
    return found


def null_lead(errors: ArrayLike, null_errors: ArrayLike) -> NDArray[np.float64]:
    """Return how much further the error fell than it did, with a margin, on shuffled data.

    It rises from one k to the next where the components between gain at least a fifth more than on
    shuffled data, and is largest at the k beyond which no number of further components does. So it
    passes over a fit that ended in a poor local optimum, where Frigyesi & Höglund 2008 (Cancer
    Informatics 6, 275-292, https://doi.org/10.4137/CIN.S606), whose idea this is, take the first k
    with a gain below that of shuffled data.

    Parameters
    ----------
    errors : array-like of shape (n_ks,)
        Reconstruction errors, by increasing number of components.
    null_errors : array-like of shape (n_ks,)
        The same of `permuted` data.

    Returns
    -------
    ndarray of shape (n_ks,), float64
        0 at the first k.

    Examples
    --------
    >>> from opnmf_pipeline.selection.ranks import null_lead
    >>> null_lead([9, 6, 4, 3.9], [9, 8.5, 8, 7.5])
    array([0. , 2.4, 3.8, 3.3])
    """
    error, null = np.asarray(errors, dtype=np.float64), np.asarray(null_errors, dtype=np.float64)
    lead: NDArray[np.float64] = (error[0] - error) - (1 + MARGIN) * (null[0] - null)
    return lead


def elbow(ks: Sequence[int], errors: ArrayLike) -> int:
    """Return the k at which the error lies furthest below a straight line from first to last.

    The "kneedle" of Satopää et al. 2011 (ICDCS Workshops, 166-171,
    https://doi.org/10.1109/ICDCSW.2011.20) without smoothing. It depends on the range of k.

    Parameters
    ----------
    ks : sequence of int
        Numbers of components, increasing.
    errors : array-like of shape (n_ks,)
        Reconstruction errors.

    Examples
    --------
    >>> from opnmf_pipeline.selection.ranks import elbow
    >>> elbow([2, 4, 6, 8, 10], [10, 6, 2, 1, 0])
    6
    """
    values = np.asarray(errors, dtype=np.float64)
    share = (np.asarray(ks) - ks[0]) / max(ks[-1] - ks[0], 1)
    return int(ks[int(np.argmax(values[0] + share * (values[-1] - values[0]) - values))])


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
