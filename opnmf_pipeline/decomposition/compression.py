"""A small stand-in for data with many columns: X̃ = XQ, with Q a basis of the leading row space.

The iterates know X only through XXᵀ, and X̃X̃ᵀ = XQQᵀXᵀ is its leading part. With the orthonormal Q
of a randomized range finder [1]_, X̃ has many times fewer columns and lies in memory. A search on X̃
takes two passes over X to prepare, and its result is then improved on X itself until the same
criterion holds there.

The columns of X̃ are no subjects, and its values can be negative. Solvers only need products of its
rows, with each other and with directions, which are nearly those of the rows of X. The start by
NNDSVD splits singular vectors of X by sign, and these come from `Compression.spectrum`.

References
----------
.. [1] Halko, Martinsson & Tropp (2011). Finding structure with randomness: probabilistic algorithms
   for constructing approximate matrix decompositions. SIAM Review 53(2).
   https://doi.org/10.1137/090771806
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from opnmf_pipeline.decomposition.passes import (
    Array,
    RowBlocks,
    block_squared_norm,
    squared_norm,
)
from opnmf_pipeline.decomposition.spectrum import (
    GRAM_COLUMNS,
    GRAM_ROWS,
    KRYLOV_BLOCKS,
    OVERSAMPLING,
    Spectrum,
    spectrum,
    times,
)

LEAST_RATIO = 4
"""X is compressed if it has at least so many times more columns than X̃."""

SAMPLE_ROWS = 2**12
"""The first directions come from so many rows of X,"""

SAMPLE_BYTES = 2**28
"""or from fewer, where these would take more memory than this,"""

SAMPLE_STEPS = 2
"""and from so many steps of the power method on them."""


@dataclass(frozen=True)
class Compression:
    """X̃ and how it was made.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, r)
        X̃ = XQ, in the dtype of the arithmetic.
    basis : ndarray of shape (n_columns, r), float64
        Q, with orthonormal columns.
    squared_norm : float
        ‖X‖_F².
    kept : float
        ‖X̃‖_F².
    """

    rows: Array
    basis: Array
    squared_norm: float
    kept: float

    @property
    def loss(self) -> float:
        """The share of ‖X‖_F² that X̃ lacks."""
        return max(1 - self.kept / self.squared_norm, 0.0)

    def spectrum(self, X: RowBlocks, k: int) -> Spectrum:
        """Return the k leading singular values and right singular vectors of XQQᵀ.

        They stand in for those of X: the values are a little low. X itself is not read.
        """
        with self.stand_in(X) as rows:
            found = spectrum(rows, k)
            products = times(rows, found.vectors)
        return replace(found, vectors=self.basis @ found.vectors, products=products)

    def stand_in(self, X: RowBlocks) -> RowBlocks:
        """Return X̃ for solvers, with the norm of X, so that errors are nearly those on X."""
        rows = X.stand_in(self.rows)
        rows.squared_norm = self.squared_norm
        return rows


def n_directions(shape: tuple[int, int], k: int) -> int:
    """Return the number of columns of X̃, or 0 where X is wide or has too few columns."""
    n_rows, n_columns = shape
    r = KRYLOV_BLOCKS * (k + OVERSAMPLING)
    wide = n_rows < n_columns and n_rows <= GRAM_ROWS
    many = n_columns > GRAM_COLUMNS and n_columns >= LEAST_RATIO * r and n_rows > r
    return r if many and not wide else 0


def compress(X: RowBlocks, r: int) -> Compression:
    """Return the XQ that a randomized range finder leads to, in two passes over X.

    The first directions are those of a sample of the rows. The first pass multiplies them by XᵀX,
    the second one multiplies X by their basis Q.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data.
    r : int
        Number of columns of X̃.
    """
    Q = _directions_of_sample(X, r).astype(X.dtype)

    def gram_times(_: slice, X_b: Array) -> tuple[Array, float]:
        return X_b.T @ (X_b @ Q), block_squared_norm(X_b)

    products, X.squared_norm = X.sum(gram_times)
    basis = np.linalg.qr(products)[0]
    cast = basis.astype(X.dtype)
    rows = X.rows(lambda X_b: X_b @ cast, r)
    with X.stand_in(rows) as small:
        return Compression(rows, basis, X.squared_norm, kept=squared_norm(small))


def compression_bytes(X: RowBlocks, k: int) -> int:
    """Return the memory that X̃, its basis and the sample of rows need; 0 without compression."""
    r = n_directions(X.shape, k)
    n_rows, n_columns = X.shape
    sample = SAMPLE_BYTES if r else 0
    return X.dtype.itemsize * n_rows * r + 3 * 8 * n_columns * r + sample


@contextmanager
def compressed_in_memory(X: Array, like: RowBlocks, k: int) -> Iterator[RowBlocks]:
    """Yield data in memory for a search on their rows, compressed if they have many columns."""
    with like.with_rows(X) as rows:
        r = n_directions(rows.shape, k) if like.original is not None else 0
        if not r:
            yield rows
            return
        with compress(rows, r).stand_in(rows) as small:
            yield small


def _directions_of_sample(X: RowBlocks, r: int) -> Array:
    """Return r orthonormal directions that explain much of a sample of the rows."""
    n_rows, n_columns = X.shape
    n_sample = max(r, min(SAMPLE_ROWS, SAMPLE_BYTES // (n_columns * X.dtype.itemsize)))
    sample = X[:: max(1, n_rows // n_sample)]
    Q = np.linalg.qr(np.random.RandomState(0).standard_normal((n_columns, r)))[0]
    for _ in range(SAMPLE_STEPS):
        products = sample.T @ (sample @ Q.astype(X.dtype))
        Q = np.linalg.qr(products.astype(np.float64))[0]
    return Q
