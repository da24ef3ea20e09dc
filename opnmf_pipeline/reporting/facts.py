"""The facts of a report: results as data, from which texts, tables and pictures are made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.viewer import Embedded

__all__ = [
    "AdjustmentFacts",
    "AssociationFacts",
    "Facts",
    "FitFacts",
    "GridFacts",
    "QualityFacts",
    "ReliabilityFacts",
    "SelectionFacts",
    "SolverFacts",
    "Words",
]


class Words(Protocol):
    """What texts call the data of the subjects, such as :data:`opnmf_pipeline.images.space.WORDS`.

    ``opnmf_pipeline.images.space.Words`` describes the attributes.
    """

    @property
    def data(self) -> str:
        """Name of the data, plural."""

    @property
    def columns(self) -> str:
        """Name of the columns of the matrix."""

    @property
    def changes(self) -> str:
        """Name of changes between two sessions."""

    @property
    def cohort(self) -> str:
        """What was factorized."""

    @property
    def used(self) -> str:
        """What was used of the subjects."""

    @property
    def used_twice(self) -> str:
        """What was used of the subjects, of two sessions."""

    @property
    def mean(self) -> str:
        """Name of the mean of the columns of the matrix."""

    @property
    def entry(self) -> str:
        """What is entered twice if the data of two subjects are equal."""

    @property
    def if_poor(self) -> str:
        """What poor coverage can come from."""


class GridFacts(Protocol):
    """What texts say about the grid of the images.

    Attributes
    ----------
    element, elements : str
        Name of a place of the grid, singular and plural: ``voxel``, ``voxels``.
    words : Words
        What texts call the data of the subjects.
    """

    @property
    def element(self) -> str:
        """Name of a place, singular."""

    @property
    def elements(self) -> str:
        """Name of places, plural."""

    @property
    def words(self) -> Words:
        """What texts call the data of the subjects."""

    @property
    def in_space(self) -> bool:
        """Whether the places are in space."""

    @property
    def has_coordinates(self) -> bool:
        """Whether the coordinates of the places are known."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each axis, in mm; empty if the grid has no axes."""


@dataclass(frozen=True)
class SolverFacts:
    """The solver of a fit.

    Attributes
    ----------
    label : str
        Its name for readers.
    methods : str
        Its sentences for the methods section.
    tolerance : float or None
        Relative change of W at which its fits end; None if the solver uses another criterion.
    """

    label: str
    methods: str
    tolerance: float | None


@dataclass(frozen=True)
class AssociationFacts:
    """Associations of the loadings of a fit with covariates.

    Attributes
    ----------
    table : DataFrame
        Table of :func:`opnmf_pipeline.reporting.associations.measure_associations`.
    covariates : mapping of str to dict
        Type and levels of each covariate.
    unused : mapping of str to str
        Columns of the table of subjects that are not used, each with the reason.
    notes : sequence of str
        What was left out of the models, as sentences.
    """

    table: pd.DataFrame
    covariates: Mapping[str, Mapping[str, Any]]
    unused: Mapping[str, str]
    notes: Sequence[str]


@dataclass(frozen=True)
class ReliabilityFacts:
    """Which components, and which of their voxels, other subjects show too.

    Attributes
    ----------
    table : DataFrame
        Table of :func:`opnmf_pipeline.stages.reliability.measure_reliability`.
    shares : ndarray of shape (n_voxels,), float32
        Share of the resamples that assign each voxel to its component.
    resamples : str
        What they are, such as ``10 halves of the cohort``.
    n_splits : int
        Number of splits that the reproducibility comes from; 0 if there are none.
    size_units : str
        Units of the sizes, ``mm^3`` or the name of the places.
    draw : callable
        Draws the map of the shares.
    in_viewer : bool
        Whether the viewer has the map of the shares, too.
    """

    table: pd.DataFrame
    shares: NDArray[np.floating]
    resamples: str
    n_splits: int
    size_units: str
    draw: Callable[[], Figure]
    in_viewer: bool = True

    def verdicts(self, verdict: str) -> pd.DataFrame:
        """Return the rows of the components with a value of ``reproduced``."""
        return self.table[self.table["reproduced"] == verdict]


