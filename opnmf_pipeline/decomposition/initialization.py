"""Start values of W: random, or non-negative double singular value decomposition (NNDSVD).

References
----------
.. [1] Boutsidis & Gallopoulos (2008). SVD based initialization: a head start for nonnegative
   matrix factorization. Pattern Recognition 41(4). https://doi.org/10.1016/j.patcog.2007.09.010
"""

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks
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
    W = nndsvd(*spectrum.singular_triplets(X, k))
    if init == "nndsvda":
        W[W == 0] = mean
    elif init == "brainparts":
        W[W == 0] = BRAINPARTS_FILL * np.sqrt(X.scale)  # NNDSVD has the unit of the root of X
    elif init == "nndsvdar":
        empty = W == 0
        W[empty] = _positive_noise(rng, int(empty.sum()), mean / 100, X.dtype)
    return np.ascontiguousarray(W, dtype=X.dtype)


def nndsvd(U: Array, values: Array, V: Array) -> Array:
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

    Returns
    -------
    ndarray of shape (n_rows, k)
        Non-negative, in the dtype of U.
    """
    positive, negative = (
        np.prod(norms, axis=0) for norms in zip(_norms(U), _norms(V), strict=True)
    )
    sign = np.where(positive > negative, 1, -1).astype(U.dtype)
    W: Array = np.maximum(U * sign, 0)
    W[:, 0] = np.abs(U[:, 0])
    sizes = np.sqrt(np.einsum("ij,ij->j", W, W))
    weights = np.sqrt(values * np.maximum(positive, negative))
    weights[0] = np.sqrt(values[0])
    sizes[0] = 1
    W *= np.divide(weights, sizes, out=np.zeros_like(weights), where=sizes > 0)
    W[NEGLIGIBLE > W] = 0
    return W


def _norms(A: Array) -> tuple[Array, Array]:
    """Return the norms of the positive and of the negative part of each column."""
    part = np.maximum(A, 0)
    positive = np.sqrt(np.einsum("ij,ij->j", part, part))
    np.minimum(A, 0, out=part)
    return positive, np.sqrt(np.einsum("ij,ij->j", part, part))


def _positive_noise(
    rng: np.random.RandomState, shape: int | tuple[int, int], scale: float, dtype: np.dtype
) -> Array:
    """Draw |N(0, 1)|·scale."""
    return (scale * np.abs(rng.standard_normal(shape))).astype(dtype)
