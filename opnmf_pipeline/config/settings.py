"""Settings of a run: one typed section per stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from opnmf_pipeline.decomposition.solvers import SOLVERS, criteria, meanings, summaries
from opnmf_pipeline.selection.rules import RULES

__all__ = [
    "DecompositionConfig",
    "ExecutionConfig",
    "InputsConfig",
    "MaskConfig",
    "MatrixConfig",
    "OutputConfig",
    "PipelineConfig",
    "ReportConfig",
    "SelectionConfig",
    "SimulationConfig",
]

SPLIT_SETTINGS = {"n_splits", "stratify", "n_bins", "groups", "leave_out", "random_state"}
"""Settings of the selection that decide who is in which half."""

if TYPE_CHECKING:  # type checkers take no computed choices
    RuleName = str
    SolverName = str
else:
    RuleName = Literal[tuple(RULES)]
    SolverName = Literal[tuple(SOLVERS)]

SOURCES = ("bids", "table", "glob", "simulation")


class Section(BaseModel):
    """Options of one stage: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SimulationConfig(Section):
    """A cohort with planted components on the MNI152 grey-matter template that nilearn ships."""

    n_subjects: int = Field(40, ge=4, description="Number of simulated subjects.")
    n_components: int = Field(8, ge=2, description="Number of planted components.")
    voxel_size: float = Field(6.0, ge=1, le=12, description="Edge of the isotropic voxels, in mm.")
    noise: float = Field(
        0.1,
        ge=0,
        description="Standard deviation of the noise, as a fraction of the largest tissue density.",
    )
    random_state: int = Field(0, ge=0, description="Seed of the simulation.")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _as_texts(value: Any) -> Any:
    # YAML reads `run: 1` as a number, and file names have none
    return [str(item) if type(item) is int else item for item in _as_list(value)]


FilterValues = Annotated[
    list[str | None],
    BeforeValidator(_as_texts),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": ["string", "integer", "null"]},
                {"type": "array", "items": {"type": ["string", "integer", "null"]}},
            ]
        }
    ),
]


class InputsConfig(Section):
    """Which image belongs to which subject. Name exactly one of: bids, table, glob, simulation."""

    bids: Path | None = Field(None, description="Root of a BIDS (derivatives) dataset.")
    filters: dict[str, FilterValues] = Field(
        default_factory=dict,
        description="BIDS entities that select one image per subject (and session), such as "
        "`label: GM`; each with one value or a list of values. `null` means that the name must not "
        'have the entity, `"*"` that it must have it, with any value.',
    )
    database_dir: Path | None = Field(
        None,
        description="Folder that keeps the index of the dataset `bids` from one run to the next. "
        "It is made anew when the dataset has other subjects.",
    )
    table: Path | None = Field(
        None,
        description="TSV or CSV with participant_id (and session_id), a path column and "
        "covariates.",
    )
    path_column: str = Field("path", description="Column of `table` that holds the image paths.")
    glob: Path | None = Field(None, description="Pattern that matches one image per subject.")
    pattern: str = Field(
        r"(?P<participant_id>sub-[A-Za-z0-9]+)",
        description="Regular expression that yields `participant_id` from a path that `glob` "
        "matched.",
    )
    simulation: SimulationConfig | None = Field(None, description="Simulate a cohort instead.")
    participants: Path | None = Field(
        None,
        description="Table with participant_id and covariates to join; for `bids` the default is "
        "the dataset's participants.tsv.",
    )
    on_missing: Literal["error", "drop"] = Field(
        "error", description="What to do with a subject that has no image."
    )

    @model_validator(mode="after")
    def _one_source(self) -> InputsConfig:
        named = [source for source in SOURCES if getattr(self, source) is not None]
        if len(named) != 1:
            got = f"got {' and '.join(named)}" if named else "none is set"
            raise ValueError(f"name exactly one of {', '.join(SOURCES)}; {got}")
        return self


class MaskConfig(Section):
    """Which voxels are analysed. Voxels that are zero in every subject are always left out."""

    method: Literal["mean", "coverage", "template", "image"] = Field(
        "mean",
        description="mean: mean over subjects > threshold; coverage: value > threshold in at "
        "least `coverage` of the subjects; template: nilearn's MNI152 grey-matter template > "
        "threshold; image: the non-zero voxels of `image`.",
    )
    threshold: float = Field(0.1, description="In the units of the images (or of the template).")
    coverage: float = Field(0.9, gt=0, le=1, description="Fraction of the subjects, in (0, 1].")
    image: Path | None = Field(
        None, description="Mask image; taken to the grid of the data by nearest neighbour."
    )

    @model_validator(mode="after")
    def _image_with_method(self) -> MaskConfig:
        if (self.method == "image") != (self.image is not None):
            raise ValueError("`image: PATH` and `method: image` go together; set both or neither")
        return self


