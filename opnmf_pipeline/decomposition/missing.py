"""Missing values, NaN in X: they are filled with what the last fit says of them.

A fit of filled data, and filling with the fit, are repeated in turn until the error of the observed
values no longer falls. The first fill is the mean of each row, times the scale of the subject. The
later ones are Wh, where h ≥ 0 has the least error over the observed values of the subject [1]_.
With WᵀW = I this h also makes ‖x − WWᵀx‖ least over the missing values of x, so that both steps
lower the same error: that of the observed values. Where components overlap, it can rise; then the
fit ends, and the last W before is kept.

The filled data are not stored. Each block is filled when it is read, so that a memory-mapped X
stays on disk.

References
----------
.. [1] Kiers (1997). Weighted least squares fitting using ordinary least squares algorithms.
   Psychometrika 62. https://doi.org/10.1007/BF02295279
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import nnls

from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, residual_norm
from opnmf_pipeline.decomposition.progress import Progress

ROUND_PASSES = 10
"""Between two fills, a solver makes at most so many passes over the data."""

N_SEARCHES = 2
"""A search is repeated on the data as the first one filled them: `benchmarks.missing`."""

RIDGE = 1e-4
"""Missing values count as those of a subject with mean loadings, with this weight. It gives
loadings to components without an observed row, and changes those of others only a little."""

JITTER = 1e-10
"""Share of the largest diagonal entry that makes the matrix of an unused component invertible."""

NOTHING_MSG = (
    "column {column} of X (a subject) has no observed value; leave out the {n} column(s) of this "
    "kind"
)

Search = Callable[[Progress], Array]
Refine = Callable[[Array, Progress], Array]


class FilledBlocks(RowBlocks):
    """X with NaN for missing values, which are filled with W H when a block is read."""

    model: tuple[Array, Array] | None = None

    def fill(self, W: Array, H: Array) -> None:
        """Fill missing values with W H from now on; W (n_rows, k) is kept, not copied."""
        self.model = W, H.astype(self.dtype)
        self.squared_norm = None

    @property
    def unfilled(self) -> RowBlocks:
        """The same data, with NaN."""
        same = copy.copy(self)
        same.model = None
        same.squared_norm = None
        return same

    def __getitem__(self, index: Any) -> Array:
        """Return a part of X in the dtype of the arithmetic, rescaled and filled."""
        X_b = super().__getitem__(index)
        if self.model is None or not (missing := np.isnan(X_b)).any():
            return X_b
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        W, H = self.model
        filled: Array = np.where(missing, W[rows].astype(self.dtype) @ H[:, columns], X_b)
        return filled


def fill_with_means(X: FilledBlocks) -> None:
    """Fill missing values with the mean of the row, times the scale of the subject.

    Raises
    ------
    ValueError
        A subject has no observed value.
    """

    def block(rows: slice, X_b: Array) -> tuple[Array, Array]:
        seen = np.isfinite(X_b)
        counts = seen.sum(axis=1)
        sums = np.where(seen, X_b, 0).sum(axis=1, dtype=np.float64)
        return sums / np.maximum(counts, 1), np.any(seen, axis=0, keepdims=True)

    means, seen = zip(*X.unfilled.map(block), strict=True)
    empty = np.flatnonzero(~np.concatenate(seen).any(axis=0))
    if empty.size:
        raise ValueError(NOTHING_MSG.format(column=empty[0], n=empty.size))
    mean = np.concatenate(means).astype(X.dtype)[:, np.newaxis]
    X.fill(mean, observed_loadings(X, mean))


def observed_loadings(X: FilledBlocks, W: Array, mean: Array | None = None) -> Array:
    """Return the h ≥ 0 of each subject that makes ‖x − Wh‖ over its observed values least.

    Parameters
    ----------
    X : FilledBlocks of shape (n_rows, n_columns)
        The data.
    W : ndarray of shape (n_rows, k)
        Weights.
    mean : ndarray of shape (k,), optional
        Mean loadings. A component without an observed row has those, times the scale of the
        subject. Default: the loadings that are best for the observed values of all subjects.

    Returns
    -------
    ndarray of shape (k, n_columns), float64
    """
    n, k = X.shape[1], W.shape[1]
    first, second = np.triu_indices(k)

    def block(rows: slice, X_b: Array) -> tuple[Array, Array, Array]:
        W_b, seen = W[rows].astype(X.dtype), np.isfinite(X_b)
        products = W_b[:, first] * W_b[:, second]
        return (
            np.where(seen, X_b, 0).T @ W_b,
            seen.T.astype(X.dtype) @ products,
            products.sum(axis=0, dtype=np.float64),
        )

    M, grams, whole = (np.zeros(shape) for shape in ((n, k), (n, first.size), first.size))
    for products, of_observed, of_all in X.unfilled.map(block):  # added in order and in float64
        M += products
        grams += of_observed
        whole += of_all

    def unpacked(entries: Array) -> Array:
        G = np.zeros((k, k))
        G[first, second] = G[second, first] = entries
        return G

    if mean is None:
        mean = _least_squares(unpacked(grams.sum(axis=0)), M.sum(axis=0))
    G = unpacked(whole)
    found = [_one(unpacked(gram), product, G, mean) for gram, product in zip(grams, M, strict=True)]
    return np.transpose(found)


def mean_loadings(X: RowBlocks, W: Array) -> Array:
    """Return the h ≥ 0 with the least ‖x̄ − Wh‖, x̄ being the mean of the columns of X."""
    M, G, *_ = moments(X, W)
    return _least_squares(G, M.mean(axis=0))


def project(X: Array, W: Array, mean: Array | None = None, n_threads: int | None = None) -> Array:
    """Return WᵀX of subjects that W does not come from.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        The subjects; NaN for a missing value.
    W : ndarray of shape (n_voxels, n_components)
        Components.
    mean : ndarray of shape (n_components,), optional
        Mean loadings of the subjects that W comes from, see `observed_loadings`. Without them, NaN
        is not filled.
    n_threads : int, optional
        Number of worker threads; by default as many as BLAS would use.

    Returns
    -------
    ndarray of shape (n_components, n_subjects)
        In the dtype of W.
    """
    with FilledBlocks(X, str(W.dtype), n_threads) as blocks:
        return _projected(blocks, W, mean)


def projection_error(X: Array, W: Array, mean: Array | None = None) -> float:
    """Return ‖X − WWᵀX‖_F over the observed values of subjects that W does not come from.

    The parameters are those of `project`.
    """
    with FilledBlocks(X, str(W.dtype)) as blocks:
        H = _projected(blocks, W, mean)
        if blocks.model is not None:
            blocks.fill(W, H)  # then missing values have no residual
        return residual_norm(blocks, W, H)


def _projected(X: FilledBlocks, W: Array, mean: Array | None) -> Array:
    if mean is not None and any(X.map(lambda _, X_b: bool(np.isnan(X_b).any()))):
        X.fill(W, observed_loadings(X, W, mean))
    return moments(X, W).M.T.astype(W.dtype)


def _one(G_seen: Array, product: Array, G: Array, mean: Array) -> Array:
    """Return the loadings of one subject, from Gram matrix and product of its observed rows."""
    size = float(mean @ G_seen @ mean)
    scale = float(mean @ product) / size if size > 0 else 1.0
    return _least_squares(G_seen + RIDGE * G, product + RIDGE * scale * (G @ mean))


def _least_squares(G: Array, product: Array) -> Array:
    """Return the h ≥ 0 that makes ½hᵀGh − hᵀproduct least."""
    jitter = JITTER * max(float(G.diagonal().max()), np.finfo(np.float64).tiny)
    L = cholesky(G + jitter * np.eye(len(G)), lower=True)
    h: Array = nnls(L.T, solve_triangular(L, product, lower=True))[0]
    return h


def fit_observed(X: FilledBlocks, progress: Progress, search: Search, refine: Refine) -> Array:
    """Fill with the fit and fit again, until the error of the observed values no longer falls.

    The first search sees means in place of the missing values, which can lead it astray. So a
    second one follows, on the data as the first one fills them. It is then refined.

    Parameters
    ----------
    X : FilledBlocks of shape (n_rows, n_columns)
        The data, filled with means; at the end filled with the result.
    progress : Progress
        Receives the course. The fit ends as converged once the solver has converged and the error
        of the observed values falls by less than the tolerance, relative to this error.
    search : callable
        Returns the W of a whole fit of the filled data.
    refine : callable
        Returns the W of the filled data that a given W, which may be overwritten, leads to.

    Returns
    -------
    ndarray of shape (n_rows, k)
    """
    if progress.resumed:
        W = progress.resumed["W"]
    else:
        for _ in range(N_SEARCHES):
            part = progress.part()
            W = search(part)
            progress.take(part)
            _fill_with(X, W)
            if progress.stopped or progress.part().done:  # without a checkpoint
                progress.converged = False
                return W
    error, before = np.inf, (W, len(progress.history))
    while True:
        last, error = error, _fill_with(X, W)
        progress.converged = progress.converged and last - error <= progress.tol * error
        if progress.done:
            # a round that was interrupted starts again
            progress.save(before[1], W=before[0])
            break
        before = W.copy(), len(progress.history)
        progress.save(W=W)
        part = progress.part(ROUND_PASSES)
        W = refine(W, part)
        progress.take(part)
    if error > last:  # possible where WᵀW is not diagonal
        W = before[0]
        _fill_with(X, W)
    return W


def _fill_with(X: FilledBlocks, W: Array) -> float:
    """Fill missing values with a fit, and return its error over the observed values."""
    H = observed_loadings(X, W).astype(X.dtype)
    X.fill(W.copy(), H)
    return residual_norm(X, W, H)
