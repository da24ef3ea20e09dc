"""Start values of W: random, or non-negative double singular value decomposition (NNDSVD).

References
----------
.. [1] Boutsidis & Gallopoulos (2008). SVD based initialization: a head start for nonnegative
   matrix factorization. Pattern Recognition 41(4). https://doi.org/10.1016/j.patcog.2007.09.010
"""

import numpy as np

from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.spectrum import Spectrum

INITS = ("nndsvd", "nndsvda", "nndsvdar", "random", "custom")
"""The start values to choose from; for ``custom`` the user gives W."""

NEGLIGIBLE = 1e-6
"""NNDSVD weights below this are zero."""


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
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'random'}
        ``nndsvd`` leaves zeros, ``nndsvda`` fills them with the mean of X, ``nndsvdar`` with
        random numbers of up to about a hundredth of it; ``random`` draws |N(0, 1)|·√(mean / k).
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
    W = np.empty_like(U)
    W[:, 0] = np.sqrt(values[0]) * np.abs(U[:, 0])
    for j in range(1, len(values)):
        u, v = U[:, j], V[:, j]
        sign = 1 if _product_of_norms(u, v, 1) > _product_of_norms(u, v, -1) else -1
        part = np.maximum(sign * u, 0)
        size = np.linalg.norm(part)
        weight = np.sqrt(values[j] * _product_of_norms(u, v, sign))
        W[:, j] = part * (weight / size if size > 0 else 0)
    W[NEGLIGIBLE > W] = 0
    return W


def _product_of_norms(u: Array, v: Array, sign: int) -> float:
    """Return ‖u₊‖·‖v₊‖ of the parts of u and v that have a sign."""
    parts = (np.maximum(sign * x, 0) for x in (u, v))
    return float(np.prod([np.linalg.norm(part) for part in parts]))


def _positive_noise(
    rng: np.random.RandomState, shape: int | tuple[int, int], scale: float, dtype: np.dtype
) -> Array:
    """Draw |N(0, 1)|·scale."""
    return (scale * np.abs(rng.standard_normal(shape))).astype(dtype)
