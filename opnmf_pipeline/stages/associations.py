"""Stage ``associations``: linear models of the loadings on covariates of the subjects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.files import read_object
from opnmf_pipeline.images.cohort import (
    IDENTIFIERS,
    MEASURE,
    by_row,
    identifiers,
    read_measures,
)
from opnmf_pipeline.reporting.associations import COLUMNS, Associations, measure_associations
from opnmf_pipeline.reporting.covariates import Covariates, choose_covariates
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.splits import with_covariates
from opnmf_pipeline.stages.stage import Call, Field, Kind, Stage
from opnmf_pipeline.tables import write_table

__all__ = ["ASSOCIATIONS_FILES", "MEASURE_ASSOCIATIONS", "write_associations"]

ASSOCIATIONS_FILES = {
    "associations": "associations.tsv",
    "associations_json": "associations.json",
}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``."""
OF_MEASURE = "Measure whose loadings are in the models"


def write_associations(
    loadings_file: Path,
    cohort_file: Path | None,
    out_dir: Path,
    covariates: Sequence[str] = (),
    descriptions_file: Path | None = None,
) -> Path:
    """Write the associations of the loadings with covariates of the subjects.

    Parameters
    ----------
    loadings_file : path
        Loadings of :func:`opnmf_pipeline.stages.maps.write_maps`.
    cohort_file : path or None
        Table of the subjects with their covariates. Without it, the tables are empty.
    out_dir : path
        Existing folder that gets

        * ``associations.tsv``: one row per component, effect and model; each of several measures
          has models of its own, and the column ``measure_id`` names it;
        * ``associations.json``: its columns, the covariates, and the columns of ``cohort_file``
          that are not used, with the reason.
    covariates : sequence of str
        Columns of ``cohort_file`` to use. Default: those that are described or have a usual name.
    descriptions_file : path, optional
        ``participants.json`` with descriptions of the columns.

    Returns
    -------
    path
        ``out_dir``.

    Raises
    ------
    CohortError
        ``cohort_file`` lacks a subject; see
        :func:`opnmf_pipeline.stages.splits.with_covariates`.
    ConfigError
        A name is not a column of ``cohort_file``.
    FileError
        ``descriptions_file`` contains no JSON object.
    """
    loadings = by_row(read_measures(loadings_file))
    table = pd.DataFrame(index=loadings.index)
    if cohort_file is not None:
        cohort = with_covariates(loadings.index.tolist(), cohort_file)
        table = cohort.drop(columns=["image", *IDENTIFIERS], errors="ignore")
        table = table.set_axis(loadings.index)
    descriptions = read_object(descriptions_file) if descriptions_file else {}
    rows = identifiers(loadings.index.tolist()).set_axis(loadings.index)
    tables = []
    for name, of_measure in _by_measure(rows):
        subjects = of_measure["participant_id"].tolist()
        people = table.loc[of_measure.index]
        chosen = choose_covariates(people, subjects, covariates, descriptions)
        found = measure_associations(loadings.loc[of_measure.index], chosen.used, subjects)
        tables.append(found.table if name is None else _named(found.table, name))
    write_table(pd.concat(tables), out_dir / ASSOCIATIONS_FILES["associations"])
    sidecar = json_text(_describe(chosen, found, tables[0]))
    (out_dir / ASSOCIATIONS_FILES["associations_json"]).write_text(sidecar, encoding="utf-8")
    return out_dir


def _by_measure(rows: pd.DataFrame) -> list[tuple[str | None, pd.DataFrame]]:
    """Return the rows of each measure with its name; the same subjects have all measures."""
    if MEASURE not in rows:
        return [(None, rows)]
    return [(str(name), some) for name, some in rows.groupby(MEASURE, sort=False)]


def _named(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    table.insert(0, MEASURE, measure)
    return table


def _describe(chosen: Covariates, found: Associations, table: pd.DataFrame) -> dict[str, Any]:
    own = {MEASURE: {"Description": OF_MEASURE}} if MEASURE in table else {}
    return {
        "Description": "Associations of the loadings with covariates: linear models, one with each "
        "covariate (simple) and one with all covariates (adjusted)",
        "Covariates": {covariate.name: covariate.describe() for covariate in chosen.used},
        "NotUsed": dict(chosen.unused),
        "Notes": list(found.notes),
        **own,
        **COLUMNS,
    }


def _run(call: Call) -> dict[str, Path]:
    folder = write_associations(
        call.path("loadings_file"),
        call.optional_path("cohort_file"),
        call.folder,
        call["covariates"] or (),
        call.optional_path("descriptions_file"),
    )
    return {
        "associations_dir": folder,
        "associations_file": folder / ASSOCIATIONS_FILES["associations"],
    }


MEASURE_ASSOCIATIONS = Stage(
    name="MeasureAssociations",
    summary="Fit linear models of the loadings on covariates of the subjects.",
    run=_run,
    folder="associations",
    inputs={
        "loadings_file": Field(Kind.TABLE, "loadings of WriteMaps or ProjectSubjects (TSV)"),
        "cohort_file": replace(COHORT_FILE, default=None),
        "covariates": Field(
            Kind.TEXT,
            "columns of cohort_file to use; default: those that are described or have a usual name",
            many=True,
            default=(),
        ),
        "descriptions_file": Field(
            Kind.JSON, "participants.json with descriptions of the columns", default=None
        ),
    },
    outputs={
        "associations_dir": Field(Kind.FOLDER, "folder with associations.tsv and .json"),
        "associations_file": Field(Kind.TABLE, "effect sizes of all models (TSV)"),
    },
)
