"""Settings of a run: one typed section per stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from opnmf_pipeline.config.adjustment import ADJUSTMENT_SETTINGS, AdjustmentConfig
from opnmf_pipeline.config.change import ChangeConfig
from opnmf_pipeline.config.execution import ExecutionConfig
from opnmf_pipeline.config.inputs import InputsConfig
from opnmf_pipeline.config.section import (
    COARSEST,
    LARGEST_SEED,
    MOST_FITS,
    ComponentCounts,
    Names,
    Section,
    allow_text,
)
from opnmf_pipeline.config.selection import SelectionConfig
from opnmf_pipeline.decomposition.solvers import SOLVERS, criteria, meanings, summaries

__all__ = [
    "AFTER_IMAGES",
    "DecompositionConfig",
    "MaskConfig",
    "MatrixConfig",
    "OutputConfig",
    "PipelineConfig",
    "ReportConfig",
]

if TYPE_CHECKING:  # type checkers take no computed choices
    SolverName = str
else:
    SolverName = Literal[tuple(SOLVERS)]


AFTER_IMAGES = (*ADJUSTMENT_SETTINGS, "change")
"""Settings of the section `matrix` that the stages which read images do not have."""


class MaskConfig(Section):
    """The voxels to analyse. Voxels that are zero in all subjects are always excluded."""

    method: Literal["mean", "coverage", "template", "image", "all"] = Field(
        "mean",
        description="mean: voxels whose mean over subjects is > threshold; coverage: voxels with "
        "a value > threshold in at least the fraction `coverage` of the subjects; template: voxels "
        "in which nilearn's MNI152 grey-matter template is > threshold; image: the non-zero voxels "
        "of `image`; all: all voxels, which is the default for `inputs.features`.",
    )
    threshold: float = Field(
        0.2, description="Threshold of the mask, in units of the values (or of the template)."
    )
    coverage: float = Field(
        0.9, gt=0, le=1, description="Fraction of the subjects for `method: coverage`, in (0, 1]."
    )
    n_subjects: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Number of subjects for `method: coverage`, in place of the fraction "
        "`coverage`: for lesions and other sparse maps.",
    )
    within: Literal["auto", "brain", "none"] = Field(
        "auto",
        description="brain: exclude voxels outside the brain mask of the MNI152 template of "
        "nilearn; none: do not exclude them; auto: brain for the methods mean and coverage if the "
        "images are in MNI152 space, otherwise none.",
    )
    image: Path | None = Field(
        None,
        description="Mask image for `method: image`. It is resampled to the grid of the data "
        "(nearest neighbour).",
    )

    @model_validator(mode="after")
    def _image_with_method(self) -> MaskConfig:
        if (self.method == "image") != (self.image is not None):
            raise ValueError("`method: image` requires `image: PATH`; set both or neither")
        return self

    @model_validator(mode="after")
    def _subjects_with_coverage(self) -> MaskConfig:
        if self.n_subjects is not None and self.method != "coverage":
            raise ValueError("`n_subjects` requires `method: coverage`")
        return self

    def only_brain(self, *, in_standard_space: bool) -> bool:
        """Return whether elements outside the brain of the template are excluded."""
        auto = in_standard_space and self.method in ("mean", "coverage")
        return self.within == "brain" or (self.within == "auto" and auto)


class MatrixConfig(AdjustmentConfig):
    """How images become rows of the voxel-by-subject matrix, and how these are adjusted."""

    resample: Literal["to-mask", "to-first"] | None = Field(
        None,
        description="Resample all images (linear interpolation): to-mask: to the grid of "
        "mask.image; to-first: to the grid of the first image. Not set: images on different grids "
        "are an error.",
    )
    voxel_size: float | None = Field(
        None,
        gt=0,
        le=COARSEST,
        description="Downsample the images to isotropic voxels of this size, in mm.",
    )
    smoothing_fwhm: float | None = Field(
        None,
        gt=0,
        le=COARSEST,
        description="Gaussian smoothing before masking: full width at half maximum, in mm.",
    )
    negative: Literal["error", "clip", "shift"] = Field(
        "error",
        description="What to do with negative values: error: stop if a voxel of the mask has one; "
        "clip: set all negative values to 0 before the mask is made; shift: subtract the minimum "
        "of the matrix from all values of the matrix. It also decides about negative changes "
        "(`change`), and about values that become negative when the matrix is adjusted.",
    )
    nan: Literal["error", "zero", "masked"] = Field(
        "error",
        description="What to do with NaN and infinite values: error: stop; zero: set them to 0; "
        "masked: treat them as missing: the components are fitted to the observed values. Voxels "
        "that are missing in more than half of the subjects are excluded from the mask. Zeros are "
        "never missing.",
    )

    dtype: Literal["float32", "float16"] = Field(
        "float32",
        description="How the values of the images and the matrix are stored in the work folder: "
        "float16 needs half of the disk and rounds each value to about 3 digits. Fits compute in "
        "`decomposition.dtype`.",
    )
    change: ChangeConfig | None = Field(
        None,
        description="Analyse the change of each subject between two sessions, not the values at "
        "the sessions. Default: do not.",
    )

    @model_validator(mode="after")
    def _adjusts_whole_images(self) -> MatrixConfig:
        if self.masked and self.measures is not None:
            raise ValueError("`nan: masked` cannot be combined with `measures`; set `nan: zero`")
        if self.change is not None and self.measures is not None:
            raise ValueError("`change` cannot be combined with `measures`")
        if self.masked and self.adjusts:
            raise ValueError(
                "`nan: masked` cannot be combined with `scale`, `harmonize` or `covariates`; "
                "adjust the loadings in the statistical model instead, or set `nan: zero`"
            )
        return self

    def of_images(self) -> dict[str, Any]:
        """Return the settings with which images are read."""
        return self.model_dump(mode="json", exclude=set(AFTER_IMAGES), exclude_none=True)

    @property
    def negative_adjusted(self) -> str:
        """What is done with negative adjusted values: scaled measures are always shifted."""
        scaled = self.measures is not None and self.measures.scale != "none"
        return "shift" if scaled else self.negative

    @property
    def masked(self) -> bool:
        """Whether NaN in the matrix is a missing value."""
        return self.nan == "masked"


class DecompositionConfig(Section):
    """How the matrix is factorized. There is one fit for each number of components (k)."""

    n_components: ComponentCounts = Field(
        (10,), description="Numbers of components (k) with component maps: an integer or a list."
    )
    solver: SolverName = Field("adaptive", description=f"{summaries()}.")
    init: Literal["nndsvd", "nndsvda", "nndsvdar", "brainparts", "random"] = Field(
        "nndsvd",
        description="Initialization of W. brainparts: NNDSVD with zeros set to 0.1, as in the "
        "programs brainparts and sopnmf.",
    )
    n_init: int = Field(10, ge=1, le=MOST_FITS, description=f"{meanings('n_init')}.")
    tol: float = Field(1e-5, ge=0, description=f"When a fit has converged. {criteria()}.")
    max_iter: int = Field(50_000, ge=1, le=10**9, description="Largest number of iterations.")
    random_state: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of random starts.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the fit.")

    def of_each_fit(self) -> dict[str, Any]:
        """Return the settings that the fits of all numbers of components share."""
        return self.model_dump(exclude={"n_components"})

    def from_random_start(self, number: int) -> DecompositionConfig:
        """Return the settings of a fit from a random start; each number from 1 is another start."""
        seed = (self.random_state + number) % (LARGEST_SEED + 1)
        return self.model_copy(update={"init": "random", "random_state": seed})


class OutputConfig(Section):
    """Where the results are written."""

    dir: Path | None = Field(
        None, description="Output folder. It becomes a BIDS derivatives dataset."
    )
    space: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]+$",
        description="BIDS entity `space` of the maps. Default: `space` in the input file names.",
    )
    authors: Names | None = Field(
        None,
        description="Authors of the results, in their order, for `dataset_description.json` and "
        "the models. Default: none are named.",
    )
    license: str | None = Field(
        None,
        description="Licence of the results, such as CC-BY-4.0, for `dataset_description.json` and "
        "the models. Default: none is given.",
    )
    overwrite: bool = Field(
        False,
        description="Replace the results in this folder if they come from different settings.",
    )


class ReportConfig(Section):
    """Pictures of the results, and their associations with covariates."""

    figures: bool = Field(True, description="Draw a montage of the components for each k.")
    background: Literal["auto", "template", "mean"] = Field(
        "auto",
        description="Background of the component maps: template: the MNI152 template; mean: the "
        "mean image of the subjects; auto: the template if the space is an MNI space, otherwise "
        "the mean. Surfaces are drawn on `mesh`.",
    )
    mesh: Path | None = Field(
        None,
        description="Mesh that surfaces are drawn on: the file of the left hemisphere, such as "
        "hemi-L_midthickness.surf.gii or lh.inflated; the file of the right one is next to it. "
        "Default: fsaverage5, for images on any mesh of fsaverage. Other images need `mesh`.",
    )
    covariates: Names | None = Field(
        None,
        description="Columns of the participants table whose associations with the loadings are "
        "described, such as `[age, sex, site, diagnosis, tiv]`; `[]`: none. Default: the columns "
        "that participants.json describes, and those with a usual name, such as age, sex and site. "
        "The report lists the columns that are not used, with the reason.",
    )
    atlas: Path | None = Field(
        None,
        description="Label image of an atlas in the space of the maps, or, for tables, whose "
        "regions have the names of the features. Its regions describe and name the components, and "
        "the components of tables are shown on them. Default: the Desikan-Killiany and "
        "subcortical regions that the package includes, if the maps are in MNI152 space; otherwise "
        "no atlas.",
    )
    atlas_labels: Path | None = Field(
        None,
        description="Names of the labels of `atlas`, if it is a volume: a TSV or CSV file with the "
        "columns `index` and `name`, an XML file of FSL, or a text file with a number and a name "
        "in each line (FreeSurfer, ITK-SNAP, MRIcron). Default: the file next to `atlas` that has "
        "its name and one of these endings.",
    )

    @model_validator(mode="after")
    def _labels_of_an_atlas(self) -> ReportConfig:
        if self.atlas_labels is not None and self.atlas is None:
            raise ValueError("`atlas_labels: PATH` requires `atlas: PATH`; set both or neither")
        return self


class PipelineConfig(Section):
    """All settings of a run."""

    inputs: InputsConfig
    mask: MaskConfig = Field(default_factory=MaskConfig)
    matrix: MatrixConfig = Field(default_factory=MatrixConfig)
    decomposition: DecompositionConfig = Field(default_factory=DecompositionConfig)
    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    output: OutputConfig = Field(default_factory=OutputConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the JSON Schema of a settings file."""
        schema = super().model_json_schema(*args, **kwargs)
        allow_text(schema["$defs"])
        for name, section in schema["properties"].items():
            if name not in schema["required"]:  # an empty section has the default settings
                schema["properties"][name] = {"anyOf": [section, {"type": "null"}]}
        return schema

    @model_validator(mode="before")
    @classmethod
    def _mask_of_features(cls, data: Any) -> Any:
        """Analyse all features of a table: their units, and so the threshold, are not known."""
        inputs = data.get("inputs") if isinstance(data, dict) else None
        if isinstance(inputs, InputsConfig):
            inputs = inputs.settings()
        inputs = inputs if isinstance(inputs, dict) else {}
        measures = inputs.get("measures")
        measures = measures if measures and isinstance(measures, list | tuple) else [{}]
        features = inputs.get("features") or all(
            isinstance(one, dict) and one.get("features") for one in measures
        )
        return data if not features or data.get("mask") else {**data, "mask": {"method": "all"}}

    @model_validator(mode="before")
    @classmethod
    def _join_measures(cls, data: Any) -> Any:
        """Join several measures with the default settings, if the settings name none."""
        inputs = data.get("inputs") if isinstance(data, dict) else None
        several = inputs.get("measures") if isinstance(inputs, dict) else None
        several = inputs.measures if isinstance(inputs, InputsConfig) else several
        matrix = data.get("matrix") or {} if isinstance(data, dict) else None
        if not several or not isinstance(matrix, dict):
            return data
        return {**data, "matrix": {**matrix, "measures": matrix.get("measures") or {}}}

    @model_validator(mode="after")
    def _measures_to_join(self) -> PipelineConfig:
        if self.matrix.measures is not None and self.inputs.measures is None:
            raise ValueError("matrix.measures needs inputs.measures")
        measures = self.matrix.measures
        if measures is not None and measures.stack == "voxels" and self.report.mesh is not None:
            raise ValueError("report.mesh cannot be combined with matrix.measures.stack: voxels")
        return self

    @model_validator(mode="after")
    def _mask_for_resampling(self) -> PipelineConfig:
        if self.matrix.resample == "to-mask" and self.mask.method != "image":
            raise ValueError("matrix.resample: to-mask needs mask.method: image and mask.image")
        return self

    @model_validator(mode="after")
    def _masks_of_missing_voxels(self) -> PipelineConfig:
        if self.inputs.masks is not None and not self.matrix.masked:
            raise ValueError("inputs.masks needs matrix.nan: masked")
        return self

    @model_validator(mode="after")
    def _something_to_fit(self) -> PipelineConfig:
        if not self.ranks:
            raise ValueError("decomposition.n_components: the list is empty")
        return self

    @model_validator(mode="after")
    def _something_to_choose(self) -> PipelineConfig:
        limits = self.selection.range
        if limits is not None and not any(limits[0] <= k <= limits[1] for k in self.compared):
            ks = ", ".join(map(str, self.compared))
            raise ValueError(f"selection.range: contains none of the numbers of components ({ks})")
        return self

    @property
    def ranks(self) -> tuple[int, ...]:
        """All numbers of components: first those with maps, then the other candidates."""
        mapped = self.decomposition.n_components
        return mapped + tuple(k for k in self.selection.candidates if k not in mapped)

    @property
    def compared(self) -> tuple[int, ...]:
        """The numbers of components to compare: the candidates, or else those with maps."""
        return self.selection.candidates or self.decomposition.n_components

    @property
    def resampled(self) -> tuple[int, ...]:
        """The numbers of components with maps whose fits are compared with those of resamples.

        One component is the same in every resample.
        """
        selection, mapped = self.selection, self.decomposition.n_components
        if not selection.has_splits:
            return tuple(k for k in mapped if k > 1) if selection.n_bootstraps else ()
        return tuple(k for k in mapped if k > 1 and k in self.compared)

    @property
    def splits(self) -> SelectionConfig:
        """Settings of the splits: random halves always balance the batches to harmonize."""
        selection, harmonize = self.selection, self.matrix.harmonize
        batch = () if harmonize is None or selection.leave_out is not None else (harmonize.batch,)
        stratify = tuple(dict.fromkeys((*selection.stratify, *batch)))
        return selection.model_copy(update={"stratify": stratify})

    @property
    def start_seeds(self) -> list[int]:
        """Seed of each random start that is compared with the others."""
        numbers = range(1, self.selection.n_starts + 1)
        return [self.decomposition.from_random_start(number).random_state for number in numbers]

    def n_fits(self, n_splits: int) -> int:
        """Return the number of fits of a run: of the cohort, of parts of it, and of null data."""
        selection = self.selection
        per_split = 4 if selection.shared_start else 2
        per_candidate = selection.n_starts + per_split * n_splits + selection.n_permutations
        of_samples = len(self.resampled) * selection.n_bootstraps
        return len(self.ranks) + len(self.compared) * per_candidate + of_samples
