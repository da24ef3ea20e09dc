"""Scikit-learn estimators of projective non-negative matrix factorizations."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.optimize import nnls
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from opnmf_pipeline.decomposition.accelerated import accelerate
from opnmf_pipeline.decomposition.checkpoint import Checkpoint
from opnmf_pipeline.decomposition.initialization import INITS, initial_weights
from opnmf_pipeline.decomposition.multiplicative import iterate, orthonormal_rule, projective_rule
from opnmf_pipeline.decomposition.optimality import kkt_residual
from opnmf_pipeline.decomposition.orthonormal import orthonormal, sample_size
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, residual_norm
from opnmf_pipeline.decomposition.progress import Iteration, Progress
from opnmf_pipeline.decomposition.spectrum import Spectrum, spectrum
from opnmf_pipeline.decomposition.validation import (
    DataFacts,
    check_choice,
    check_data,
    check_memory,
    check_parameters,
    check_rank,
    check_start,
)
from opnmf_pipeline.exceptions import ConvergenceWarning

SOLVERS = ("multiplicative", "accelerated", "orthonormal")
"""The solvers of `OPNMF`."""

START_TOL, START_ITER = 0.03, 40
"""How well the orthonormal start of ``accelerated`` has to converge."""

FREE_SETTINGS = {
    "max_iter",
    "n_threads",
    "max_memory",
    "verbose",
    "callback",
    "checkpoint",
    "checkpoint_minutes",
}
"""What a resumed fit may change: none of it has an influence on the iterates."""

NOT_CONVERGED_MSG = (
    "{name} stopped at max_iter={max_iter} with change {change:.3g}, not below tol={tol:g}; "
    "raise max_iter, or raise tol if a coarser solution will do"
)
PROJECT_MSG = "{name}.project expects the {n_rows} rows (voxels) of the fit, got shape {shape}"


class _ProjectiveNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """What the estimators share: everything but the solver."""

    n_components: int
    init: str
    tol: float
    max_iter: int
    random_state: Any
    dtype: str
    n_threads: int | None
    max_memory: float | None
    verbose: int
    callback: Callable[[Iteration], object] | None
    checkpoint: str | Path | None
    checkpoint_minutes: float

    def fit(self, X: Array, y: None = None, *, W_init: Array | None = None) -> Self:
        """Factorize X.

        Parameters
        ----------
        X : array-like of shape (n_voxels, n_subjects)
            The data, non-negative, one row per voxel. A memory map is read block by block.
        y : None
            Not used.
        W_init : array-like of shape (n_voxels, n_components), optional
            The start, for ``init='custom'`` only.

        Returns
        -------
        Self
            The fitted estimator.
        """
        self._check_parameters()
        X = validate_data(self, X, dtype="numeric", ensure_all_finite=False)
        check_rank(self.n_components, X.shape)
        check_start(W_init, self.init, (X.shape[0], self.n_components))
        with RowBlocks(X, self.dtype, self.n_threads) as blocks:
            progress = self._factorize(blocks, W_init)
        if not progress.converged and not progress.stopped:
            self._warn(progress)
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
            New subjects, on the voxels of the fit.

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
        with RowBlocks(X, self.dtype, self.n_threads) as blocks:
            return moments(blocks, self.coef_).M.T.astype(self.dtype)

    @property
    def _n_features_out(self) -> int:
        """Number of columns that `transform` returns."""
        return int(self.n_components_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_parameters(self) -> None:
        check_parameters(self.get_params())
        check_choice("init", self.init, INITS)

    def _factorize(self, X: RowBlocks, W_init: Array | None) -> Progress:
        """Start, solve, and set the fitted attributes."""
        k = int(self.n_components)  # numpy's small integers would overflow
        check_memory(self.max_memory, X, k, sample_size(X.shape[0], k))
        facts = check_data(X, type(self).__name__)
        spectrum_ = spectrum(X, k)
        W = self._start(X, facts, spectrum_, W_init)
        level = logging.INFO if self.verbose else logging.DEBUG
        checkpoint = self._checkpoint(X, spectrum_)
        progress = Progress(self.tol, self.max_iter, self.callback, level, checkpoint)
        if spectrum_.wide:
            # the iterates know X only through XXᵀ, which the square stand-in shares
            with RowBlocks(spectrum_.compressed(), self.dtype, self.n_threads) as square:
                W = self._solve(square, W, progress)
        else:
            W = self._solve(X, W, progress)
        W[facts.zero_rows] = 0
        self._set_factors(X, W)
        self.kkt_residual_ = kkt_residual(X, self.coef_)
        self.lower_bound_ = spectrum_.lower_bound(k)
        self.history_ = progress.history
        self.n_iter_ = len(progress.history)
        self.converged_ = progress.converged
        return progress

    def _checkpoint(self, X: RowBlocks, spectrum_: Spectrum) -> Checkpoint | None:
        """Return where to save the state, for the fits that have the same course as this one."""
        if self.checkpoint is None:
            return None
        settings = self.get_params().items()
        identity = {
            "estimator": type(self).__name__,
            **{name: str(value) for name, value in settings if name not in FREE_SETTINGS},
            "shape": X.shape,
            "squared_norm": spectrum_.squared_norm,
        }
        return Checkpoint(self.checkpoint, self.checkpoint_minutes, identity)

    def _start(
        self, X: RowBlocks, facts: DataFacts, spectrum_: Spectrum, W_init: Array | None
    ) -> Array:
        """Return the first W, an array that the solver may overwrite."""
        if W_init is not None:
            return np.array(W_init, dtype=self.dtype, order="C")
        rng = check_random_state(self.random_state)
        return initial_weights(X, self.n_components, self.init, spectrum_, facts.mean, rng)

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        """Return the last W of the solver; the first may be overwritten."""
        raise NotImplementedError

    def _set_factors(self, X: RowBlocks, W: Array) -> None:
        """Sort the components by ‖w‖·‖h‖, largest first, and set what follows from W."""
        M, G, *_ = moments(X, W)
        sizes = np.sqrt(np.diag(G)) * np.linalg.norm(M, axis=0)
        order = np.argsort(-sizes, kind="stable")
        self.coef_ = np.ascontiguousarray(W[:, order])
        self.components_ = M.T[order].astype(self.dtype)
        self.reconstruction_err_ = residual_norm(X, self.coef_, self.components_)
        self.mse_ = self.reconstruction_err_
        self.n_components_ = int(self.n_components)

    def _warn(self, progress: Progress) -> None:
        message = NOT_CONVERGED_MSG.format(
            name=type(self).__name__,
            max_iter=self.max_iter,
            change=progress.history[-1].change,
            tol=self.tol,
        )
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


class OPNMF(_ProjectiveNMF):
    """Orthonormal projective non-negative matrix factorization.

    Finds W ≥ 0 with X ≈ WWᵀX, where the columns of W tend to be orthonormal, so that each voxel
    belongs to few components.

    Parameters
    ----------
    n_components : int, default=10
        Number of components k, at most the smaller side of X.
    solver : {'multiplicative', 'accelerated', 'orthonormal'}, default='multiplicative'
        ``multiplicative`` makes the published iterates [1]_, [2]_:
        W ← W ∘ (XXᵀW) ⊘ (WWᵀXXᵀW), W ← max(W, 1e-16), W ← W / ‖W‖₂.
        ``accelerated`` goes from an orthonormal start to a stationary point of that update, in far
        fewer passes over X. ``orthonormal`` has WᵀW = I exactly: every voxel belongs to one
        component, and the error never rises [3]_.
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'random', 'custom'}, default='nndsvd'
        The first W; for ``custom`` it is given to `fit` as ``W_init``.
    n_init : int, default=10
        Starts of ``orthonormal``, and so of ``accelerated``: the first W, and random voxels.
    tol : float, default=1e-5
        Converged once ‖W_old − W‖_F / ‖W_old‖_F is below this; for ``accelerated``, once the KKT
        residual is below ten times this.
    max_iter : int, default=50000
        The most iterations to make.
    random_state : int, RandomState or None, default=None
        Source of random numbers, for the random starts and ``nndsvdar``.
    dtype : {'float32', 'float64'}, default='float32'
        Dtype of W and H and of the arithmetic; sums over voxels are float64 in any case.
    n_threads : int or None, default=None
        Number of threads, None for as many as BLAS would use. The result does not depend on it.
    max_memory : float or None, default=None
        Private memory in MB that a fit may take; one that would need more is refused at once. A
        memory-mapped X does not count: it is read block by block.
    verbose : int, default=0
        Whether to log the course at INFO (otherwise at DEBUG).
    callback : callable or None, default=None
        Called with every `Iteration`; a true return value ends the fit, without a warning.
    checkpoint : str, Path or None, default=None
        A ``.npz`` file to keep the state of the solver in while it runs. A fit that finds it goes
        on from there, and ends with the same bits as one that was never interrupted. Converged,
        it deletes the file.
    checkpoint_minutes : float, default=10.0
        Time between two checkpoints.

    Attributes
    ----------
    coef_ : ndarray of shape (n_voxels, n_components)
        W, its columns sorted by ‖w_j‖·‖h_j‖, largest first. Voxels without data have weight 0.
    components_ : ndarray of shape (n_components, n_subjects)
        H = WᵀX.
    reconstruction_err_ : float
        ‖X − WH‖_F.
    mse_ : float
        The same; the name that it has in the library ``opnmf``.
    lower_bound_ : float
        Error of the truncated singular value decomposition: no k components can do better.
    kkt_residual_ : float
        Distance from a stationary point of the published update, relative to ‖W‖: what is left of
        min(W, (WS − XM) ⊘ diag S), with M = XᵀW and S = MᵀM, at the best scale of W.
    n_components_ : int
        Number of components.
    n_iter_ : int
        Number of updates made: the fit ended at iteration index ``n_iter_ - 1``.
    converged_ : bool
        Whether the change fell below `tol`.
    history_ : list of Iteration
        One record (iteration, objective, change) per update.
    n_features_in_ : int
        Number of columns (subjects) of X.

    See Also
    --------
    PNMF : The same model without the pull towards orthonormal columns.

    Notes
    -----
    Rows are voxels, as in the literature on structural covariance, so that in the words of
    scikit-learn a voxel is a sample. `transform` therefore weighs new voxels, and `project` gives
    the loadings of new subjects. At a fixed point W is, up to one factor, what `transform` returns
    for the rows of the fit.

    References
    ----------
    .. [1] Yang & Oja (2010). Linear and nonlinear projective nonnegative matrix factorization.
       IEEE Trans. Neural Networks 21(5). https://doi.org/10.1109/TNN.2010.2041361
    .. [2] Sotiras, Resnick & Davatzikos (2015). Finding imaging patterns of structural covariance
       via non-negative matrix factorization. NeuroImage 108.
       https://doi.org/10.1016/j.neuroimage.2014.11.045
    .. [3] Pompili, Gillis, Absil & Glineur (2014). Two algorithms for orthogonal nonnegative matrix
       factorization with application to clustering. Neurocomputing 141.
       https://doi.org/10.1016/j.neucom.2014.02.018

    Examples
    --------
    >>> import numpy as np
    >>> from opnmf_pipeline.decomposition import OPNMF
    >>> X = np.kron(np.eye(2), np.ones((3, 2)))
    >>> model = OPNMF(n_components=2).fit(X)
    >>> np.round(model.components_, 2)
    array([[0.  , 0.  , 1.73, 1.73],
           [1.73, 1.73, 0.  , 0.  ]], dtype=float32)
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        solver: str = "multiplicative",
        init: str = "nndsvd",
        n_init: int = 10,
        tol: float = 1e-5,
        max_iter: int = 50000,
        random_state: int | np.random.RandomState | None = None,
        dtype: str = "float32",
        n_threads: int | None = None,
        max_memory: float | None = None,
        verbose: int = 0,
        callback: Callable[[Iteration], object] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_minutes: float = 10.0,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.dtype = dtype
        self.n_threads = n_threads
        self.max_memory = max_memory
        self.verbose = verbose
        self.callback = callback
        self.checkpoint = checkpoint
        self.checkpoint_minutes = checkpoint_minutes

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("solver", self.solver, SOLVERS)

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        if self.solver == "multiplicative":
            return iterate(X, W, orthonormal_rule, progress, normalize=True)
        rng = check_random_state(self.random_state)
        if self.solver == "orthonormal":
            return orthonormal(X, W, progress, n_init=self.n_init, rng=rng)
        if not progress.resumed:
            start = Progress(START_TOL, START_ITER)
            W = orthonormal(X, W, start, n_init=self.n_init, rng=rng)
        return accelerate(X, W, progress)


