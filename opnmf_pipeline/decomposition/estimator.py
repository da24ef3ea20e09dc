"""Scikit-learn estimators of projective non-negative matrix factorizations."""

from collections.abc import Callable, Iterable
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils._param_validation import Interval, StrOptions

from opnmf_pipeline.decomposition.base import ProjectiveNMF
from opnmf_pipeline.decomposition.multiplicative import iterate, projective_rule
from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.progress import Criterion, Iteration, Progress
from opnmf_pipeline.decomposition.solvers import SOLVERS

OTHER_WAY_MSG = "; solver='adaptive', which runs use, ends after some dozens of passes"


class OPNMF(ProjectiveNMF):
    """Orthonormal projective non-negative matrix factorization.

    Without ``solver`` it makes the published iterates, as the library ``opnmf`` does: they take
    tens of thousands of passes and often end far from the parts that are there. Runs of
    opnmf-pipeline use ``solver='adaptive'``, which takes dozens of passes.

    Finds W ≥ 0 with X ≈ WWᵀX, where the columns of W tend to be orthonormal, so that each voxel
    belongs to few components.

    Parameters
    ----------
    n_components : int, 'auto' or iterable of int, default=10
        Number of components k, at most the smaller side of X. Of several, each is fitted to X and
        to X with the voxels of each subject shuffled, and the one is chosen beyond which
        components gain no more than on shuffled data, see `rank_permute`. ``'auto'`` tries all
        from 2 to half of the smaller side of X, 40 at most.
    solver : {'multiplicative', 'adaptive', 'accelerated', 'orthonormal'}, default='multiplicative'
        ``multiplicative`` makes the published iterates [1]_, [2]_:
        W ← W ∘ (XXᵀW) ⊘ (WWᵀXXᵀW), W ← max(W, 1e-16), W ← W / ‖W‖₂.
        ``accelerated`` goes to a stationary point of that update, in some dozens of passes over X.
        ``orthonormal`` has WᵀW = I exactly: every voxel belongs to one
        component, and the error never rises [3]_.
        ``adaptive`` returns what ``orthonormal`` finds where it has a lower error and agrees
        at least as well, within 0.02, between two halves of the subjects (with more subjects than
        voxels: between two starts), and else a stationary point that starts from what the
        halves of the subjects have in common.
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'brainparts', 'random', 'custom'}, default='nndsvd'
        The first W; for ``custom`` it is given to `fit` as ``W_init``. ``brainparts`` is NNDSVD
        with its zeros set to 0.1, the start of the programs brainparts and sopnmf.
    n_init : int, default=10
        Starts of ``orthonormal``: the first W, and random voxels. Of ``adaptive``: those for
        disjoint parts, where it chooses these.
    tol : float, default=1e-5
        Converged once ‖W_old − W‖_F / ‖W_old‖_F is below this; for ``accelerated`` and the
        overlapping parts of ``adaptive``, once the KKT residual is below ten times this.
    max_iter : int, default=50000
        The most iterations to make.
    random_state : int, RandomState or None, default=None
        Source of random numbers, for the random starts and ``nndsvdar``.
    missing : {'error', 'masked'}, default='error'
        What NaN in X means: ``error``: X is refused; ``masked``: the value is missing. The fit is
        then to the observed values [4]_: it fills the missing values with WH, where H are the
        non-negative loadings with the least error over the observed values, and fits again, until
        the error of the observed values no longer falls. Without NaN, the fit is the same.
    dtype : {'float32', 'float64'} or the types of numpy, default='float32'
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
        A ``.npz`` file to keep the state of the solver in while it runs. A fit that finds it
        continues from there, and ends with the same bits as one that was never interrupted. A fit
        that converges deletes the file.
    checkpoint_minutes : float, default=10.0
        Time between two checkpoints.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://node1:8786``. Its workers then read X, a memory
        map, from its file, keep its rows in memory, and make the passes. It has no influence on the
        result but for rounding errors. Needs ``pip install "opnmf-pipeline[dask]"``.
    device : str, optional
        Device of torch, such as ``cuda`` or ``cuda:1``, that makes the matrix products. It has no
        influence on the result but for rounding errors. X that does not fit its memory is copied to
        it block by block in every pass. Needs ``pip install "opnmf-pipeline[gpu]"``.

    Attributes
    ----------
    coef_ : ndarray of shape (n_voxels, n_components)
        W, its columns sorted by ‖w_j‖·‖h_j‖, largest first. Voxels without data have weight 0.
    components_ : ndarray of shape (n_components, n_subjects)
        H = WᵀX. With missing values, X is filled as the parameter `missing` says.
    mean_loadings_ : ndarray of shape (n_components,), float64
        The h ≥ 0 with the least ‖x̄ − Wh‖, x̄ being the mean of the columns of X. `project` uses it
        for new subjects that lack all rows of a component. Only with ``missing='masked'``.
    reconstruction_err_ : float
        ‖X − WH‖_F, of the observed values.
    mse_ : float
        The same; the name that it has in the library ``opnmf``.
    lower_bound_ : float
        Error of the truncated singular value decomposition: no k components can do better.
    kkt_residual_ : float
        Distance from a stationary point of the published update, relative to ‖W‖: what is left of
        min(W, (WS − XM) ⊘ diag S), with M = XᵀW and S = MᵀM, at the best scale of W.
    n_components_ : int
        Number of components.
    ranks_, errors_, random_errors_ : ndarray of shape (n_ranks,)
        Numbers of components that were tried, their errors, and those of shuffled data; only where
        a number was chosen.
    good_ranks_ : ndarray of shape (n_good,)
        The good ones, see `rank_permute`; none where the data show no structure.
    n_iter_ : int
        Number of updates made: the fit ended at iteration index ``n_iter_ - 1``.
    n_passes_ : int
        How often the fit read all values of X; samples of rows, and what fills missing values, are
        not counted.
    compression_loss_ : float
        Share of ‖X‖² that the data of the search lack: X with more than 1000 columns, and with many
        times more columns than components, is compressed for the search of all solvers but
        ``multiplicative``. The fit then ends on X. Else 0.
    converged_ : bool
        Whether the change fell below `tol`.
    history_ : list of Iteration
        One record (iteration, objective, change) per update.
    n_features_in_ : int
        Number of columns (subjects) of X.

    See Also
    --------
    StructuralCovariance : The same factorization of subjects × voxels, or of images.
    PNMF : The same model without the pull towards orthonormal columns.
    rank_permute : The choice of a number of components by itself, with its reason in words.

    Notes
    -----
    Rows are voxels, as in the literature on structural covariance, so that in the terms of
    scikit-learn a voxel is a sample. `transform` therefore weighs new voxels, and `project` gives
    the loadings of new subjects. `StructuralCovariance` has subjects as samples, for pipelines and
    cross-validation. At a fixed point W is, up to one factor, what `transform` returns for the rows
    of the fit.

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
    .. [4] Kiers (1997). Weighted least squares fitting using ordinary least squares algorithms.
       Psychometrika 62(2). https://doi.org/10.1007/BF02295279

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **ProjectiveNMF._parameter_constraints,
        "solver": [StrOptions(SOLVERS.keys())],
        "n_init": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components: int | str | Iterable[int] = 10,
        *,
        solver: str = "multiplicative",
        init: str = "nndsvd",
        n_init: int = 10,
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
        super().__init__(
            n_components,
            init=init,
            tol=tol,
            max_iter=max_iter,
            random_state=random_state,
            missing=missing,
            dtype=dtype,
            n_threads=n_threads,
            max_memory=max_memory,
            verbose=verbose,
            callback=callback,
            checkpoint=checkpoint,
            checkpoint_minutes=checkpoint_minutes,
            scheduler=scheduler,
            device=device,
        )
        self.solver = solver
        self.n_init = n_init

    @property
    def _criterion(self) -> Criterion:
        return SOLVERS[self.solver].criterion

    @property
    def _other_way(self) -> str:
        return OTHER_WAY_MSG if self.solver == "multiplicative" else ""

    @property
    def _compressible(self) -> bool:
        return SOLVERS[self.solver].compressible

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        solver = SOLVERS[self.solver]
        settings = {name: getattr(self, name) for name in solver.settings}
        return solver.run(X, W, progress, **settings)

    def _refine(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        return SOLVERS[self.solver].refine(X, W, progress)


class PNMF(ProjectiveNMF):
    """Projective non-negative matrix factorization.

    Finds W ≥ 0 with the least ‖X − WWᵀX‖_F that it can reach, without asking for orthonormal
    columns. The update W ← W ∘ (2XXᵀW ⊘ (WWᵀXXᵀW + XXᵀWWᵀW))^⅓ never raises the error [1]_.

    Parameters
    ----------
    n_components, init, tol, max_iter, random_state, missing, dtype, n_threads, max_memory, \
verbose, callback, checkpoint, checkpoint_minutes, scheduler, device
        As in `OPNMF`, for the solver ``multiplicative``.

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

    def _solve(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        return iterate(X, W, projective_rule, progress, normalize=False)

    def _refine(self, X: RowBlocks, W: Array, progress: Progress) -> Array:
        return self._solve(X, W, progress)
