"""Settings of the images and their subjects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from opnmf_pipeline.config.section import (
    LARGEST_SEED,
    TEXT,
    Names,
    Paths,
    Section,
    as_list,
    one_or_several,
)

__all__ = ["SOURCES", "InputsConfig", "MasksConfig", "MeasureConfig", "SimulationConfig"]

SOURCES = ("bids", "table", "glob", "features", "simulation")
OF_SOURCES = {
    "bids": ("filters", "database_dir"),
    "table": ("path_column",),
    "glob": ("pattern",),
    "features": ("feature_names", "features_as"),
}
"""Settings that belong to a source."""
ONE_MEASURE_MSG = "`measures` lists one measure; name its images in `inputs` directly"
TWICE_MSG = "`measures` lists {name!r} twice; give each measure a name of its own"
LIMITS_MSG = "`measures` cannot be combined with `{key}`"


class SimulationConfig(Section):
    """A cohort with planted components on the MNI152 grey-matter template that nilearn ships."""

    n_subjects: int = Field(40, ge=4, le=100_000, description="Number of simulated subjects.")
    n_components: int = Field(8, ge=2, le=1000, description="Number of planted components.")
    voxel_size: float = Field(6.0, ge=1, le=12, description="Edge of the isotropic voxels, in mm.")
    noise: float = Field(
        0.1,
        ge=0,
        le=1000,
        description="Standard deviation of the noise, as a fraction of the largest tissue density.",
    )
    random_state: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the simulation.")


def _as_texts(value: Any) -> Any:
    # YAML reads `run: 1` as a number, but entities in file names are text
    return [str(item) if type(item) is int else item for item in as_list(value)]


FilterValues = Annotated[
    list[str | None],
    BeforeValidator(_as_texts),
    one_or_several({"type": [*TEXT, "null"]}),
]


class MasksConfig(Section):
    """Masks of single images: the places of an image that are missing. Images may have no mask.

    A mask is on the grid of its image. Set one of: filters, column, glob.
    """

    missing: Literal["nonzero", "zero"] = Field(
        description="Which voxels of a mask are missing in its image: nonzero: for masks of "
        "lesions; zero: for masks of the brain or of the field of view.",
    )
    bids: Path | None = Field(
        None, description="Root of the BIDS dataset with the masks. Default: that of the images."
    )
    filters: dict[str, FilterValues] = Field(
        {},
        description="BIDS entities that select one mask per subject (and session), such as "
        "`label: lesion`.",
    )
    column: str | None = Field(
        None,
        description="Column of the table of the images that holds the paths of the masks. Its cell "
        "is empty for a subject without a mask.",
    )
    glob: Path | None = Field(
        None,
        description="Pattern that matches the masks; `pattern` finds the subject in each path.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> MasksConfig:
        named = [name for name in ("filters", "column", "glob") if getattr(self, name)]
        if len(named) != 1:
            got = f"got {' and '.join(named)}" if named else "none is set"
            raise ValueError(f"set exactly one of filters, column, glob; {got}")
        return self


class MeasureConfig(Section):
    """One of several measures of each subject. It takes what it does not set from `inputs`."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9]+$",
        description="Name of the measure, such as `thickness`; it becomes a part of file names.",
    )
    bids: Path | None = Field(None, description="As `inputs.bids`, for the images of this measure.")
    filters: dict[str, FilterValues] | None = Field(
        None, description="As `inputs.filters`, for the images of this measure."
    )
    table: Path | None = Field(
        None, description="As `inputs.table`, for the images of this measure."
    )
    path_column: str | None = Field(
        None, description="As `inputs.path_column`, for the images of this measure."
    )
    id_column: str | None = Field(
        None, description="As `inputs.id_column`, for the images of this measure."
    )
    glob: Path | None = Field(None, description="As `inputs.glob`, for the images of this measure.")
    pattern: str | None = Field(
        None, description="As `inputs.pattern`, for the images of this measure."
    )
    features: Paths | None = Field(
        None, description="As `inputs.features`, for the images of this measure."
    )
    feature_names: Names | None = Field(
        None, description="As `inputs.feature_names`, for the images of this measure."
    )
    features_as: Literal["columns", "rows"] | None = Field(
        None, description="As `inputs.features_as`, for the images of this measure."
    )
    participants: Path | None = Field(
        None, description="As `inputs.participants`, for the images of this measure."
    )