class MatrixConfig(Section):
    """How images become rows of the voxel-by-subject matrix."""

    resample: Literal["to-mask", "to-first"] | None = Field(
        None,
        description="Grid to resample every image to (linear interpolation): that of mask.image "
        "or that of the first image. Not set: images on different grids are an error.",
    )
    voxel_size: float | None = Field(
        None, gt=0, description="Down-sample to isotropic voxels of this edge, in mm."
    )
    smoothing_fwhm: float | None = Field(
        None, gt=0, description="Gaussian smoothing before masking: full width at half maximum, mm."
    )
    negative: Literal["error", "clip", "shift"] = Field(
        "error",
        description="Negative values: refuse those in the mask; set all to 0, before the mask is "
        "made; or subtract the smallest value of the whole matrix from all of it.",
    )
    nan: Literal["error", "zero"] = Field(
        "error", description="NaN and infinite values: refuse, or set to 0."
    )


ComponentCounts = Annotated[
    tuple[Annotated[int, Field(ge=1, strict=True)], ...],
    BeforeValidator(_as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1},
                {"type": "array", "items": {"type": "integer", "minimum": 1}},
            ]
        }
    ),
]


def _without_twins(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a number of components stands twice in the list")
    return value


class DecompositionConfig(Section):
    """How the matrix is factorized; one fit for each number of components."""

    n_components: ComponentCounts = Field(
        (10,), description="Numbers of components (k): one integer or a list."
    )
    solver: SolverName = Field("accelerated", description=f"{summaries()}.")
    init: Literal["nndsvd", "nndsvda", "nndsvdar", "random"] = Field(
        "nndsvd", description="Start of W."
    )
    n_init: int = Field(10, ge=1, description=f"{meanings('n_init')}.")
    tol: float = Field(1e-5, ge=0, description=f"When a fit has converged. {criteria()}.")
    max_iter: int = Field(50_000, ge=1, description="Largest number of iterations.")
    random_state: int = Field(0, ge=0, description="Seed of random starts.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the fit.")

    def of_each_fit(self) -> dict[str, Any]:
        """Return the settings that the fits of all numbers of components share."""
        return self.model_dump(exclude={"n_components"})

    @field_validator("n_components")
    @classmethod
    def _unique(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _without_twins(value)


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class SelectionConfig(Section):
    """Study of how many components there are: what is compared, and how one number is chosen."""

    candidates: ComponentCounts = Field(
        (),
        description="Numbers of components to compare; maps are written of those in "
        "decomposition.n_components only. Default: these.",
    )
    n_splits: int = Field(
        0, ge=0, description="Random halvings of the cohort; each costs two fits for every k."
    )
    stratify: Names = Field(
        (),
        description="Columns of the participants table whose values both halves get alike, such as "
        "`[age, sex, site]`.",
    )
    n_bins: int = Field(
        4, ge=2, description="Numeric columns of `stratify` are cut into so many equal groups."
    )
    groups: str | None = Field(
        None,
        description="Column that says what belongs together, such as family: never in two halves.",
    )
    leave_out: str | None = Field(
        None,
        description="Column, such as site: instead of random halves, the subjects with one value "
        "of it against all others, for each value.",
    )
    n_permutations: int = Field(
        0,
        ge=0,
        description="Fits of data without structure, the voxels of each subject shuffled; each "
        "costs one fit for every k.",
    )
    rule: RuleName | None = Field(
        None,
        description="Which number of components is chosen. "
        + "; ".join(f"{name}: {rule.summary}" for name, rule in RULES.items())
        + ". Default: reproducibility-peak with at least two splits, else null-crossing with "
        "permutations, else none.",
    )
    range: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = Field(
        None, description="Smallest and largest number that may be chosen. Default: all."
    )
    random_state: int = Field(0, ge=0, description="Seed of the halvings and of the shuffling.")

    @property
    def rule_used(self) -> str | None:
        """The rule, or the one that the data of the study are for; None where there are none."""
        default = "null-crossing" if self.n_permutations else None
        if self.n_splits > 1 or self.leave_out is not None:
            default = "reproducibility-peak"
        return self.rule or default

    @property
    def permutation_seeds(self) -> list[int]:
        """Seed of the shuffling of each permutation; more permutations only add to fewer."""
        return [self.random_state + number for number in range(self.n_permutations)]

    def of_splits(self) -> dict[str, Any]:
        """Return the settings that decide who is in which half."""
        return self.model_dump(mode="json", include=SPLIT_SETTINGS)

    @property
    def has_splits(self) -> bool:
        """Whether the cohort is split, one way or the other."""
        return self.n_splits > 0 or self.leave_out is not None

    @field_validator("candidates")
    @classmethod
    def _unique(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _without_twins(value)

    @model_validator(mode="after")
    def _one_way_to_split(self) -> SelectionConfig:
        if self.leave_out is not None and (self.n_splits or self.stratify or self.groups):
            raise ValueError(
                "`leave_out` takes the place of random halves; remove it, or n_splits, stratify "
                "and groups"
            )
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"range: {self.range[0]} is above {self.range[1]}")
        return self

    @model_validator(mode="after")
    def _data_for_the_rule(self) -> SelectionConfig:
        if self.rule is None:
            return self
        rule = RULES[self.rule]
        if rule.compares_shuffled and not self.n_permutations:
            raise ValueError(f"rule: {self.rule} needs n_permutations; set it to 1 or more")
        if rule.compares_splits and self.n_splits < 2 and not self.leave_out:
            raise ValueError(f"rule: {self.rule} needs splits; set n_splits to 2 or more")
        return self


class OutputConfig(Section):
    """Where results go."""

    dir: Path | None = Field(None, description="Output folder: becomes a BIDS derivatives dataset.")
    space: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9]+$",
        description="BIDS `space` of the maps; the default is what the input file names say.",
    )
    overwrite: bool = Field(
        False, description="Replace the results of a run with other settings in the same folder."
    )


