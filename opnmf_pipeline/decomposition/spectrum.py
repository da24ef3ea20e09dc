"""Singular values and vectors of X, from its Gram matrix on the smaller side or a part of it.

References
----------
.. [1] Musco & Musco (2015). Randomized block Krylov methods for stronger and faster approximate
   singular value decomposition. NeurIPS. https://arxiv.org/abs/1504.05477
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike
from scipy.linalg import eigh

from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, squared_norm

RANK_TOLERANCE = 1e-7
"""Singular values below this share of the largest are rounding errors of the Gram matrix."""

ROOT_ROWS = 256
"""So many rows of the square root of XXᵀ are computed in float64 at once."""

GRAM_ROWS = 7900
"""Up to so many rows XXᵀ of a wide X is formed: it takes 500 MB."""

GRAM_COLUMNS = 1000
"""Up to so many columns XᵀX of a tall X is formed: beyond, it takes longer than all other steps."""

KRYLOV_BLOCKS = 5
"""So many passes over X, each a block of directions, stand in for XᵀX."""

OVERSAMPLING = 10
"""A block has so many directions more than there are components."""

COLUMN_BYTES = 2**23
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
    products : ndarray of shape (n_rows, n_values), optional
        XV, where it is known.
    """

    values: Array
    vectors: Array
    squared_norm: float
    wide: bool
    products: Array | None = None

    def lower_bound(self, k: int) -> float:
        """Return √Σ_{i>k} σᵢ², which no ‖X − WH‖_F with k components can go below."""
        rest = self.squared_norm - float(np.sum(self.values[:k] ** 2))
        return float(np.sqrt(max(rest, 0.0)))

    def singular_triplets(self, X: RowBlocks, k: int) -> tuple[Array, Array, Array]:
        """Return U (n_rows, k), σ (k,) and V (n_columns, k); columns beyond the rank are zero."""
        values, vectors = self.values[:k].copy(), self.vectors[:, :k]
        values[values <= RANK_TOLERANCE * values[0]] = 0
        inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
        if self.products is not None:
            other = self.products[:, :k]
        else:
            other = moments(X, vectors).M if self.wide else times(X, vectors)
        other = other * inverse
        return (vectors, values, other) if self.wide else (other, values, vectors)

    def compressed(self, dtype: DTypeLike) -> Array:
        """Return the square root of XXᵀ, which stands in for a wide X (needs all values)."""
        # symmetric, and not UΣ, whose first column would hold nearly all of the data: rounding
        # errors of products average out only where many columns share it
        root = np.empty((len(self.vectors), len(self.vectors)), dtype)
        for i in range(0, len(root), ROOT_ROWS):
            rows = slice(i, i + ROOT_ROWS)
            root[rows] = (self.vectors[rows] * self.values) @ self.vectors.T
        return root


def spectrum(X: RowBlocks, k: int) -> Spectrum:
    """Decompose the Gram matrix of X: k values of a tall X, all of a wide one.

    Of a tall X with many columns, the values are those that a Krylov space contains. They are a
    little low, so that the lower bound is a little high. A wide X with many rows is called tall.
    """
    n_rows, n_columns = X.shape
    wide = n_rows < n_columns and n_rows <= GRAM_ROWS
    if wide:
        # a symmetric matrix is its transpose, which is in the order that is overwritten
        values, vectors = eigh(_gram_of_rows(X).T, overwrite_a=True)
    elif n_columns <= GRAM_COLUMNS:
        gram = _gram_of_columns(X)
        values, vectors = eigh(gram, subset_by_index=[n_columns - k, n_columns - 1])
    else:
        values, vectors = _krylov(X, k)
    singular_values = np.sqrt(np.maximum(values[::-1], 0))
    return Spectrum(singular_values, vectors[:, ::-1], squared_norm(X), wide)


def spectrum_bytes(n_rows: int, n_columns: int, k: int) -> int:
    """Return the memory that `spectrum` needs, for three arrays of the size of the largest one."""
    if n_rows < n_columns and n_rows <= GRAM_ROWS:
        size = n_rows**2
    elif n_columns <= GRAM_COLUMNS:
        size = n_columns**2
    else:
        size = n_columns * min(n_columns, KRYLOV_BLOCKS * (k + OVERSAMPLING))
    return 3 * 8 * size


def _krylov(X: RowBlocks, k: int) -> tuple[Array, Array]:
    """Return the k largest eigenvalues of XᵀX and their vectors, from a block Krylov space [1]_."""
    n_columns = X.shape[1]
    size = min(k + OVERSAMPLING, n_columns)
    block = np.linalg.qr(np.random.RandomState(0).standard_normal((n_columns, size)))[0]
    basis, products = np.empty((n_columns, 0)), np.empty((n_columns, 0))
    while block.size and basis.shape[1] < KRYLOV_BLOCKS * size:
        basis = np.hstack([basis, block])
        new = _gram_times(X, block)
        products = np.hstack([products, new])
        for _ in range(2):  # once leaves rounding errors
            new = new - basis @ (basis.T @ new)
        block = np.linalg.qr(new)[0][:, : n_columns - basis.shape[1]]
    values, vectors = eigh(basis.T @ products)
    return values[-k:], basis @ vectors[:, -k:]


def _gram_times(X: RowBlocks, V: Array) -> Array:
    """Return XᵀXV."""
    V_cast = V.astype(X.dtype)
    return X.sum(lambda _, X_b: X_b.T @ (X_b @ V_cast))


def _gram_of_columns(X: RowBlocks) -> Array:
    """Return XᵀX, float64."""

    def block(_: slice, X_b: Array) -> Array:
        X_b = X_b.astype(np.float64)
        return X_b.T @ X_b

    return X.sum(block)


def _gram_of_rows(X: RowBlocks) -> Array:
    """Return XXᵀ, float64."""
    n_rows, n_columns = X.shape
    step = max(1, COLUMN_BYTES // (8 * n_rows))
    total = np.zeros((n_rows, n_rows))
    for i in range(0, n_columns, step):
        part = X[:, i : i + step].astype(np.float64)
        total += part @ part.T
    return total


def times(X: RowBlocks, V: Array) -> Array:
    """Return XV in the dtype of X, multiplied in float64."""
    return np.asarray(X.rows(lambda X_b: X_b.astype(np.float64) @ V, V.shape[1]))