@dataclass(frozen=True)
class FitFacts:
    """The fit with one number of components.

    Attributes
    ----------
    info : dict
        Content of ``factorization.json``.
    solver : SolverFacts
        Its solver.
    parts : DataFrame
        Label table, one row per component: ``index``, ``name``, the size, such as ``n_voxels``,
        ``proposed_name`` if there is an atlas, and further columns of the space of the images.
    loadings : DataFrame
        One row per subject, one column per component.
    nearest : ndarray of shape (n_components,), int
        For each component, the index of the other component with the largest overlap.
    overlaps : ndarray of shape (n_components,), float64
        Cosine of each component and this other component.
    explained, explained_about_zero : float
        Share of the variance that the fit explains, about the mean of the subjects (R²) and about
        zero. The first is NaN for a fit of version 0.1, which did not store the norm about the
        mean.
    errors : Series or None
        Relative reconstruction error of each subject; None if the norms of the images are unknown.
    measures : sequence of str or None
        Measure of each row of the loadings, if several measures have loadings of their own.
    montage, label_map : path or None
        Pictures of the components and of their parts.
    views : str
        How the pictures show each component, such as ``in three cuts``.
    regions : DataFrame or None
        Regions of the atlas in each component, in the columns of
        :data:`opnmf_pipeline.stages.anatomy.REGION_COLUMNS`; None without an atlas.
    associations : AssociationFacts or None
        Associations with covariates, if they were measured.
    reliability : ReliabilityFacts or None
        Comparison with fits of other subjects, if there are any.
    """

    info: Mapping[str, Any]
    solver: SolverFacts
    parts: pd.DataFrame
    loadings: pd.DataFrame
    nearest: NDArray[np.intp]
    overlaps: NDArray[np.float64]
    explained: float
    explained_about_zero: float
    errors: pd.Series[float] | None = None
    measures: Sequence[str] | None = None
    montage: Path | None = None
    label_map: Path | None = None
    views: str = ""
    regions: pd.DataFrame | None = None
    associations: AssociationFacts | None = None
    reliability: ReliabilityFacts | None = None

    @property
    def k(self) -> int:
        """Number of components."""
        return int(self.info["NumberOfComponents"])

    @property
    def sizes(self) -> pd.Series[int]:
        """Size of each part; the name of the column says of what, such as ``n_voxels``."""
        return self.parts.filter(regex="^n_").iloc[:, 0]


@dataclass(frozen=True)
class SelectionFacts:
    """Comparison of the numbers of components.

    Attributes
    ----------
    metrics : DataFrame
        One row per number of components.
    descriptions : mapping of str to str
        Description of each column of ``metrics``.
    choice : dict
        Content of ``selection.json``; empty if no number was to be chosen.
    errors, reproducibility, hierarchy : path or None
        Pictures.
    """

    metrics: pd.DataFrame
    descriptions: Mapping[str, str]
    choice: Mapping[str, Any]
    errors: Path | None = None
    reproducibility: Path | None = None
    hierarchy: Path | None = None

    @property
    def ks(self) -> list[int]:
        """Numbers of components that were compared."""
        return [int(k) for k in self.metrics["n_components"]]

    def of(self, k: int) -> Mapping[str, Any]:
        """Return the measures of a number of components, by column."""
        (row,) = self.metrics.loc[self.metrics["n_components"] == k].to_dict("records")
        return {str(name): value for name, value in row.items()}

    @property
    def chosen(self) -> int | None:
        """The chosen number of components, or None."""
        return self.choice.get("k")

    @property
    def flat(self) -> bool:
        """Whether no number is clearly better, so that the chosen one is a convention."""
        return bool(self.choice.get("flat"))


@dataclass(frozen=True)
class QualityFacts:
    """Quality of the images.

    Attributes
    ----------
    mean, sd, coverage : path
        Maps over the voxels of the mask.
    draw_maps : callable
        Takes titles and paths of maps, and draws the maps inside the mask.
    subjects : DataFrame
        Table of :func:`opnmf_pipeline.stages.quality.assess_cohort`, indexed by subject.
    covered : ndarray of shape (n_voxels,)
        Share of the subjects with data in each voxel of the mask.
    tissues : mapping of str to float
        Share of the mean image in each tissue of the template; empty if the space is unknown.
    """

    mean: Path
    sd: Path
    coverage: Path
    draw_maps: Callable[[Mapping[str, Path]], Figure]
    subjects: pd.DataFrame
    covered: NDArray[np.floating]
    tissues: Mapping[str, float]


