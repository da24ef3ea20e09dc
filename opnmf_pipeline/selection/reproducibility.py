"""Agreement of two factorizations of the same voxels, such as those of two halves of a cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    mutual_info_score,
    normalized_mutual_info_score,
)

from opnmf_pipeline.selection.shape import Weights, unit_columns, winner_takes_all

__all__ = [
    "cosine_and_rand_index",
    "label_agreement",
    "matched_inner_products",
    "matching",
    "part_dice",
    "part_shares",
    "rand_index",
    "stability_coefficient",
]

Labels = NDArray[np.integer]

CONSTANT = 1e-10
"""Similarities are equal up to rounding if their variance is below this share of their mean square.
"""


def matching(W_a: Weights, W_b: Weights) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair the components of two factorizations.

    The pairs are the one-to-one assignment with the largest sum of cosines: the Hungarian method,
    as in Sotiras et al. 2017 (PNAS 114, 3527-3532, https://doi.org/10.1073/pnas.1620928114).

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    rows, columns : ndarray of shape (n_components,), int64
        Component ``rows[i]`` of A is paired with ``columns[i]`` of B; ``rows`` is sorted.
    """
    rows, columns = linear_sum_assignment(-unit_columns(W_a).T @ unit_columns(W_b))
    return rows, columns


def matched_inner_products(W_a: Weights, W_b: Weights) -> NDArray[np.float64]:
    """Return the cosine of each component of A and its partner in B, see `matching`.

    The mean is the split-half reproducibility of Sotiras et al. 2017 (PNAS 114, 3527-3532,
    https://doi.org/10.1073/pnas.1620928114).

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    ndarray of shape (n_components,), float64
        In the order of the components of A; 1 where partners are equal.
    """
    rows, columns = matching(W_a, W_b)
    unit_a, unit_b = unit_columns(W_a)[:, rows], unit_columns(W_b)[:, columns]
    matched: NDArray[np.float64] = np.einsum("ij,ij->j", unit_a, unit_b)
    return matched


def cosine_and_rand_index(W_a: Weights, W_b: Weights) -> tuple[float, float]:
    """Return the mean cosine of matched components, and the adjusted Rand index of the labels.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    cosine, rand_index : float
        The mean of `matched_inner_products`, and ``ari`` of `label_agreement`.
    """
    cosine = float(matched_inner_products(W_a, W_b).mean())
    return cosine, rand_index(winner_takes_all(W_a), winner_takes_all(W_b))


def rand_index(labels_a: Labels, labels_b: Labels) -> float:
    """Return the adjusted Rand index of two label maps, without voxels that neither labels.

    Parameters
    ----------
    labels_a, labels_b : ndarray of shape (n_voxels,), integer
        Labels from 1, 0 for none.
    """
    return float(adjusted_rand_score(*_known(labels_a, labels_b)))


def _known(labels_a: Labels, labels_b: Labels) -> tuple[Labels, Labels]:
    """Leave out the voxels that have no label in either map."""
    known = (labels_a != 0) | (labels_b != 0)
    return labels_a[known], labels_b[known]


def label_agreement(labels_a: Labels, labels_b: Labels, n_components: int) -> dict[str, float]:
    """Compare two label maps.

    Voxels that have no label in either map are left out. A voxel that has a label in only one map
    counts as a voxel with different labels.

    Parameters
    ----------
    labels_a, labels_b : ndarray of shape (n_voxels,), integer
        Labels from 1 to ``n_components``, 0 for none. The order of the labels does not matter.
    n_components : int
        Number of parts, including parts without voxels.

    Returns
    -------
    dict of str to float
        ``ari``: adjusted Rand index, 1 if equal [1]_. ``ami``: adjusted mutual information, 1 if
        equal; both are 0 on average for labels in random order, but larger for random compact
        parts, see :mod:`opnmf_pipeline.selection.null`. ``nmi``: mutual information without
        adjustment, divided by the mean of the two entropies [2]_. ``variation_of_information``:
        H(A) + H(B) − 2I(A, B) in bits, a metric, 0 if equal [3]_. ``dice``: mean of
        ``2|a ∩ b| / (|a| + |b|)`` over pairs of parts; the one-to-one pairs are those with the
        largest sum, and a pair of empty parts counts as 0.

    References
    ----------
    .. [1] Hubert & Arabie (1985). Comparing partitions. J. Classification 2.
       https://doi.org/10.1007/BF01908075
    .. [2] Vinh, Epps & Bailey (2010). Information theoretic measures for clusterings comparison.
       J. Mach. Learn. Res. 11.
    .. [3] Meilă (2007). Comparing clusterings: an information based distance. J. Multivariate
       Analysis 98. https://doi.org/10.1016/j.jmva.2006.11.013

    Examples
    --------
    >>> import numpy as np
    >>> from opnmf_pipeline.selection.reproducibility import label_agreement
    >>> found = label_agreement(np.array([1, 1, 2, 2]), np.array([2, 2, 1, 1]), 2)
    >>> found["ari"], found["variation_of_information"], found["dice"]
    (1.0, 0.0, 1.0)
    """
    a, b = _known(labels_a, labels_b)
    counts = _counts(a, b, n_components)
    information = mutual_info_score(None, None, contingency=counts) / np.log(2)
    entropies = entropy(counts.sum(axis=0), base=2) + entropy(counts.sum(axis=1), base=2)
    return {
        "ari": rand_index(labels_a, labels_b),
        "ami": float(adjusted_mutual_info_score(a, b)),
        "nmi": float(normalized_mutual_info_score(a, b)),
        "variation_of_information": float(max(entropies - 2 * information, 0.0)),
        "dice": _mean_dice(counts),
    }


