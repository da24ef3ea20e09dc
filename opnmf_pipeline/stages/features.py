"""Stage ``features``: from one table of all subjects to one table of features per subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.images.tables.split import FILE_COLUMN, split_table
from opnmf_pipeline.stages.stage import IMAGES, Call, Field, Kind, Stage
from opnmf_pipeline.tables import read_table

__all__ = ["SPLIT_TABLE", "split_inputs", "table_inputs"]

OF_TABLES = ("features", "feature_names", "features_as")
SETTINGS = ("features_as", "id_column", "participants", "on_missing")


def split_inputs(options: InputsConfig, folder: Path) -> InputsConfig:
    """Write one file per subject; return the settings ``inputs`` that name these files.

    Parameters
    ----------
    options : InputsConfig
        Settings ``inputs``. Without ``features``, they are returned as they are.
    folder : path
        Folder that gets the files; it is created if there are any.

    Returns
    -------
    InputsConfig
        Settings with ``table`` in place of ``features``.

    Raises
    ------
    CohortError
        See :func:`opnmf_pipeline.images.tables.split.split_table`.
    """
    if options.features is None:
        return options
    folder.mkdir()
    return table_inputs(options, split_table(options, folder))


def table_inputs(options: InputsConfig, subjects_file: Path) -> InputsConfig:
    """Return the settings ``inputs`` for the table of subjects that a split wrote."""
    named = {"table": subjects_file, "path_column": FILE_COLUMN}
    return options.model_copy(update={**dict.fromkeys(OF_TABLES), **named})


def _run(call: Call) -> dict[str, Any]:
    options = call.section(
        InputsConfig,
        features=call.paths("features"),
        feature_names=tuple(call["feature_names"] or ()) or None,
    )
    subjects_file = split_table(options, call.folder)
    rows = read_table(subjects_file)[FILE_COLUMN]
    return {"subjects_file": subjects_file, "images": [call.folder / name for name in rows]}


SPLIT_TABLE = Stage(
    name="SplitTable",
    summary="Write one file per subject from a table of features of all subjects.",
    run=_run,
    folder="features",
    inputs={
        "features": Field(
            Kind.FILE,
            "tables of features, joined by subject, or one matrix without names",
            many=True,
        ),
        "feature_names": Field(
            Kind.TEXT,
            "names of the features, or patterns; default: the columns of numbers that are no known "
            "covariates or totals",
            many=True,
            default=(),
        ),
    },
    outputs={
        "subjects_file": Field(
            Kind.TABLE,
            "table of the subjects, for CollectCohort with path_column: features_file (TSV)",
        ),
        "images": IMAGES,
    },
    settings={
        InputsConfig: tuple(name for name in InputsConfig.model_fields if name not in SETTINGS)
    },
)
