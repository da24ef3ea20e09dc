"""Singular values and vectors of X, from its Gram matrix on the smaller side."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from sklearn.utils.extmath import randomized_svd

from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, squared_norm

RANK_TOLERANCE = 1e-7
"""Singular values below this share of the largest are rounding errors of the Gram matrix."""

GRAM_SIDE = 7900
"""Up to this size a Gram matrix is formed: it takes 500 MB."""

COLUMN_BYTES = 2**26
"""Size of a float64 block of columns of a wide X."""


@dataclass(frozen=True)
class Spectrum:
    """The leading eigenvectors of XᵀX (tall X) or XXᵀ (wide X).

    Attributes
    ----------
    values : ndarray of shape (n_values,), float64
        Singular values of X, largest first.
    vectors : ndarray of shape (min(n_rows, n_columns), n_values), float64
        Right singular vectors of a tall X, left ones of a wide X.
    squared_norm : float
        ‖X‖_F².
    wide : bool
        Whether X has more columns than rows.
    """

    values: Array
    vectors: Array
    squared_norm: float
    wide: bool

    def lower_bound(self, k: int) -> float:
        """Return √Σ_{i>k} σᵢ², which no ‖X − WH‖_F with k components can go below."""
        rest = self.squared_norm - float(np.sum(self.values[:k] ** 2))
        return float(np.sqrt(max(rest, 0.0)))

    def singular_triplets(self, X: RowBlocks, k: int) -> tuple[Array, Array, Array]:
        """Return U (n_rows, k), σ (k,) and V (n_columns, k); columns beyond the rank are zero."""
        values, vectors = self.values[:k].copy(), self.vectors[:, :k]
        values[values <= RANK_TOLERANCE * values[0]] = 0
        inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
        other = moments(X, vectors).M if self.wide else _times(X, vectors)
        other = other * inverse
        return (vectors, values, other) if self.wide else (other, values, vectors)

    def compressed(self) -> Array:
        """Return the square root of XXᵀ, which stands in for a wide X (needs all values)."""
        # symmetric, and not UΣ, whose first column would hold nearly all of the data: rounding
        # errors of products average out only where many columns share it
        return (self.vectors * self.values) @ self.vectors.T


def spectrum(X: RowBlocks, k: int) -> Spectrum:
    """Decompose the Gram matrix of X: k values of a tall X, all of a wide one.

    Where both sides of X are too long for a Gram matrix, a randomized range finder takes its place.
    Its values are a little low, so that the lower bound is a little high; and X is never called
    wide.
    """
    n_rows, n_columns = X.shape
    if min(X.shape) > GRAM_SIDE:
        _, values, Vt = randomized_svd(X[:], k, random_state=0)
        return Spectrum(values.astype(np.float64), Vt.T, squared_norm(X), wide=False)
    wide = n_columns > n_rows
    gram = _gram_of_rows(X) if wide else _gram_of_columns(X)
    n = gram.shape[0]
    first = 0 if wide else n - k
    values, vectors = eigh(gram, subset_by_index=[first, n - 1])
    singular_values = np.sqrt(np.maximum(values[::-1], 0))
    return Spectrum(singular_values, vectors[:, ::-1], float(np.trace(gram)), wide)


def _gram_of_columns(X: RowBlocks) -> Array:
    """Return XᵀX, float64."""

    def block(_: slice, X_b: Array) -> Array:
        X_b = X_b.astype(np.float64)
        return X_b.T @ X_b

    total = np.zeros((X.shape[1], X.shape[1]))
    for part in X.map(block):
        total += part
    return total


def _gram_of_rows(X: RowBlocks) -> Array:
    """Return XXᵀ, float64."""
    n_rows, n_columns = X.shape
    step = max(1, COLUMN_BYTES // (8 * n_rows))
    total = np.zeros((n_rows, n_rows))
    for i in range(0, n_columns, step):
        part = X[:, i : i + step].astype(np.float64)
        total += part @ part.T
    return total


def _times(X: RowBlocks, V: Array) -> Array:
    """Return XV in the dtype of X, multiplied in float64."""
    product = np.empty((X.shape[0], V.shape[1]), dtype=X.dtype)

    def block(rows: slice, X_b: Array) -> None:
        product[rows] = X_b.astype(np.float64) @ V

    for _ in X.map(block):
        pass
    return product