class InputsConfig(Section):
    """The images and their subjects. Set exactly one of: bids, table, glob, features, simulation.

    One of these on the command line (`--set`) replaces the one in the file.
    """

    bids: Path | None = Field(None, description="Root of a BIDS (derivatives) dataset.")
    filters: dict[str, FilterValues] = Field(
        {},
        description="BIDS entities that select one image per subject (and session), such as "
        "`label: GM`. Each entity has one value or a list of values. `null`: the file name must "
        'not have the entity. `"*"`: the file name must have the entity, with any value.',
    )
    database_dir: Path | None = Field(
        None,
        description="Folder that stores the index of the dataset `bids` between runs. The index "
        "is rebuilt when the subjects of the dataset change.",
    )
    table: Path | None = Field(
        None,
        description="TSV or CSV file with the columns participant_id (and session_id), a column "
        "with the image paths, and covariates. The fields of a CSV file are separated by commas, "
        "semicolons or tabs.",
    )
    path_column: str = Field("path", description="Column of `table` that holds the image paths.")
    id_column: str = Field(
        "participant_id",
        description="Column of `table`, `features` and `participants` that holds the subjects. In "
        "`features`, usual names such as SubjID and eid are found without it.",
    )
    glob: Path | None = Field(None, description="Pattern that matches one image per subject.")
    pattern: str = Field(
        r"(?P<participant_id>sub-[A-Za-z0-9+]+)",
        description="Regular expression with the group `participant_id`; it is applied to each "
        "path that `glob` finds.",
    )
    features: Paths | None = Field(
        None,
        description="Table of features, such as the thickness of each region, one row per subject: "
        "TSV, CSV, or Excel; or a matrix without names: NumPy (.npy), MATLAB (.mat) or HDF5 (.h5). "
        "A list of tables, such as one for each hemisphere, is joined by subject.",
    )
    feature_names: Names | None = Field(
        None,
        description="Names of the features in the table `features`, or patterns such as "
        "`*_thickavg`. Default: the columns of numbers, except those whose name is that of a "
        "covariate or of a total, such as ICV. The other columns become covariates.",
    )
    features_as: Literal["columns", "rows"] | None = Field(
        None,
        description="Whether the features are the columns or the rows of `features`. Matrices "
        "without names need it. Default for tables: columns, unless the first column has names of "
        "regions or the other columns are called sub-...",
    )
    simulation: SimulationConfig | None = Field(
        None, description="Simulate a cohort instead of reading images."
    )
    measures: tuple[MeasureConfig, ...] | None = Field(
        None,
        description="Several measures of each subject, such as grey matter and thickness, which "
        "`matrix.measures` joins. Each has a `name`, and a source of its own, or other `filters` "
        "or another `path_column` of the source in `inputs`.",
    )
    participants: Path | None = Field(
        None,
        description="Table with participant_id (and session_id) and covariates to add. Default for "
        "`bids`: participants.tsv of the dataset. If `features` is a matrix without names, the "
        "rows of this table name its subjects.",
    )
    masks: MasksConfig | None = Field(
        None,
        description="Masks of missing voxels, such as lesions, one for each image that has any. "
        "They need `matrix.nan: masked`.",
    )
    on_missing: Literal["error", "drop"] = Field(
        "error",
        description="What to do if a subject has no image, or lacks one of the `measures`: error: "
        "stop; drop: leave the subject out.",
    )
    on_empty: Literal["error", "drop"] = Field(
        "error",
        description="What to do if an image is zero everywhere in the mask, such as a lesion map "
        "without a lesion: error: stop; drop: leave the subject out. With drop, all images are "
        "read once more.",
    )
    on_missing_covariate: Literal["error", "drop"] = Field(
        "error",
        description="What to do if a subject has no value in a column that the adjustment of the "
        "matrix uses: error: stop; drop: leave the subject out.",
    )

    @model_validator(mode="after")
    def _several_measures(self) -> InputsConfig:
        if self.measures is None:
            return self
        names = [measure.name for measure in self.measures]
        if len(names) < 2:
            raise ValueError(ONE_MEASURE_MSG)
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(TWICE_MSG.format(name=twice[0]))
        for key in ("simulation", "masks"):
            if getattr(self, key) is not None:
                raise ValueError(LIMITS_MSG.format(key=key))
        if self.on_empty == "drop":
            raise ValueError(LIMITS_MSG.format(key="on_empty: drop"))
        for name in names:
            try:
                self.of_measure(name)
            except ValidationError as error:
                reasons = [one["msg"].removeprefix("Value error, ") for one in error.errors()]
                raise ValueError(f"`measures`: {name}: {'; '.join(reasons)}") from None
        return self

    @model_validator(mode="after")
    def _one_source(self) -> InputsConfig:
        if self.measures is not None:
            return self
        named = [source for source in SOURCES if getattr(self, source) is not None]
        if len(named) != 1:
            got = f"got {' and '.join(named)}" if named else "none is set"
            raise ValueError(f"set exactly one of {', '.join(SOURCES)}; {got}")
        return self

    @model_validator(mode="after")
    def _masks_of_the_source(self) -> InputsConfig:
        masks = self.masks
        if masks is not None and (self.features or self.simulation):
            raise ValueError("`masks` are for images; set NaN in a table of `features` instead")
        if masks is not None and masks.column and self.table is None:
            raise ValueError("`masks.column` requires `table`; use masks.filters or masks.glob")
        if masks is not None and masks.filters and not (masks.bids or self.bids):
            raise ValueError("`masks.filters` requires `bids`, here or in `masks`")
        return self

    def of_measure(self, name: str) -> InputsConfig:
        """Return the settings `inputs` of one of the measures.

        Raises
        ------
        pydantic.ValidationError
            The measure has no source, or several.
        """
        (measure,) = (one for one in self.measures or () if one.name == name)
        own = {key: value for key, value in measure if value}
        shared = {key: value for key, value in self if value is not None and key != "measures"}
        if any(source in own for source in SOURCES):
            replaced = {key for source in SOURCES for key in (source, *OF_SOURCES.get(source, ()))}
            shared = {key: value for key, value in shared.items() if key not in replaced}
        if "filters" in own:  # the command line may have added subjects and sessions
            own["filters"] = {**shared.get("filters", {}), **own["filters"]}
        own.pop("name")
        return InputsConfig(**{**shared, **own})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the measures; empty if there is only one."""
        return tuple(measure.name for measure in self.measures or ())
