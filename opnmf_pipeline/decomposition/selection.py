"""Indices that compare factorizations: sparsity, orthonormality, split-half reproducibility."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["hoyer_sparsity", "largest_overlap", "matched_inner_products", "split_halves"]

Weights = NDArray[np.floating]


def _unit_columns(W: Weights) -> NDArray[np.float64]:
    norms = np.linalg.norm(W, axis=0)
    unit: NDArray[np.float64] = W / np.where(norms > 0, norms, 1).astype(np.float64)
    return unit


def hoyer_sparsity(W: Weights) -> NDArray[np.float64]:
    """Return the sparsity of each column: 0 where all entries are equal, 1 where one is not zero.

    (√n − ‖w‖₁ / ‖w‖₂) / (√n − 1); Hoyer 2004, J. Mach. Learn. Res. 5, 1457-1469.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    ndarray of shape (n_components,), float64
    """
    root = np.sqrt(W.shape[0])
    sparsity: NDArray[np.float64] = (root - np.abs(_unit_columns(W)).sum(axis=0)) / (root - 1)
    return sparsity


def largest_overlap(W: Weights) -> float:
    """Return the largest cosine between two columns: 0 where WᵀW is diagonal.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components)
    """
    unit = _unit_columns(W)
    cosines = unit.T @ unit
    np.fill_diagonal(cosines, 0)
    return float(np.abs(cosines).max(initial=0.0))


def matched_inner_products(W_a: Weights, W_b: Weights) -> NDArray[np.float64]:
    """Return the cosine of each component of A with its partner in B.

    Partners are the one-to-one assignment with the largest sum of cosines (Hungarian method), as
    in Sotiras et al. 2017, PNAS 114, 3527-3532.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)

    Returns
    -------
    ndarray of shape (n_components,), float64
        In the order of the components of A; 1 where partners are equal.
    """
    cosines = _unit_columns(W_a).T @ _unit_columns(W_b)
    rows, columns = linear_sum_assignment(-cosines)
    matched: NDArray[np.float64] = cosines[rows, columns]
    return matched


def split_halves(
    n_subjects: int, n_splits: int, random_state: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return random halvings of the subjects.

    Parameters
    ----------
    n_subjects : int
        An odd one out goes to the second half.
    n_splits : int
        Number of halvings; a smaller number gives the first ones of a larger number.
    random_state : int
        Seed.

    Returns
    -------
    list of (ndarray, ndarray)
        Sorted indices of the subjects in each half.
    """
    rng = np.random.default_rng(random_state)
    orders = [rng.permutation(n_subjects) for _ in range(n_splits)]
    half = n_subjects // 2
    return [(np.sort(order[:half]), np.sort(order[half:])) for order in orders]
