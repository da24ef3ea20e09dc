"""A model: components that new images are projected on, with the preprocessing that they need."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from opnmf_pipeline import __version__
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.dataset.model import read_model_file, require_projectable
from opnmf_pipeline.decomposition.missing import project
from opnmf_pipeline.exceptions import ConfigError, ModelError
from opnmf_pipeline.images.cohort import identifiers, row_names
from opnmf_pipeline.images.filelist import named_images
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.missing import NO_MASKS, Masks
from opnmf_pipeline.images.projection import Finish, Product, Shifted, products
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.selection.errors import relative_errors
from opnmf_pipeline.stages.decompose import read_factorization
from opnmf_pipeline.stages.imports import the_file
from opnmf_pipeline.stages.newimages import (
    doubt_about_units,
    other_units,
    require_suitable,
    usable_products,
)
from opnmf_pipeline.stages.newsubjects import NewSubjects
from opnmf_pipeline.stages.spaces import mask_of, open_mask

__all__ = ["ERROR", "OUTSIDE", "Model", "Projection", "project_images", "tabulated"]

logger = logging.getLogger(__name__)

ERROR, OUTSIDE = "reconstruction_error", "outside_training_range"
"""Columns of the error of an image, and of whether it is outside the range of the cohort."""
LEEWAY = 1e-6
"""Difference of squared errors that rounding can cause."""

ADJUSTMENT_MSG = (
    "{file}: is a fit of an adjusted matrix; give the folder of the adjustment, too (matrix_dir of "
    "AdjustMatrix)"
)
SETTINGS_MSG = (
    "{file}: has preprocessing settings that version {version} does not have ({keys}); install the "
    "version of opnmf-pipeline that wrote the model"
)
COMPONENTS_MSG = (
    "{file}: has {found} maps, but the model {model} has {expected} components; copy the model "
    "again"
)
MASKS_MSG = (
    "inputs.masks: needs a model that was fitted with matrix.nan: masked, but it was fitted with "
    "matrix.nan: {nan}"
)


class Projection(NamedTuple):
    """One image on the components of a model.

    Attributes
    ----------
    loadings : ndarray of shape (n_components,), float64
        h = Wᵀx.
    means : ndarray of shape (n_components,), float64
        Mean of the image weighted by each component, in the units of the image.
    error : float
        ‖x − Wh‖ / ‖x‖.
    """

    loadings: NDArray[np.float64]
    means: NDArray[np.float64]
    error: float


@dataclass(frozen=True, eq=False)
class Model:
    """Components of a cohort, for use on other images.

    Attributes
    ----------
    W : ndarray of shape (n_rows, n_components), float32 or float64
        Components, one per column; rows are the voxels (or vertices) of the mask, in C order.
    mask_file : path
        Mask of the analysis.
    preprocessing : MatrixConfig
        Preprocessing of the images of the cohort, which new images get, too.
    change : mapping or None
        Settings of the change between two sessions, if the components are of changes.
    measures : mapping or None
        Several measures that share the components, and how they were joined.
    shift : float
        Value that was subtracted from all values of these images.
    adjustment_file : path or None
        What was learned to adjust these images for covariates, sites or head size, if they were.
    mean_loadings : ndarray of shape (n_components,), float64, or None
        Mean loadings of the cohort, if values may be missing.
    training_errors : ndarray of shape (n_subjects,), float64
        ‖x − Wh‖ / ‖x‖ of each image of the cohort, in ascending order; may be empty.
    training_norms : sequence of float, or None
        Smallest, median and largest ‖x‖ of these images.
    labels : tuple of (str or None), or None
        Name of each component, such as a region of an atlas, if it has one.
    entities : mapping of str to str
        BIDS entities that all images of the cohort had.
    filters : mapping
        Filters that selected these images in their BIDS dataset.
    components_file : path or None
        Component maps that the model was loaded from.
    sha256 : str
        SHA-256 of the component maps; empty if the model was not loaded from maps.

    Examples
    --------
    >>> from opnmf_pipeline import Model
    >>> model = Model.load("OUT", n_components=10)  # doctest: +SKIP
    >>> table = model.project(["sub-01_probseg.nii.gz"])  # doctest: +SKIP
    """

    W: NDArray[np.floating]
    mask_file: Path
    preprocessing: MatrixConfig
    change: Mapping[str, Any] | None = None
    measures: Mapping[str, Any] | None = None
    shift: float = 0.0
    adjustment_file: Path | None = None
    mean_loadings: NDArray[np.float64] | None = None
    training_errors: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    training_norms: Sequence[float] | None = None
    labels: tuple[str | None, ...] | None = None
    entities: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, Any] = field(default_factory=dict)
    components_file: Path | None = None
    sha256: str = ""

    @classmethod
    def load(
        cls,
        source: str | Path,
        n_components: int | None = None,
        *,
        mask: str | Path | None = None,
    ) -> Self:
        """Load a model, and check that its files are complete.

        Parameters
        ----------
        source : path
            Output folder of a run, folder with a copied or exported model, or the file of one
            model. Or from others: a label image, an image of several maps, a folder of sopnmf or
            cobra-nmf with one image per component, or a matrix W (``.mat``, ``.npz``, ``.npy``).
        n_components : int, optional
            Number of components. It is required if the folder has models for several numbers.
        mask : path, optional
            Mask of a matrix W, whose voxels are its rows.

        Raises
        ------
        ModelError
            There is no such model, a newer version wrote it, or a file is missing or has changed.
        """
        return cls.of_file(
            the_file(Path(source), n_components, None if mask is None else Path(mask))
        )

    @classmethod
    def of_file(cls, file: Path) -> Self:
        """Load the model of one file, ``..._model.json``; as :meth:`load`."""
        content = read_model_file(file)
        content.require_one_map(file)
        content.require_intact(file)
        try:
            preprocessing = MatrixConfig(**content.Preprocessing)
        except ValidationError as error:
            keys = ", ".join(str(one["loc"][0]) for one in error.errors())
            raise ModelError(
                SETTINGS_MSG.format(file=file, version=__version__, keys=keys)
            ) from None
        mask_file, maps = file.with_name(content.Mask), file.with_name(content.Components)
        adjustment = content.Adjustment
        W = open_mask(mask_file).masked(maps)
        W = W.reshape(len(W), -1)
        if W.shape[1] != content.NumberOfComponents:
            raise ModelError(
                COMPONENTS_MSG.format(
                    file=maps, found=W.shape[1], model=file, expected=content.NumberOfComponents
                )
            )
        return cls(
            W=W,
            mask_file=mask_file,
            preprocessing=preprocessing,
            change=content.Change,
            measures=content.Measures,
            shift=content.Shift,
            adjustment_file=None if adjustment is None else file.with_name(adjustment),
            mean_loadings=None if content.MeanLoadings is None else np.array(content.MeanLoadings),
            training_errors=np.sort(content.TrainingErrors),
            training_norms=content.TrainingNorms,
            labels=None if content.Labels is None else tuple(content.Labels),
            entities=content.Entities,
            filters=content.Filters,
            components_file=maps,
            sha256=content.SHA256[content.Components],
        )

    @classmethod
    def of_fit(
        cls, factorization_file: Path, mask_file: Path, adjustment_file: Path | None = None
    ) -> Self:
        """Return the model of a fit in a work folder.

        Parameters
        ----------
        factorization_file : path
            ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`.
        mask_file : path
            The mask that the rows of W belong to.
        adjustment_file : path, optional
            ``adjustment.json`` of :func:`opnmf_pipeline.stages.adjust.adjust_matrix`; required if
            the matrix was adjusted.

        Raises
        ------
        ImageError
            The mask is not that of the factorization.
        ModelError
            The matrix was adjusted, and ``adjustment_file`` is missing.
        """
        fit = read_factorization(factorization_file)
        mask_of(mask_file, factorization_file)
        if "Adjustment" not in fit.info:
            adjustment_file = None
        elif adjustment_file is None or not adjustment_file.exists():
            raise ModelError(ADJUSTMENT_MSG.format(file=factorization_file))
        mean = fit.info.get("MeanLoadings")
        return cls(
            W=fit.W,
            mask_file=mask_file,
            preprocessing=MatrixConfig(**fit.info["Preprocessing"]),
            change=fit.info["Change"]["Settings"] if "Change" in fit.info else None,
            measures=fit.info.get("Measures"),
            shift=fit.info["Shift"],
            adjustment_file=adjustment_file,
            mean_loadings=None if mean is None else np.array(mean),
            training_errors=np.sort(fit.info["RelativeErrors"]),
            training_norms=fit.info["NormExtent"],
        )

    def __repr__(self) -> str:
        """Return the size of the model and its file, and not its matrix."""
        source = str(self.components_file or self.mask_file)
        return f"Model(n_components={self.n_components}, n_rows={len(self.W)}, source={source!r})"

    @property
    def n_components(self) -> int:
        """Number of components."""
        return int(self.W.shape[1])

    @property
    def names(self) -> list[str]:
        """Columns of the loadings: ``component01``, ..."""
        return component_names(self.n_components)

    @property
    def mean_names(self) -> list[str]:
        """Columns of the weighted means: ``component01_mean``, ..."""
        return [f"{name}_mean" for name in self.names]

    @cached_property
    def mask(self) -> Mask:
        """The mask, whose places are the rows of W."""
        return open_mask(self.mask_file)

    @property
    def components_img(self) -> Any:
        """Components as an image in memory, one map each (NIfTI, or CIFTI for surfaces)."""
        return self.mask.unmasked(np.asarray(self.W))

    @cached_property
    def _gram(self) -> NDArray[np.float64]:
        W = self.W.astype(np.float64)
        return W.T @ W

    @cached_property
    def _sums(self) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = self.W.sum(axis=0, dtype=np.float64)
        return sums

    def project(
        self,
        images: Sequence[str | Path],
        names: Sequence[str] | None = None,
        *,
        covariates: pd.DataFrame | None = None,
        resample: bool = False,
        n_procs: int = 1,
    ) -> pd.DataFrame:
        """Project images on the components.

        Each image is preprocessed as the images of the cohort were. Images in other units than
        those of the cohort are a warning.

        Parameters
        ----------
        images : sequence of path
            One image per subject or session, in the space of the model. Of an image with one file
            per hemisphere, one or both files.
        names : sequence of str, optional
            Name of each image. Default: subject and session in the file name, or the file name.
        covariates : DataFrame, optional
            Table with ``participant_id`` (and ``session_id``) and the columns that the images of
            the cohort were adjusted for; required if they were. Rows are found by their names.
        resample : bool
            Resample images on another grid to that of the model (linear interpolation, after
            smoothing if their voxels are smaller). Default: such images are an error.
        n_procs : int
            Largest number of processes.

        Returns
        -------
        DataFrame
            One row per image: ``participant_id`` (and ``session_id``); the loading h = Wᵀx on each
            component (``component01``, ...); the mean of the image weighted by each component
            (``component01_mean``, ..., in the units of the image); ``reconstruction_error``,
            ‖x − Wh‖ / ‖x‖; and, if the model has the errors of its cohort,
            ``outside_training_range``, whether the error is smaller or larger than all of these.

        Raises
        ------
        ImageError
            An image is missing or damaged, is on another grid or in another space, shows something
            else than the images of the cohort, does not overlap with the mask, or has NaN or
            negative values that the preprocessing does not allow.
        CohortError
            A subject cannot be adjusted: it has no value in a column, or an unknown site.
        """
        cohort = named_images(images, names)
        rows, paths = cohort["row"].tolist(), cohort["image"].tolist()
        finish = self.finish(paths, rows, covariates)
        found = project_images([self], paths, rows, finish, resample=resample, n_procs=n_procs)
        table = tabulated(self, rows, [one for _, (one,) in found])
        if doubt := doubt_about_units(self.other_units(table), len(table)):
            logger.warning("%s", doubt)
        return table

    def finish(
        self, images: Sequence[str | Path], names: Sequence[str], covariates: pd.DataFrame | None
    ) -> Finish:
        """Return what makes values of the matrix from images: their shift, or their adjustment.

        Parameters and errors are those of :meth:`opnmf_pipeline.stages.newsubjects.NewSubjects.of`;
        components of changes between two sessions, or of several measures, are a ModelError.
        """
        require_projectable(self.components_file or self.mask_file, self.change, self.measures)
        if self.adjustment_file is None:
            return Shifted(self.shift)
        negative = self.preprocessing.negative
        return NewSubjects.of(
            self.adjustment_file, images, names, covariates, negative=negative, shift=self.shift
        )

    def of_product(
        self, loadings: NDArray[np.float64], norm: float, residual: float | None = None
    ) -> Projection:
        """Return the projection of an image from h = Wᵀx and ‖x‖; with missing values ‖x − Wh‖."""
        (error,) = relative_errors(np.array([norm]), loadings[np.newaxis], self._gram)
        if residual is not None:
            error = residual / norm
        means = np.full_like(loadings, np.nan)
        np.divide(loadings, self._sums, out=means, where=self._sums > 0)
        return Projection(loadings, means + self.shift, float(error))

    def other_units(self, table: pd.DataFrame) -> dict[str, float]:
        """Return the images whose values are on another scale than those of the cohort.

        Parameters
        ----------
        table : DataFrame
            Projections of images, see :meth:`project`. Their errors do not depend on the scale.

        Returns
        -------
        dict of str to float
            ‖x‖ of each such image, divided by its median over the cohort.
        """
        if self.training_norms is None:
            return {}
        H = table[self.names].to_numpy(dtype=np.float64)
        explained = 2 * np.sum(H**2, axis=1) - np.sum((H @ self._gram) * H, axis=1)
        left = 1 - table[ERROR].to_numpy(dtype=np.float64) ** 2
        squares = np.maximum(explained, 0) / np.maximum(left, np.finfo(np.float32).eps)
        return other_units(pd.Series(np.sqrt(squares), row_names(table)), self.training_norms)

    def is_outside(self, errors: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether errors are smaller or larger than those of all images of the cohort."""
        low, high = self.training_errors[[0, -1]] ** 2
        squares = errors**2
        outside: NDArray[np.bool_] = (squares < low - LEEWAY) | (squares > high + LEEWAY)
        return outside


def project_images(
    models: Sequence[Model],
    images: Sequence[str | Path],
    names: Sequence[str],
    finish: Finish,
    *,
    resample: bool = False,
    masks: Masks = NO_MASKS,
    n_procs: int = 1,
    track: Track = silent,
    stop_at_first: bool = False,
) -> Iterator[tuple[int, list[Projection]]]:
    """Project each image on each model; each image is read once.

    Parameters
    ----------
    models : sequence of Model
        Models with one mask and one preprocessing.
    images, names : sequence
        Path of each image, and its name in messages.
    finish : Finish
        :meth:`Model.finish` of these images.
    resample : bool
        Resample images on another grid to that of the models.
    masks : mapping of str to ImageMask, optional
        Masks of missing voxels, for models whose preprocessing allows missing values.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.
    stop_at_first : bool
        Whether to stop at the first image that cannot be used.

    Returns
    -------
    iterator of (int, list of Projection)
        Index of the image, from 0, and one projection per model.

    Raises
    ------
    ImageError
        Images do not fit the models (:func:`require_suitable`): raised before any image is read.
        Or, from the iterator, images are damaged or have values that the preprocessing does not
        allow: raised after the results of the other images were yielded.
    """
    first = models[0]
    if masks and not first.preprocessing.masked:
        raise ConfigError(MASKS_MSG.format(nan=first.preprocessing.nan))
    require_suitable(
        first.mask_file, first.entities, first.preprocessing, images, resample=resample
    )
    each = ((np.asarray(model.W, dtype=np.float64), model.mean_loadings) for model in models)
    weights = [(W, partial(project, W=W, mean=mean)) for W, mean in each]
    found = products(images, first.mask, first.preprocessing, finish, weights, masks, n_procs)
    tracked = track(found, "project", len(images))
    data = first.mask.grid.words.data
    usable = usable_products(tracked, names, data, stop_at_first=stop_at_first)
    return ((number, _projections(models, one)) for number, one in usable)


def _projections(models: Sequence[Model], product: Product) -> list[Projection]:
    each = zip(models, product.loadings, product.residuals, strict=True)
    return [model.of_product(h, product.norm, left) for model, h, left in each]


def tabulated(model: Model, rows: Sequence[str], found: Sequence[Projection]) -> pd.DataFrame:
    """Return a table with one row per image; its columns are those of :meth:`Model.project`."""
    shape = (len(found), model.n_components)
    loadings = np.reshape([one.loadings for one in found], shape)
    means = np.reshape([one.means for one in found], shape)
    errors = np.array([one.error for one in found], dtype=np.float64)
    # float32, as the loadings of a run
    table = pd.concat(
        [
            identifiers(rows),
            pd.DataFrame(loadings.astype(np.float32), columns=model.names),
            pd.DataFrame(means.astype(np.float32), columns=model.mean_names),
        ],
        axis=1,
    )
    table[ERROR] = errors.astype(np.float32)
    if len(model.training_errors):
        table[OUTSIDE] = model.is_outside(errors)
    return table
