"""Orthogonal factorizations by other authors, written from their papers, on dense arrays.

Each takes X (n_rows, n_columns), the number of components k and a seed, and returns W (n_rows, k)
with columns of norm 1: H holds the sizes.
All start from the same k-means++ directions of that seed, and end by the rule of their paper or
after `MAX_ITER` iterations.

References
----------
.. [1] Charikar & Hu (2021). Approximation algorithms for orthogonal non-negative matrix
   factorization. AISTATS. https://arxiv.org/abs/2103.01398
.. [2] Basiri & Salapaka (2022). Orthogonal nonnegative matrix factorization: a maximum-entropy-
   principle approach. https://arxiv.org/abs/2210.02672
.. [3] Ding, Li, Peng & Park (2006). Orthogonal nonnegative matrix tri-factorizations for
   clustering. KDD. https://doi.org/10.1145/1150402.1150420
.. [4] Kimura, Tanaka & Kudo (2015). A fast hierarchical alternating least squares algorithm for
   orthogonal nonnegative matrix factorization. ACML. https://proceedings.mlr.press/v39/kimura14
"""

from collections.abc import Callable

import numpy as np
from sklearn.decomposition import NMF

from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.decomposition.seeding import far_rows
from opnmf_pipeline.selection.shape import unit_columns

MAX_ITER = 500
N_STARTS = 10
TOL = 1e-4
COOLING = 0.85
TINY = 1e-12


def spherical_kmeans(X: Array, k: int, seed: int) -> Array:
    """Weighted spherical k-means++, polished by EM-ONMF; the best of ten starts [1]_."""
    rng = np.random.RandomState(seed)
    found = [_assigned(X, far_rows(X, k, rng)) for _ in range(N_STARTS)]
    return max(map(unit_columns, found), key=lambda W: float(np.square(W.T @ X).sum()))


def _assigned(X: Array, V: Array) -> Array:
    """Assign rows to directions, and directions to the rows' leading singular vector, in turn."""
    labels = np.full(len(X), -1)
    rows = np.arange(len(X))
    while True:
        scores = X @ V.astype(X.dtype)
        W = np.zeros_like(scores)
        old, labels = labels, scores.argmax(axis=1)
        W[rows, labels] = scores[rows, labels]
        if np.mean(labels != old) < TOL:
            return W
        V = unit_columns(X.T @ W)


def maximum_entropy(X: Array, k: int, seed: int) -> Array:
    """Deterministic annealing: assignments become harder as the temperature falls [2]_."""
    rng = np.random.RandomState(seed)
    mean = unit_columns(X.sum(axis=0, dtype=np.float64)[:, np.newaxis])
    V = np.repeat(mean, k, axis=1)
    size2 = float(np.einsum("ij,ij->", X, X, dtype=np.float64)) / len(X)
    temperature, coldest = 1e-2 * size2, 1e-7 * size2
    while temperature > coldest:
        V = unit_columns(V + 1e-4 * rng.standard_normal(V.shape))
        for _ in range(10):
            scores = np.maximum(X @ V.astype(X.dtype), 0)
            gains = np.square(scores)
            gains -= gains.max(axis=1, keepdims=True)
            shares = np.exp(gains / temperature)
            shares /= shares.sum(axis=1, keepdims=True)
            V = unit_columns(X.T @ (shares * scores))
        temperature *= COOLING
    return unit_columns(_assigned(X, V))


def ding(X: Array, k: int, seed: int) -> Array:
    """Multiplicative updates of ‖X − WH‖ with WᵀW = I [3]_."""
    W, H = _start(X, k, seed)
    for _ in range(MAX_ITER):
        XHt = X @ H.T
        W *= np.sqrt(XHt / (W @ (W.T @ XHt) + TINY))
        H *= (W.T @ X) / (W.T @ W @ H + TINY)
    return unit_columns(W)


def hals(X: Array, k: int, seed: int) -> Array:
    """Coordinate descent over columns, each kept orthogonal to the sum of the others [4]_."""
    W, H = _start(X, k, seed)
    for _ in range(MAX_ITER):
        old = W.copy()
        XHt, HHt, others = X @ H.T, H @ H.T, W.sum(axis=1)
        for j in range(k):
            others -= W[:, j]
            w = XHt[:, j] - W @ HHt[:, j] + W[:, j] * HHt[j, j]
            w -= others * (others @ w) / (others @ others + TINY)
            w = np.maximum(w, TINY)
            W[:, j] = w / np.linalg.norm(w)
            others += W[:, j]
        WtX, WtW = W.T @ X, W.T @ W
        for j in range(k):
            H[j] = np.maximum(H[j] + (WtX[j] - WtW[j] @ H) / (WtW[j, j] + TINY), TINY)
        if np.linalg.norm(W - old) < TOL * np.linalg.norm(W):
            break
    return unit_columns(W)


def _start(X: Array, k: int, seed: int) -> tuple[Array, Array]:
    """Return positive W and H from k-means++ directions."""
    V = far_rows(X, k, np.random.RandomState(seed)).astype(X.dtype)
    W = np.maximum(X @ V, TINY)
    W /= np.linalg.norm(W, axis=0)
    return W, np.maximum(W.T @ X, TINY)


def plain_nmf(X: Array, k: int, seed: int) -> Array:
    """Coordinate descent of scikit-learn for ‖X − WH‖, without any orthogonality."""
    model = NMF(k, init="nndsvd", random_state=seed, max_iter=MAX_ITER)
    return unit_columns(model.fit_transform(X))


OPPONENTS: dict[str, Callable[[Array, int, int], Array]] = {
    "spherical k-means++, EM-ONMF": spherical_kmeans,
    "maximum-entropy ONMF": maximum_entropy,
    "Ding et al.": ding,
    "HALS-ONMF": hals,
    "plain NMF": plain_nmf,
}