@dataclass(frozen=True)
class AdjustmentFacts:
    """The adjustment of the matrix.

    Attributes
    ----------
    record : mapping
        Key ``Adjustment`` of ``factorization.json``.
    loadings : mapping of int to mapping
        For each number of components: see
        :func:`opnmf_pipeline.stages.adjust.explained_loadings`. It may be empty.
    """

    record: Mapping[str, Any]
    loadings: Mapping[int, Mapping[str, Mapping[str, Sequence[float]]]]


@dataclass(frozen=True)
class Facts:
    """All facts of a report.

    Attributes
    ----------
    infos : sequence of dict
        Content of ``factorization.json``, one per number of components: of the fits with maps, or,
        without maps, of the fits that were compared.
    solver : SolverFacts
        Solver of these fits.
    fits : sequence of FitFacts
        Fits with maps, one per number of components; empty in a report of a comparison alone.
    selection : SelectionFacts
        Comparison of the numbers of components.
    n_subjects : int
        Number of subjects in the matrix.
    n_sessions : int or None
        Number of sessions, if the images are sessions of subjects.
    grid : GridFacts
        Grid of the mask.
    mask : str
        What the voxels of the mask have in common; empty if unknown.
    in_standard_space : bool
        Whether the images count as images in the standard space.
    only_brain : bool
        Whether voxels outside the brain of the template were excluded.
    images : DataFrame
        Table of the subjects. It may have columns ``image`` and ``sha256``, and it may be empty.
    entities : mapping of str to str
        BIDS entities and suffix that say what all images show and where, such as ``label: GM``.
    mixed_entities : str
        BIDS entities, such as ``space``, that differ between the images, with their values; empty
        if there are none.
    covariates : DataFrame
        Columns of the covariates that are used, one row per subject; may have no column.
    adjustment : AdjustmentFacts or None
        Adjustment of the matrix, if it was adjusted.
    quality : QualityFacts or None
        Quality of the images.
    volumes : Embedded or None
        Images for the viewer: a background, if there is one, and the components of each fit. None
        if the space has no viewer.
    on_background : bool
        Whether the first of these images is a background.
    runs : sequence of dict
        Records of the runs that computed the results.
    settings : str
        YAML of the settings.
    """

    infos: Sequence[Mapping[str, Any]]
    solver: SolverFacts
    fits: Sequence[FitFacts]
    selection: SelectionFacts
    n_subjects: int
    n_sessions: int | None
    grid: GridFacts
    mask: str
    in_standard_space: bool
    only_brain: bool
    images: pd.DataFrame
    entities: Mapping[str, str]
    mixed_entities: str
    covariates: pd.DataFrame
    adjustment: AdjustmentFacts | None
    quality: QualityFacts | None
    volumes: Embedded | None
    on_background: bool
    runs: Sequence[Mapping[str, Any]]
    settings: str

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the software that computed the results."""
        versions: Mapping[str, str] = self.infos[0]["Versions"]
        return versions

    @property
    def ks(self) -> list[int]:
        """Numbers of components of the fits."""
        return [int(info["NumberOfComponents"]) for info in self.infos]

    @property
    def explained(self) -> list[float]:
        """R² about the mean of each fit; NaN where it is unknown."""
        if self.fits:
            return [fit.explained for fit in self.fits]
        return [float(self.selection.of(k)["explained_variance"]) for k in self.ks]

    @property
    def associations(self) -> AssociationFacts | None:
        """Covariates, columns that are not used, and notes; the same for all fits."""
        return self.fits[0].associations if self.fits else None

    @property
    def errors(self) -> pd.DataFrame:
        """Relative reconstruction errors, one row per subject, one column per k; may be empty."""
        return pd.DataFrame({fit.k: fit.errors for fit in self.fits if fit.errors is not None})