class PNMF(_ProjectiveNMF):
    """Projective non-negative matrix factorization.

    Finds W ≥ 0 with the least ‖X − WWᵀX‖_F that it can reach, without asking for orthonormal
    columns. The update W ← W ∘ (2XXᵀW ⊘ (WWᵀXXᵀW + XXᵀWWᵀW))^⅓ never raises the error [1]_.

    Parameters
    ----------
    n_components : int, default=10
        Number of components k, at most the smaller side of X.
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'random', 'custom'}, default='nndsvd'
        The first W; for ``custom`` it is given to `fit` as ``W_init``.
    tol : float, default=1e-5
        Converged once ‖W_old − W‖_F / ‖W_old‖_F is below this.
    max_iter : int, default=50000
        The most iterations to make.
    random_state : int, RandomState or None, default=None
        Source of random numbers, for the random starts and ``nndsvdar``.
    dtype : {'float32', 'float64'}, default='float32'
        Dtype of W and H and of the arithmetic; sums over voxels are float64 in any case.
    n_threads : int or None, default=None
        Number of threads, None for as many as BLAS would use. The result does not depend on it.
    max_memory : float or None, default=None
        Private memory in MB that a fit may take; one that would need more is refused at once. A
        memory-mapped X does not count: it is read block by block.
    verbose : int, default=0
        Whether to log the course at INFO (otherwise at DEBUG).
    callback : callable or None, default=None
        Called with every `Iteration`; a true return value ends the fit, without a warning.
    checkpoint : str, Path or None, default=None
        A ``.npz`` file to keep the state of the solver in while it runs. A fit that finds it goes
        on from there, and ends with the same bits as one that was never interrupted. Converged,
        it deletes the file.
    checkpoint_minutes : float, default=10.0
        Time between two checkpoints.

    Attributes
    ----------
    coef_, components_, reconstruction_err_, mse_, lower_bound_, kkt_residual_, n_components_, \
n_iter_, converged_, history_, n_features_in_
        As in `OPNMF`.

    See Also
    --------
    OPNMF : Columns tend to be orthonormal.

    References
    ----------
    .. [1] Yang & Oja (2010). Linear and nonlinear projective nonnegative matrix factorization.
       IEEE Trans. Neural Networks 21(5). https://doi.org/10.1109/TNN.2010.2041361

    Examples
    --------
    >>> import numpy as np
    >>> from opnmf_pipeline.decomposition import PNMF
    >>> X = np.kron(np.eye(2), np.ones((3, 2)))
    >>> round(PNMF(n_components=2).fit(X).reconstruction_err_, 3)
    0.0
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        init: str = "nndsvd",
        tol: float = 1e-5,
        max_iter: int = 50000,
        random_state: int | np.random.RandomState | None = None,
        dtype: str = "float32",
        n_threads: int | None = None,
        max_memory: float | None = None,
        verbose: int = 0,
        callback: Callable[[Iteration], object] | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_minutes: float = 10.0,
    ) -> None:
        self.n_components = n_components
        self.init = init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.dtype = dtype
        self.n_threads = n_threads
        self.max_memory = max_memory
        self.verbose = verbose
        self.callback = callback
        self.checkpoint = checkpoint
        self.checkpoint_minutes = checkpoint_minutes

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        return iterate(X, W, projective_rule, progress, normalize=False)
