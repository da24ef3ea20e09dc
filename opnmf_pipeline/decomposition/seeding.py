"""Random first directions: k-means++ for directions, with rows weighted by their squared norm.

References
----------
.. [1] Charikar & Hu (2021). Approximation algorithms for orthogonal non-negative matrix
   factorization. AISTATS. https://arxiv.org/abs/2103.01398
"""

import numpy as np

from opnmf_pipeline.decomposition.passes import Array


def far_rows(X: Array, k: int, rng: np.random.RandomState) -> Array:
    """Return the directions of k random rows that are far from each other [1]_.

    Each row is drawn with a probability in proportion to the part of its squared norm that none
    of the directions drawn before explains.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The data, in memory.
    k : int
        Number of directions.
    rng : RandomState
        Source of the random numbers.

    Returns
    -------
    ndarray of shape (n_columns, k), float64
        Of norm 1, or 0 for a row of zeros.
    """
    size2 = np.einsum("ij,ij->i", X, X, dtype=np.float64)
    explained = np.zeros(len(X))
    V = np.zeros((X.shape[1], k))
    for j in range(k):
        cumulative = np.cumsum(np.maximum(size2 - explained, 0))
        drawn = np.searchsorted(cumulative, rng.random_sample() * cumulative[-1], side="right")
        row = X[min(int(drawn), len(X) - 1)].astype(np.float64)
        V[:, j] = row / (np.linalg.norm(row) or 1)
        explained = np.maximum(explained, np.square(X @ V[:, j].astype(X.dtype), dtype=np.float64))
    return V