def part_dice(labels_a: Labels, labels_b: Labels, n_components: int) -> NDArray[np.float64]:
    """Return the Dice coefficient of each part of a label map with each part of another.

    Parameters
    ----------
    labels_a, labels_b : ndarray of shape (n_voxels,), integer
        Labels from 1 to ``n_components``, 0 for none.
    n_components : int
        Number of parts, including parts without voxels.

    Returns
    -------
    ndarray of shape (n_components, n_components), float64
        ``2|a ∩ b| / (|a| + |b|)``; 0 if both are empty.
    """
    return _dice(_counts(labels_a, labels_b, n_components))


def part_shares(labels_a: Labels, labels_b: Labels, n_components: int) -> NDArray[np.float64]:
    """Return which share of each part of a label map is in each part of another.

    Parameters
    ----------
    labels_a, labels_b : ndarray of shape (n_voxels,), integer
        Labels from 1 to ``n_components``, 0 for none.
    n_components : int
        Number of parts, including parts without voxels.

    Returns
    -------
    ndarray of shape (n_components, n_components), float64
        ``|a ∩ b| / |a|``, one row per part of A; 0 for an empty part.
    """
    counts = _counts(labels_a, labels_b, n_components)[1:]
    shares: NDArray[np.float64] = counts[:, 1:] / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _counts(labels_a: Labels, labels_b: Labels, n_components: int) -> NDArray[np.int64]:
    """Return the number of voxels with each pair of labels."""
    n_labels = n_components + 1
    pairs = labels_a.astype(np.int64) * n_labels + labels_b
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=n_labels**2).reshape(n_labels, -1)
    return counts


def _dice(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the Dice coefficient of each pair of parts; label 0 (row and column 0) is no part."""
    sizes = counts.sum(axis=1)[1:, np.newaxis] + counts.sum(axis=0)[np.newaxis, 1:]
    dice: NDArray[np.float64] = 2 * counts[1:, 1:] / np.maximum(sizes, 1)
    return dice


def _mean_dice(counts: NDArray[np.int64]) -> float:
    """Return the mean Dice coefficient of matched parts."""
    dice = _dice(counts)
    return float(dice[linear_sum_assignment(-dice)].mean())


def stability_coefficient(W_a: Weights, W_b: Weights) -> NDArray[np.float64]:
    """Return the stability coefficient of each voxel.

    In each factorization, a voxel has a vector of weights. Its cosines with the vectors of all
    voxels are one row of a voxel-by-voxel matrix. The coefficient of the voxel is the Pearson
    correlation of its two rows, as in Patel et al. 2020 (NeuroImage 207, 116348,
    https://doi.org/10.1016/j.neuroimage.2019.116348). Components need not be matched.

    The voxel-by-voxel matrices are never formed. With rows aᵢ of A and bᵢ of B of norm 1, the two
    rows of cosines of voxel i have the scalar product aᵢᵀ(AᵀB)bᵢ; the first has the squared norm
    aᵢᵀ(AᵀA)aᵢ and the sum aᵢᵀ(Aᵀ1). This takes O(n_voxels · n_components²) operations.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)
        The numbers of components may differ.

    Returns
    -------
    ndarray of shape (n_voxels,), float64
        From -1 to 1. NaN if it is undefined: the voxel has no weight, or it is equally similar to
        all voxels, for example with one component.
    """
    A, B = unit_columns(W_a.T).T, unit_columns(W_b.T).T
    n_voxels = len(A)
    mean_a, mean_b = A @ A.mean(axis=0), B @ B.mean(axis=0)
    square_a, square_b = _products(A, A.T @ A, A), _products(B, B.T @ B, B)
    variance_a = square_a / n_voxels - mean_a**2
    variance_b = square_b / n_voxels - mean_b**2
    covariance = _products(A, A.T @ B, B) / n_voxels - mean_a * mean_b
    varies = (variance_a > CONSTANT * square_a / n_voxels) & (
        variance_b > CONSTANT * square_b / n_voxels
    )
    stability = np.full(n_voxels, np.nan)
    stability[varies] = covariance[varies] / np.sqrt(variance_a[varies] * variance_b[varies])
    bounded: NDArray[np.float64] = np.clip(stability, -1, 1)
    return bounded


def _products(A: NDArray[Any], middle: NDArray[Any], B: NDArray[Any]) -> NDArray[np.float64]:
    """Return aᵢᵀ · middle · bᵢ for each row i."""
    products: NDArray[np.float64] = np.einsum("ij,ij->i", A @ middle, B)
    return products
