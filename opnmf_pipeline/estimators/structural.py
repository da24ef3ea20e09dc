"""Structural covariance as a transformer of scikit-learn: subjects in, loadings out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import DTypeLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.initialization import INITS
from opnmf_pipeline.decomposition.passes import RowBlocks, residual_norm
from opnmf_pipeline.decomposition.validation import ranks_to_try, require_unmasked
from opnmf_pipeline.estimators.masker import RunMasker
from opnmf_pipeline.exceptions import OrientationWarning
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.volumes.niimg import are_images, one_or_list
from opnmf_pipeline.selection.errors import column_norms, explained_variance, norm
from opnmf_pipeline.stages.newimages import doubt_about_units, extent, other_units

__all__ = ["StructuralCovariance"]

MASK_MSG = (
    "mask is given, but X is an array of shape {shape}: mask belongs to images; pass images, or "
    "mask=None"
)
NO_MASK_MSG = (
    "X contains images, but this StructuralCovariance was fitted to an array, so that it has no "
    "mask; fit it to images, or pass an array of shape (n_subjects, {n_features})"
)
EMPTY_MSG = (
    "X is an empty list: there are no images; check the pattern or the folder they come from"
)
NEGATIVE_MSG = (
    "Negative values in data passed to StructuralCovariance (input X): {n} of them, the least is "
    "{least:g}; the factorization is defined for X >= 0; a masker that standardizes, detrends or "
    "removes confounds makes values negative"
)
SCORE_MSG = (
    "R² is not defined, and the score is NaN: no subject of X differs from the mean of the "
    "training subjects, as after a fit to a single subject or to constant data, so that there is "
    "no variance to explain"
)
LOADINGS_MSG = (
    "X has shape {shape}; expected loadings of shape (n_subjects, {k}), as transform returns them"
)


class StructuralCovariance(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Components of structural covariance, and the loadings of subjects on them.

    A transformer of scikit-learn in which **a subject is a sample**. Its input is one image per
    subject, or an array of subjects × voxels. It finds W ≥ 0 with X ≈ XWWᵀ by orthonormal
    projective NMF, see `OPNMF`, and its output are the loadings XW, subjects × components. In
    cross-validation the mask and the components come from the training subjects only.

    Parameters
    ----------
    n_components : int, 'auto' or iterable of int, default=10
        Number of components k, at most the number of subjects and of voxels. Of several, one is
        chosen, as `OPNMF` does.
    mask : path, image, masker of nilearn or None, default=None
        Which voxels of images are analysed. None: as in a run with default settings, the voxels
        whose mean over the training subjects is above 0.2, within the brain mask of the template
        if the images are in MNI152 space. A path or an image: its voxels that are not zero, but not
        those that are zero in all training subjects. A masker: a clone of it is fitted to the
        training images, and masks and preprocesses all images; set its ``mask_img`` for a mask that
        is the same in all fits.
    solver : {'adaptive', 'accelerated', 'orthonormal', 'multiplicative'}, default='adaptive'
        As in `OPNMF`. The default is that of a run.
    init : {'nndsvd', 'nndsvda', 'nndsvdar', 'brainparts', 'random'}, default='nndsvd'
        First W.
    n_init : int, default=10
        Number of starts for disjoint components, as in `OPNMF`.
    tol : float, default=1e-5
        When a fit has converged, as in `OPNMF`.
    max_iter : int, default=50000
        Largest number of iterations.
    random_state : int, RandomState or None, default=0
        Seed of random starts. The default is that of a run, so that a fit can be repeated.
    dtype : {'float32', 'float64'} or the types of numpy, default='float32'
        Precision of the fit, and dtype of components and loadings.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_voxels)
        Wᵀ: one component per row, the largest first.
    components_img_ : image
        The components, one volume each. Only after a fit to images.
    mask_img_ : image
        1 in the voxels that are analysed. Only after a fit to images.
    masker_ : masker
        Makes rows from images, and images from rows. Only after a fit to images.
    mean_ : ndarray of shape (n_voxels,), float64
        Mean over the training subjects.
    sizes_ : list of float
        Root mean square of the values that are not zero: the smallest, the median and the largest
        of the training images. Images that are three or more times larger than the largest, or
        smaller than the smallest, are in other units, which is a warning. Only after a fit to
        images.
    opnmf_ : OPNMF
        The fit itself, with voxels as rows: its errors, its history, and the numbers of components
        that were tried.
    n_components_ : int
        Number of components.
    reconstruction_err_ : float
        ‖X − XWWᵀ‖_F of the training subjects.
    n_iter_ : int
        Number of iterations.
    n_features_in_ : int
        Number of voxels.
    feature_names_in_ : ndarray of shape (n_voxels,)
        Names of the columns of a table. Only after a fit to a table with such names.

    See Also
    --------
    OPNMF : The same factorization for an array of voxels × subjects.

    Notes
    -----
    With the same images and settings, the components are those of ``opnmf-pipeline run``.

    A single image is one subject, or it is 4D with one volume per subject. The functions of
    scikit-learn that split subjects need a list of images.

    Surfaces in files (GIFTI, FreeSurfer, CIFTI) work like volumes; their maps are CIFTI images. A
    ``SurfaceImage`` of nilearn requires a ``SurfaceMasker`` as ``mask``.

    Examples
    --------
    >>> import numpy as np
    >>> from opnmf_pipeline import StructuralCovariance
    >>> X = np.kron([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], np.ones((1, 4)))
    >>> model = StructuralCovariance(n_components=2).fit(X)
    >>> model.components_.round(2)
    array([[0.5, 0.5, 0.5, 0.5, 0. , 0. , 0. , 0. ],
           [0. , 0. , 0. , 0. , 0.5, 0.5, 0.5, 0.5]], dtype=float32)
    >>> model.transform(X).round(2)
    array([[2., 4.],
           [6., 2.],
           [4., 4.]], dtype=float32)
    >>> round(model.score(X), 3)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: OPNMF._parameter_constraints[name]
            for name in ("n_components", "solver", "n_init", "tol", "max_iter", "random_state")
        },
        "mask": [
            str,
            PathLike,
            HasMethods("to_filename"),
            HasMethods(["fit", "transform", "inverse_transform"]),
            None,
        ],
        "init": [StrOptions(set(INITS) - {"custom"})],
        "dtype": OPNMF._parameter_constraints["dtype"],
    }

    def __init__(
        self,
        n_components: int | str | Iterable[int] = 10,
        *,
        mask: Any = None,
        solver: str = "adaptive",
        init: str = "nndsvd",
        n_init: int = 10,
        tol: float = 1e-5,
        max_iter: int = 50000,
        random_state: int | np.random.RandomState | None = 0,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.n_components = n_components
        self.mask = mask
        self.solver = solver
        self.init = init
        self.n_init = n_init
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components of the training subjects.

        Parameters
        ----------
        X : images or array-like of shape (n_subjects, n_voxels)
            One image per subject (paths, or images in memory), one 4D image with one volume per
            subject, or their non-negative values.
        y : None
            Not used.

        Returns
        -------
        Self
            The fitted estimator.

        Raises
        ------
        ImageError
            Images are damaged or on different grids, or their values cannot be factorized.
        ValueError
            A parameter or the values of an array cannot be used.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> NDArray[Any]:
        """Find the components of the training subjects, and return their loadings.

        Parameters
        ----------
        X : images or array-like of shape (n_subjects, n_voxels)
            As in `fit`. Images are read once.
        y : None
            Not used.

        Returns
        -------
        ndarray of shape (n_subjects, n_components)
            Loadings XW, in the dtype of the estimator.
        """
        return self._loadings(self._fit(X))

    def transform(self, X: Any) -> NDArray[Any]:
        """Return the loadings of subjects.

        Parameters
        ----------
        X : images or array-like of shape (n_subjects, n_voxels)
            Subjects on the grid, or with the voxels, of the training subjects.

        Returns
        -------
        ndarray of shape (n_subjects, n_components)
            XW, in the dtype of the estimator.
        """
        check_is_fitted(self)
        return self._loadings(self._rows(X))

    def inverse_transform(self, X: Any) -> Any:
        """Return the subjects that loadings stand for.

        Parameters
        ----------
        X : array-like of shape (n_subjects, n_components)
            Loadings, as `transform` returns them.

        Returns
        -------
        ndarray of shape (n_subjects, n_voxels), or image
            XWᵀ; after a fit to images, an image with one volume per subject.
        """
        check_is_fitted(self)
        loadings = np.asarray(X)
        if loadings.ndim != 2 or loadings.shape[1] != self.n_components_:
            raise ValueError(LOADINGS_MSG.format(shape=loadings.shape, k=self.n_components_))
        rows: NDArray[Any] = loadings @ self.components_
        return self.masker_.inverse_transform(rows) if hasattr(self, "masker_") else rows

    def score(self, X: Any, y: Any = None) -> float:
        """Return R² of the reconstruction of subjects, about the mean of the training subjects.

        Parameters
        ----------
        X : images or array-like of shape (n_subjects, n_voxels)
            Subjects, such as those of a test set.
        y : None
            Not used.

        Returns
        -------
        float
            1 − ‖X − XWWᵀ‖² / ‖X − m‖²: 1 without any error, 0 if the components describe the
            subjects as well as the mean of the training subjects does, and negative if they
            describe them worse. NaN, with a warning, if all subjects equal the mean.
        """
        check_is_fitted(self)
        columns = _columns(self._rows(X))
        spread = norm(columns, self.mean_)
        if spread <= np.finfo(columns.dtype).eps * norm(columns):
            warnings.warn(SCORE_MSG, UndefinedMetricWarning, stacklevel=2)
            return float("nan")
        loadings = self.opnmf_.project(columns)
        with RowBlocks(columns, self.dtype) as blocks:
            error = residual_norm(blocks, self.opnmf_.coef_, loadings)
        return explained_variance(error, spread)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return the names of the loadings: ``component01``, ``component02`` and so on.

        Parameters
        ----------
        input_features : None
            Not used.

        Returns
        -------
        ndarray of shape (n_components,), object
            The names that runs use in their tables.
        """
        check_is_fitted(self)
        return np.array(component_names(self.n_components_), dtype=object)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _fit(self, X: Any) -> NDArray[Any]:
        """Fit, and return the rows of X, one per subject."""
        self._validate_params()
        rows = self._training_rows(X)
        ranks_to_try(self.n_components, rows.shape)  # refuses with the names of samples here
        settings = self.get_params(deep=False)
        del settings["mask"]
        columns = _columns(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OrientationWarning)  # columns are subjects for sure
            self.opnmf_ = OPNMF(**settings).fit(columns)
        self.components_ = self.opnmf_.coef_.T
        self.mean_ = columns.mean(axis=1, dtype=np.float64)
        self.n_components_ = self.opnmf_.n_components_
        self.reconstruction_err_ = self.opnmf_.reconstruction_err_
        self.n_iter_ = self.opnmf_.n_iter_
        if hasattr(self, "masker_"):
            self.sizes_ = extent(_sizes(rows))
            self.mask_img_ = self.masker_.mask_img_
            self.components_img_ = self.masker_.inverse_transform(self.components_)
        return rows

    def _training_rows(self, X: Any) -> NDArray[Any]:
        """Return one row per subject; fit the masker where X contains images."""
        for name in ("masker_", "sizes_", "mask_img_", "components_img_"):  # of an earlier fit
            self.__dict__.pop(name, None)
        if are_images(X):
            self.masker_, X = _masked(self.mask, one_or_list(X))
        elif self.mask is not None:
            raise ValueError(MASK_MSG.format(shape=np.shape(X)))
        return self._checked(X, reset=True)

    def _rows(self, X: Any) -> NDArray[Any]:
        """Return one row per subject, for a fitted estimator."""
        if not are_images(X):
            return self._checked(X, reset=False)
        if not hasattr(self, "masker_"):
            raise ValueError(NO_MASK_MSG.format(n_features=self.n_features_in_))
        rows = self._checked(_two_dimensional(self.masker_.transform(one_or_list(X))), reset=False)
        sizes = pd.Series(_sizes(rows), [f"X[{number}]" for number in range(len(rows))])
        if doubt := doubt_about_units(other_units(sizes, self.sizes_), len(rows)):
            warnings.warn(doubt, UserWarning, stacklevel=3)
        return rows

    def _checked(self, X: Any, *, reset: bool) -> NDArray[Any]:
        require_unmasked(X)
        if isinstance(X, list) and not X:
            raise ValueError(EMPTY_MSG)
        rows: NDArray[Any] = validate_data(self, X, dtype=[np.float32, np.float64], reset=reset)
        if rows.min() < 0:
            raise ValueError(NEGATIVE_MSG.format(n=int((rows < 0).sum()), least=rows.min()))
        return rows

    def _loadings(self, rows: NDArray[Any]) -> NDArray[Any]:
        return self.opnmf_.project(_columns(rows)).T


def _columns(rows: NDArray[Any]) -> NDArray[Any]:
    """Return subjects as columns, in C order; the rows of a `RunMasker` are not copied."""
    return np.ascontiguousarray(rows.T)


def _sizes(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the root mean square of the values that are not zero, for each subject.

    Unlike a norm, it does not depend on the size of a lesion.
    """
    counts = np.maximum(np.count_nonzero(rows, axis=1), 1)
    sizes: NDArray[np.float64] = column_norms(rows.T) / np.sqrt(counts)
    return sizes


def _masked(mask: Any, images: Any) -> tuple[Any, NDArray[Any]]:
    """Return a masker that is fitted to images, and one row per image."""
    if not hasattr(mask, "inverse_transform"):
        masker = RunMasker(mask)
        return masker, masker.fit_transform(images)
    masker = clone(mask)
    # a masker that has its mask warns if it gets images
    masker.fit(images if masker.mask_img is None else None)
    return masker, _two_dimensional(masker.transform(images))


def _two_dimensional(masked: Any) -> NDArray[Any]:
    """Return one row per subject; maskers return one array per image, or 1D for one image."""
    return np.vstack(masked) if isinstance(masked, list) else np.atleast_2d(masked)
