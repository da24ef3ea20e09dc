"""Start values of W: random, or non-negative double singular value decomposition (NNDSVD).

References
----------
.. [1] Boutsidis & Gallopoulos (2008). SVD based initialization: a head start for nonnegative
   matrix factorization. Pattern Recognition 41(4). https://doi.org/10.1016/j.patcog.2007.09.010
"""

import numpy as np
from numpy.typing import DTypeLike

from opnmf_pipeline.decomposition.passes import BLOCK_BYTES, Array, RowBlocks
from opnmf_pipeline.decomposition.spectrum import Spectrum

INITS = ("nndsvd", "nndsvda", "nndsvdar", "brainparts", "random", "custom")
"""The start values to choose from; for ``custom`` the user gives W."""

NEGLIGIBLE = 1e-6
"""NNDSVD weights below this are zero."""

BRAINPARTS_FILL = 0.1
"""The programs brainparts and sopnmf replace the zeros of NNDSVD by this value, for all data."""


def initial_weights(
    X: RowBlocks, k: int, init: str, spectrum: Spectrum, mean: float, rng: np.random.RandomState
) -> Array:
    """Return the start W (n_rows, k), in the dtype of X.

    Parameters
    ----------
    X : RowBlocks of shape (n_rows, n_columns)
        The data, non-negative.
    k : int
        Number of components.
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'brainparts', 'random'}
        ``nndsvd`` leaves zeros, ``nndsvda`` fills them with the mean of X, ``nndsvdar`` with
        random numbers of up to about a hundredth of it, ``brainparts`` with 0.1 as the programs
        brainparts and sopnmf do; ``random`` draws |N(0, 1)|·√(mean / k).
    spectrum : Spectrum
        Of X.
    mean : float
        Mean of X.
    rng : RandomState
        Source of the random numbers.
    """
    if init == "random":
        return _positive_noise(rng, (X.shape[0], k), np.sqrt(mean / k), X.dtype)
    W = nndsvd(*spectrum.singular_triplets(X, k), X.dtype)
    if init == "nndsvda":
        W[W == 0] = mean
    elif init == "brainparts":
        W[W == 0] = BRAINPARTS_FILL * np.sqrt(X.scale)  # NNDSVD has the unit of the root of X
    elif init == "nndsvdar":
        empty = W == 0
        W[empty] = _positive_noise(rng, int(empty.sum()), mean / 100, X.dtype)
    return W


def nndsvd(U: Array, values: Array, V: Array, dtype: DTypeLike) -> Array:
    """Return the NNDSVD weights [1]_ of the leading singular triplets.

    Of every pair (u, v) the positive or the negative parts are kept, whichever have the larger
    product of norms; the first pair, which has one sign, is kept whole. Flipping the signs of
    u and v together changes nothing.

    Parameters
    ----------
    U : ndarray of shape (n_rows, k)
        Left singular vectors.
    values : ndarray of shape (k,)
        Singular values.
    V : ndarray of shape (n_columns, k)
        Right singular vectors.
    dtype : dtype
        Of the weights.

    Returns
    -------
    ndarray of shape (n_rows, k)
        Non-negative.
    """
    sizes = _norms(U)
    positive, negative = sizes * _norms(V)
    sign = np.where(positive > negative, 1, -1)
    weights = np.sqrt(values * np.maximum(positive, negative))
    norms: Array = np.where(sign > 0, sizes[0], sizes[1])
    factor = sign * np.divide(weights, norms, out=np.zeros_like(weights), where=norms > 0)
    W = np.empty(U.shape, dtype)
    for rows in _blocks(U):
        W_b = np.maximum(U[rows] * factor, 0)
        W_b[:, 0] = np.abs(U[rows, 0]) * np.sqrt(values[0])
        W_b[W_b < NEGLIGIBLE] = 0
        W[rows] = W_b
    return W


def _norms(A: Array) -> Array:
    """Return the norms of the positive and of the negative part of each column, (2, k)."""
    squares = np.zeros((2, A.shape[1]))
    for rows in _blocks(A):
        parts = np.maximum(A[rows], 0), np.minimum(A[rows], 0)
        squares += [np.einsum("ij,ij->j", part, part) for part in parts]
    return np.sqrt(squares)


def _blocks(A: Array) -> list[slice]:
    """Return slices of rows: arrays of their size fit the cache, which takes half the time."""
    step = max(1, BLOCK_BYTES // (4 * A.itemsize * A.shape[1]))
    return [slice(i, i + step) for i in range(0, len(A), step)]


def _positive_noise(
    rng: np.random.RandomState, shape: int | tuple[int, int], scale: float, dtype: np.dtype
) -> Array:
    """Draw |N(0, 1)|·scale."""
    return (scale * np.abs(rng.standard_normal(shape))).astype(dtype)