class ReportConfig(Section):
    """Pictures of the results."""

    figures: bool = Field(True, description="Draw one montage of the components for each k.")
    background: Literal["auto", "template", "mean"] = Field(
        "auto",
        description="What components are drawn on: the MNI152 template, or the mean of the "
        "subjects. auto: the template where the space is an MNI one.",
    )


class ExecutionConfig(Section):
    """Who computes, and what it may use."""

    engine: Literal["local", "nipype", "pydra"] = Field(
        "local",
        description="local: in this process; nipype, pydra: as a workflow of that engine.",
    )
    plugin: str | None = Field(
        None,
        description="How the engine executes: a Nipype plugin (default MultiProc) or a Pydra "
        "worker (default cf).",
    )
    plugin_args: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of that plugin or worker."
    )
    n_procs: int | None = Field(
        None, ge=1, description="Processes and threads; the default is the CPUs that are free."
    )
    omp_nthreads: int | None = Field(
        None,
        ge=1,
        description="Largest number of threads of one fit; the default is `n_procs`, shared by the "
        "fits that run side by side.",
    )
    memory_gb: float | None = Field(
        None, gt=0, description="Memory to use, in GB; the default is what is free."
    )
    stop_on_first_crash: bool = Field(
        False,
        description="End at the first failure, instead of finishing what does not depend on it; "
        "the engine pydra finishes it anyway.",
    )
    resource_monitor: bool = Field(
        False,
        description="Write memory and CPU of the run, second by second, to logs/resources.tsv: of "
        "this machine, not of jobs that a scheduler runs elsewhere.",
    )
    work_dir: Path | None = Field(
        None, description="Folder of intermediate results; the default is `work` in output.dir."
    )


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

    @model_validator(mode="after")
    def _mask_for_resampling(self) -> PipelineConfig:
        if self.matrix.resample == "to-mask" and self.mask.method != "image":
            raise ValueError("matrix.resample: to-mask needs mask.method: image and mask.image")
        return self

    @model_validator(mode="after")
    def _something_to_fit(self) -> PipelineConfig:
        if not self.ranks:
            raise ValueError("decomposition.n_components: the list is empty")
        return self

    @model_validator(mode="after")
    def _something_to_choose(self) -> PipelineConfig:
        limits = self.selection.range
        if limits is not None and not any(limits[0] <= k <= limits[1] for k in self.ranks):
            ks = ", ".join(map(str, self.ranks))
            raise ValueError(f"selection.range: none of the numbers of components ({ks}) is in it")
        return self

    @property
    def ranks(self) -> tuple[int, ...]:
        """Numbers of components of the study: those that get maps, then the other candidates."""
        mapped = self.decomposition.n_components
        return mapped + tuple(k for k in self.selection.candidates if k not in mapped)

    def without_maps(self) -> PipelineConfig:
        """Return the same settings with every number of components only a candidate."""
        selection = self.selection.model_copy(update={"candidates": tuple(sorted(self.ranks))})
        decomposition = self.decomposition.model_copy(update={"n_components": ()})
        return self.model_copy(update={"selection": selection, "decomposition": decomposition})

    def n_fits(self, n_splits: int) -> int:
        """Return the fits of a run: of each number of components whole, halves, permutations."""
        return len(self.ranks) * (1 + 2 * n_splits + self.selection.n_permutations)

    def settings(self) -> dict[str, Any]:
        """Return every setting as plain values, as they would stand in a YAML file."""
        return self.model_dump(mode="json", exclude_none=True)
