"""What the estimators share: data in, start, solver, fitted attributes out."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from opnmf_pipeline.decomposition.checkpoint import Checkpoint
from opnmf_pipeline.decomposition.compression import (
    Compression,
    compress,
    compression_bytes,
    n_directions,
)
from opnmf_pipeline.decomposition.initialization import INITS, initial_weights
from opnmf_pipeline.decomposition.missing import (
    FilledBlocks,
    fill_with_means,
    fit_observed,
    mean_loadings,
    project,
)
from opnmf_pipeline.decomposition.optimality import residuals
from opnmf_pipeline.decomposition.orientation import axis_names, transposed
from opnmf_pipeline.decomposition.orthonormal import sample_size
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, residual_norm
from opnmf_pipeline.decomposition.progress import CHANGE, Criterion, Iteration, Progress
from opnmf_pipeline.decomposition.search import search_with
from opnmf_pipeline.decomposition.spectrum import Spectrum, spectrum
from opnmf_pipeline.decomposition.validation import (
    AUTO,
    DataFacts,
    check_data,
    check_memory,
    check_start,
    ranks_to_try,
    require_unmasked,
)
from opnmf_pipeline.exceptions import ConvergenceWarning, OrientationWarning

logger = logging.getLogger(__name__)

COMPRESSED_MSG = "%d columns compressed to %d for the search, without %.3g of the squared norm"
PASSES_MSG = "%d passes over the data, error %.6g, KKT residual %.3g"

SEED_LIMIT = 2**31

FAR_FROM_ONE = 256
"""A W_init with so large values, or so small ones, is brought near 1: its scale does not matter."""

DTYPES = ("float32", "float64")

MISSING = ("error", "masked")
"""What NaN means: an error, or a missing value."""

WEIGHTS, WEIGHTS_MASKED = 4, 6
"""Arrays of the size of W that a fit holds; two more if values are missing."""

FREE_SETTINGS = {
    "max_iter",
    "n_threads",
    "max_memory",
    "verbose",
    "callback",
    "checkpoint",
    "checkpoint_minutes",
    "scheduler",
    "device",
}
"""What a resumed fit may change: none of it has an influence on the iterates."""

NOT_CONVERGED_MSG = (
    "{name} stopped at max_iter={max_iter} with {measure} {value:.3g}, not below {limit}; "
    "raise max_iter, or raise tol if a coarser solution will do"
)
CUSTOM_MSG = (
    "init='custom' fixes the number of components; n_components={value!r} is a choice: give an "
    "integer"
)
TRANSPOSED_MSG = (
    "the rows of X, with shape ({n_rows}, {n_columns}), look like subjects: {sign}; {name} expects "
    "one row per voxel and one column per subject, and would group the rows; pass X.T, or use "
    "StructuralCovariance, which takes one row per subject"
)
COMBINED_MSG = "only one of missing='masked', scheduler and device can be set; remove the others"
PROJECT_MSG = "{name}.project expects the {n_rows} rows (voxels) of the fit, got shape {shape}"


class ProjectiveNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Base of the estimators: everything but the solver, which a subclass adds as `_solve`."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({AUTO}),
            "array-like",
        ],
        "init": [StrOptions(set(INITS))],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "random_state": ["random_state"],
        "missing": [StrOptions(set(MISSING))],
        "dtype": [StrOptions(set(DTYPES)), Options(type, {np.float32, np.float64})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_memory": [Interval(Real, 0, None, closed="neither"), None],
        "verbose": ["verbose"],
        "callback": [callable, None],
        "checkpoint": [str, PathLike, None],
        "checkpoint_minutes": [Interval(Real, 0, None, closed="left")],
        "scheduler": [str, None],
        "device": [str, None],
    }

    def __init__(
        self,
        n_components: int | str | Iterable[int] = 10,
        *,
        init: str = "nndsvd",
        tol: float = 1e-5,
        max_iter: int = 50000,
        random_state: int | np.random.RandomState | None = None,
        missing: str = "error",
        dtype: DTypeLike = "float32",
        n_threads: int | None = None,
        max_memory: float | None = None,
        verbose: int = 0,
        callback: Callable[[Iteration], object] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_minutes: float = 10.0,
        scheduler: str | None = None,
        device: str | None = None,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.missing = missing
        self.dtype = dtype
        self.n_threads = n_threads
        self.max_memory = max_memory
        self.verbose = verbose
        self.callback = callback
        self.checkpoint = checkpoint
        self.checkpoint_minutes = checkpoint_minutes
        self.scheduler = scheduler
        self.device = device

    def fit(self, X: Array, y: None = None, *, W_init: Array | None = None) -> Self:
        """Factorize X.

        Parameters
        ----------
        X : array-like of shape (n_voxels, n_subjects)
            The data, non-negative, one row per voxel; NaN for a missing value, if the parameter
            `missing` allows it. A memory map is read block by block. X whose rows look like
            subjects gets a warning.
        y : None
            Not used.
        W_init : array-like of shape (n_voxels, n_components), optional
            The start, for ``init='custom'`` only.

        Returns
        -------
        Self
            The fitted estimator.
        """
        self._validate_params()
        names = axis_names(X)
        require_unmasked(X)
        X = validate_data(self, X, dtype="numeric", ensure_all_finite=False)
        if sign := transposed(X, names):
            self._warn_transposed(X.shape, sign)
        k = self._rank(X)
        check_start(W_init, self.init, (X.shape[0], k))
        with self._blocks(X) as blocks:
            progress = self._factorize(blocks, k, W_init)
        if not progress.converged and not progress.stopped:
            self._warn()
        return self

    def fit_transform(self, X: Array, y: None = None, *, W_init: Array | None = None) -> Array:
        """Factorize X and return W.

        Parameters
        ----------
        X : array-like of shape (n_voxels, n_subjects)
            The data, non-negative, one row per voxel.
        y : None
            Not used.
        W_init : array-like of shape (n_voxels, n_components), optional
            The start, for ``init='custom'`` only.

        Returns
        -------
        ndarray of shape (n_voxels, n_components)
            W, in the dtype of the estimator.
        """
        return self.fit(X, W_init=W_init).coef_

    def transform(self, X: Array) -> Array:
        """Return the non-negative weights of new rows against the fitted components.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_subjects)
            New voxels of the same subjects.

        Returns
        -------
        ndarray of shape (n_rows, n_components)
            For each row x the w ≥ 0 that minimizes ‖x − wH‖.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        # With Hᵀ = QR, ‖x − wH‖ and ‖xQ − wRᵀ‖ have the same minimum: k numbers per row will do
        Q, R = np.linalg.qr(self.components_.T.astype(np.float64))
        return np.array([nnls(R, row)[0] for row in X @ Q], dtype=self.dtype)

    def inverse_transform(self, X: Array) -> Array:
        """Return WH, the rows that weights stand for.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_components)
            Weights, as `transform` returns them.

        Returns
        -------
        ndarray of shape (n_rows, n_subjects)
            The reconstruction.
        """
        check_is_fitted(self)
        reconstruction: Array = np.asarray(X) @ self.components_
        return reconstruction

    def project(self, X: Array) -> Array:
        """Return WᵀX, the loadings of new columns.

        Parameters
        ----------
        X : array-like of shape (n_voxels, n_new_subjects)
            New subjects, on the voxels of the fit; NaN for a missing value, if the parameter
            `missing` allows it.

        Returns
        -------
        ndarray of shape (n_components, n_new_subjects)
            In the dtype of the estimator.
        """
        check_is_fitted(self)
        X = np.asanyarray(X)
        n_rows = self.coef_.shape[0]
        if X.ndim != 2 or X.shape[0] != n_rows:
            name = type(self).__name__
            raise ValueError(PROJECT_MSG.format(name=name, n_rows=n_rows, shape=X.shape))
        mean = self.mean_loadings_ if self.missing == "masked" else None
        return project(X, self.coef_, mean, self.n_threads)

    @property
    def _n_features_out(self) -> int:
        """Number of columns that `transform` returns."""
        return int(self.n_components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.input_tags.allow_nan = self.missing == "masked"
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _rank(self, X: Array) -> int:
        """Return the number of components; choose it, where the parameter leaves a choice."""
        ks = ranks_to_try(self.n_components, X.shape)
        if isinstance(self.n_components, Integral):
            return ks[0]
        if self.init == "custom":
            raise ValueError(CUSTOM_MSG.format(value=self.n_components))
        seed = check_random_state(self.random_state).randint(SEED_LIMIT)
        found = search_with(self, X, ks, n_permutations=1, random_state=seed, stacklevel=4)
        self.ranks_, self.errors_ = found.ranks_, found.errors_
        self.random_errors_, self.good_ranks_ = found.random_errors_[0], found.good_ranks_
        return found.choice_.k

    def _blocks(self, X: Array) -> AbstractContextManager[Any]:
        """Return X as row blocks, in this process, on a device or on the workers of a cluster."""
        if (self.missing == "masked") + bool(self.scheduler) + bool(self.device) > 1:
            raise ValueError(COMBINED_MSG)
        # what these import is optional, and takes half a second
        if self.device:
            from opnmf_pipeline.decomposition.device import on_device

            return on_device(X, self.dtype, self.device, self.n_threads)
        if self.scheduler:
            from opnmf_pipeline.decomposition.distributed import on_workers

            return on_workers(X, self.dtype, self.scheduler)
        return FilledBlocks(X, self.dtype, self.n_threads)

    def _factorize(self, X: FilledBlocks, k: int, W_init: Array | None) -> Progress:
        """Start, solve, and set the fitted attributes."""
        masked = self.missing == "masked"
        n_weights = WEIGHTS_MASKED if masked else WEIGHTS
        stand_in = compression_bytes(X, k) if self._compressible else 0
        check_memory(self.max_memory, X, k, sample_size(X.shape[0], k), n_weights, stand_in)
        facts = check_data(X, type(self).__name__, missing=masked)
        X.rescale(facts.largest)
        if facts.n_missing:
            fill_with_means(X)
        r = n_directions(X.shape, k) if self._compressible and not facts.n_missing else 0
        small = compress(X, r) if r else None
        spectrum_ = small.spectrum(X, k) if small else spectrum(X, k)
        level = logging.INFO if self.verbose else logging.DEBUG
        checkpoint = self._checkpoint(X, k, spectrum_)
        progress = Progress(
            self.tol, self.max_iter, self.callback, level, checkpoint, unit=1 / X.scale
        )
        if facts.n_missing:
            W = self._fit_observed(X, k, facts, W_init, progress)
        else:
            W = self._start(X, k, facts, spectrum_, W_init)
            if small:
                W = self._fit_compressed(X, W, small, progress)
            else:
                with _stand_in(X, spectrum_) as rows:
                    W = self._solve(rows, rows.held(W), progress)
        W = np.asarray(W)
        W[facts.zero_rows] = 0
        self._set_factors(X, W)
        if facts.n_missing:
            spectrum_ = spectrum(X, k)
        self.lower_bound_ = spectrum_.lower_bound(k) / X.scale
        self.history_ = progress.history
        self.n_iter_ = len(progress.history)
        self.converged_ = progress.converged
        self.n_passes_ = X.n_passes
        self.compression_loss_ = small.loss if small else 0.0
        logger.log(level, PASSES_MSG, X.n_passes, self.reconstruction_err_, self.kkt_residual_)
        return progress

    def _fit_compressed(
        self, X: RowBlocks, W: Array, small: Compression, progress: Progress
    ) -> Array:
        """Search on compressed data, and improve what was found on all data."""
        logger.log(progress.level, COMPRESSED_MSG, X.shape[1], small.rows.shape[1], small.loss)
        if not progress.resumed:
            part = progress.part()
            with small.stand_in(X) as rows:
                W = self._solve(rows, rows.held(W), part)
            progress.stopped = part.stopped
        return self._refine(X, X.held(W), progress)

    def _fit_observed(
        self,
        X: FilledBlocks,
        k: int,
        facts: DataFacts,
        W_init: Array | None,
        progress: Progress,
    ) -> Array:
        """Return W of the observed values: search on filled data, then refine and fill in turn."""

        def search(part: Progress) -> Array:
            spectrum_ = spectrum(X, k)
            W = self._start(X, k, facts, spectrum_, W_init)
            with _stand_in(X, spectrum_) as rows:
                return self._solve(rows, W, part)

        def refine(W: Array, part: Progress) -> Array:
            with _stand_in(X, spectrum(X, k)) as rows:
                return self._refine(rows, W, part)

        return fit_observed(X, progress, search, refine)

    def _checkpoint(self, X: RowBlocks, k: int, spectrum_: Spectrum) -> Checkpoint | None:
        """Return where to save the state, for the fits that have the same course as this one."""
        if self.checkpoint is None:
            return None
        settings = self.get_params().items()
        identity = {
            "estimator": type(self).__name__,
            **{name: str(value) for name, value in settings if name not in FREE_SETTINGS},
            "n_components": str(k),  # what was chosen, not what was asked for
            "dtype": np.dtype(self.dtype).name,  # one name for 'float64' and np.float64
            "shape": X.shape,
            # its last digits depend on the number of workers
            "squared_norm": float(f"{spectrum_.squared_norm:.9g}"),
        }
        return Checkpoint(self.checkpoint, self.checkpoint_minutes, identity)

    def _start(
        self, X: RowBlocks, k: int, facts: DataFacts, spectrum_: Spectrum, W_init: Array | None
    ) -> Array:
        """Return the first W, an array that the solver may overwrite."""
        if W_init is not None:
            return _of_moderate_size(np.asarray(W_init)).astype(self.dtype, order="C")
        rng = check_random_state(self.random_state)
        return initial_weights(X, k, self.init, spectrum_, facts.mean * X.scale, rng)

    @property
    def _compressible(self) -> bool:
        """Whether the solver may search on compressed data."""
        return False

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        """Return the last W of the solver; the first may be overwritten."""
        raise NotImplementedError

    def _refine(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        """Return a better W, from one of the solver for similar data, which may be overwritten."""
        raise NotImplementedError

    def _set_factors(self, X: FilledBlocks, W: Array) -> None:
        """Sort the components by ‖w‖·‖h‖, largest first, and set what follows from W."""
        M, G, *_ = moments(X, X.held(W))
        sizes = np.sqrt(np.diag(G)) * np.linalg.norm(M, axis=0)
        order = np.argsort(-sizes, kind="stable")
        self.coef_ = np.take(W, order, axis=1)  # in C order
        H = M.T[order].astype(self.dtype)
        self.components_ = H * H.dtype.type(1 / X.scale)
        M, G = M[:, order], G[np.ix_(order, order)]
        self.kkt_residual_, error = residuals(X, X.held(self.coef_), H, M, G)
        if self.missing == "masked":
            self.mean_loadings_ = mean_loadings(X, self.coef_) / X.scale
        if isinstance(X, FilledBlocks) and X.model is not None:
            X.fill(self.coef_, H)  # then missing values have no residual
            error = residual_norm(X, self.coef_, H)
        self.reconstruction_err_ = error / X.scale
        self.mse_ = self.reconstruction_err_
        self.n_components_ = W.shape[1]

    def _warn(self) -> None:
        message = NOT_CONVERGED_MSG.format(
            name=type(self).__name__,
            max_iter=self.max_iter,
            measure=self._criterion.measure,
            value=self._criterion.last(self),
            limit=self._criterion.limit(f"tol={self.tol:g}"),
        )
        message += self._other_way
        warnings.warn(message, ConvergenceWarning, stacklevel=3)

    def _warn_transposed(self, shape: tuple[int, int], sign: str) -> None:
        message = TRANSPOSED_MSG.format(
            name=type(self).__name__, n_rows=shape[0], n_columns=shape[1], sign=sign
        )
        warnings.warn(message, OrientationWarning, stacklevel=3)

    @property
    def _criterion(self) -> Criterion:
        """What had to become small."""
        return CHANGE

    @property
    def _other_way(self) -> str:
        """What to try where a fit does not converge, as the end of a message."""
        return ""


@contextmanager
def _stand_in(X: RowBlocks, spectrum_: Spectrum) -> Iterator[RowBlocks]:
    """Yield X, or the square data that stand in for a wide X.

    The iterates know X only through XXᵀ, which the square data share.
    """
    if not spectrum_.wide:
        yield X
        return
    root = spectrum_.compressed(X.dtype)
    with X.with_rows(root, compressed=True) as square:
        yield square


def _of_moderate_size(W: Array) -> Array:
    """Return a copy of W, multiplied by a power of two where its largest value is far from 1."""
    largest = float(W.max())
    if largest == 0 or 1 / FAR_FROM_ONE < largest < FAR_FROM_ONE:
        return W.copy()
    return np.ldexp(W.astype(np.float64), -int(np.frexp(largest)[1]))
