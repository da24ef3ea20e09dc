"""Measures over numbers of components: the error, compared with null data, and how parts split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from opnmf_pipeline.selection.shape import Weights

__all__ = ["elbow", "gains", "hierarchy", "null_lead", "permuted", "slower_than_null"]

MARGIN = 0.2
"""Components must reduce the error by this share more than they reduce it on shuffled data.

In a test on 31 random matrices (300 by 40 to 3000 by 60, k up to 10, one permutation), the search
reported components for 16 of 17 matrices without a margin, for 4 of 31 with 0.1, and for none with
0.2.
"""


def permuted(X: NDArray[np.floating], random_state: int) -> NDArray[np.floating]:
    """Return X with the voxels of each subject in an independent random order.

    Each column keeps its values, and ‖X‖ is unchanged. The covariance between voxels is lost.
    Missing values (NaN) stay in place.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        The data; not modified, may be a memory map.
    random_state : int
        Seed.

    Returns
    -------
    ndarray of shape (n_voxels, n_subjects)
        In memory, in the dtype of X.
    """
    rng = np.random.default_rng(random_state)
    missing = np.isnan(X)
    if not missing.any():
        return rng.permuted(X, axis=0)
    shuffled: NDArray[np.floating] = np.array(X)
    for column, seen in zip(shuffled.T, ~missing.T, strict=True):
        column[seen] = rng.permutation(column[seen])
    return shuffled


def gains(errors: ArrayLike, ks: Sequence[int]) -> NDArray[np.float64]:
    """Return the decrease of the error per added component.

    Parameters
    ----------
    errors : array-like of shape (..., n_ks)
        Reconstruction errors.
    ks : sequence of int
        Numbers of components, increasing.

    Returns
    -------
    ndarray of shape (..., n_ks), float64
        (error of the previous k − error of k) / (k − previous k); NaN for the first k.

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
    """Return how much more the error decreased, from the first k, than on shuffled data.

    The decrease on shuffled data is multiplied by 1.2. So the result rises from one k to the next
    if the added components reduce the error by at least a fifth more than on shuffled data. It is
    largest at the k beyond which no number of additional components does so.

    The idea is that of Frigyesi & Höglund 2008 (Cancer Informatics 6, 275-292,
    https://doi.org/10.4137/CIN.S606). They take the first k whose gain is below that of shuffled
    data; the largest value is less sensitive to a single fit that ended in a poor local optimum.

    Parameters
    ----------
    errors : array-like of shape (n_ks,)
        Reconstruction errors, by increasing number of components.
    null_errors : array-like of shape (n_ks,)
        Reconstruction errors of `permuted` data.

    Returns
    -------
    ndarray of shape (n_ks,), float64
        In the units of the errors; 0 at the first k.

    Examples
    --------
    >>> from opnmf_pipeline.selection.ranks import null_lead
    >>> null_lead([9, 6, 4, 3.9], [9, 8.5, 8, 7.5])
    array([0. , 2.4, 3.8, 3.3])
    """
    error, null = np.asarray(errors, dtype=np.float64), np.asarray(null_errors, dtype=np.float64)
    lead: NDArray[np.float64] = (error[0] - error) - (1 + MARGIN) * (null[0] - null)
    return lead


def slower_than_null(errors: ArrayLike, null_errors: ArrayLike) -> NDArray[np.bool_]:
    """Tell after which k the relative error decreases less than on shuffled data.

    This is the criterion of the function ``rank_permute`` of the Python package opnmf 0.0.2
    (https://pypi.org/project/opnmf/): both curves are divided by their largest value, and a k is
    good if the step to the next k reduces the first curve by less than the second.

    Parameters
    ----------
    errors : array-like of shape (n_ks,)
        Reconstruction errors, by increasing number of components.
    null_errors : array-like of shape (n_ks,)
        Reconstruction errors of `permuted` data.

    Returns
    -------
    ndarray of shape (n_ks,), bool
        Always false at the last k, which has no next one.

    Examples
    --------
    >>> from opnmf_pipeline.selection.ranks import slower_than_null
    >>> slower_than_null([10, 5, 2, 1.9], [20, 18, 16, 14])
    array([False, False,  True, False])
    """
    error, null = np.asarray(errors, dtype=np.float64), np.asarray(null_errors, dtype=np.float64)
    slower = np.zeros(len(error), dtype=bool)
    # multiplied, not divided: the largest error can be 0
    slower[:-1] = np.diff(error) * null.max() > np.diff(null) * error.max()
    return slower


def elbow(ks: Sequence[int], errors: ArrayLike) -> int:
    """Return the k at which the error is furthest below the line from the first to the last error.

    This is the "kneedle" of Satopää et al. 2011 (ICDCS Workshops, 166-171,
    https://doi.org/10.1109/ICDCSW.2011.20) without smoothing. The result depends on the range of k.

    Parameters
    ----------
    ks : sequence of int
        Numbers of components, increasing.
    errors : array-like of shape (n_ks,)
        Reconstruction errors.

    Returns
    -------
    int
        One of ``ks``.

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

    A voxel belongs to the component with the largest weight. Voxels without weight in one of the
    factorizations are left out.

    Parameters
    ----------
    W_coarse, W_fine : ndarray of shape (n_voxels, n_components), non-negative
        The numbers of components may differ.

    Returns
    -------
    ndarray of shape (k_coarse, k_fine), int64
        Number of voxels that part i of the first and part j of the second factorization share.
    """
    weighted = W_coarse.any(axis=1) & W_fine.any(axis=1)
    parts = W_coarse[weighted].argmax(axis=1), W_fine[weighted].argmax(axis=1)
    shared = np.zeros((W_coarse.shape[1], W_fine.shape[1]), dtype=np.int64)
    np.add.at(shared, parts, 1)
    return shared
