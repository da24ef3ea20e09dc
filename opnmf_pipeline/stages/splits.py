"""Stage ``splits``: the subjects of both parts of each split of the cohort."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from opnmf_pipeline.config import SPLIT_SETTINGS, SelectionConfig
from opnmf_pipeline.exceptions import CohortError, ConfigError, SelectionError
from opnmf_pipeline.images.cohort import identifiers, read_cohort, row_names
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.selection.splits import leave_group_out, split_halves, strata_of
from opnmf_pipeline.stages.stage import PARTICIPANTS, Call, Field, Kind, Stage
from opnmf_pipeline.tables import typed

__all__ = [
    "MAKE_SPLITS",
    "SPLIT_FILE",
    "Split",
    "groups_of",
    "make_splits",
    "split_cohort",
    "with_covariates",
]

NO_SUBJECTS_MSG = "MakeSplits: give the subjects, as participants or as a table (covariates)"
NO_COLUMN_MSG = (
    "selection.{key}: the participants table has no column {column!r}; it has: {columns}"
)
NO_KEY_MSG = (
    "{table}: has no column {key}, which tells whose row it is; connect the table of the subjects "
    "of the matrix (cohort_file of CollectCohort); the columns are {columns}"
)
NO_ROW_MSG = (
    "{table}: has no row for {n} subject(s) of the matrix:\n{named}\n"
    "add their rows, or connect the table of the subjects of the matrix (cohort_file of "
    "CollectCohort)"
)
TWICE_MSG = (
    "{table}: has several rows for {n} subject(s) of the matrix:\n{named}\nkeep one row for each"
)
ONE_SUBJECT_MSG = (
    "all {n} images are sessions of one subject, {name}, but the halves of a split must have "
    "different subjects; set selection.n_splits: 0, or selection.groups: session_id"
)


class Split(NamedTuple):
    """One split of the cohort.

    Attributes
    ----------
    left_out : str or None
        Group that forms the second part, such as a site; None for random halves.
    halves : (list of str, list of str)
        Identifiers of the subjects in each part.
    """

    left_out: str | None
    halves: tuple[list[str], list[str]]


def split_cohort(cohort: pd.DataFrame, options: SelectionConfig) -> list[Split]:
    """Return the splits of a cohort.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id`` and covariates, one row per subject.
    options : SelectionConfig
        Number and kind of the splits.

    Returns
    -------
    list of Split
        With random halves, a larger number of splits starts with the same splits.

    Raises
    ------
    ConfigError
        The settings name a column that the table does not have.
    SelectionError
        The cohort cannot be split by the column.
    """
    people = row_names(cohort)
    if options.leave_out is not None:
        values = _column(cohort, "leave_out", options.leave_out)
        pairs = leave_group_out(typed(values).set_axis(people))
        names = [str(values.iloc[left_out[0]]) for _, left_out in pairs]
    else:
        columns = {name: typed(_column(cohort, "stratify", name)) for name in options.stratify}
        table = pd.DataFrame(columns, index=cohort.index)
        strata = strata_of(table, options.stratify, options.n_bins)
        groups = groups_of(cohort, options.groups)
        one_subject = options.groups is None and cohort["participant_id"].nunique() == 1
        if options.n_splits and one_subject and len(cohort) > 1:
            name = cohort["participant_id"].iloc[0]
            raise SelectionError(ONE_SUBJECT_MSG.format(n=len(cohort), name=name))
        pairs = split_halves(
            len(people), options.n_splits, options.random_state, strata=strata, groups=groups
        )
        names = ["" for _ in pairs]
    return [
        Split(name or None, ([people[i] for i in first], [people[i] for i in second]))
        for name, (first, second) in zip(names, pairs, strict=True)
    ]


def groups_of(cohort: pd.DataFrame, column: str | None) -> pd.Series[Any] | None:
    """Return the group of each row, which is never divided: from a column, or the subject.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id`` and covariates, one row per subject or session.
    column : str or None
        Column of ``selection.groups``.

    Returns
    -------
    Series or None
        None if each row is a group of its own.

    Raises
    ------
    ConfigError
        The table does not have the column.
    """
    if column is None and cohort["participant_id"].duplicated().any():
        column = "participant_id"  # sessions of a subject
    return None if column is None else typed(_column(cohort, "groups", column))


def _column(cohort: pd.DataFrame, key: str, column: str) -> pd.Series[Any]:
    if column not in cohort:
        columns = ", ".join(map(str, cohort.columns))
        raise ConfigError(NO_COLUMN_MSG.format(key=key, column=column, columns=columns))
    return cohort[column]


def with_covariates(participants: Sequence[str], covariates: Path | None) -> pd.DataFrame:
    """Return the subjects of the matrix, with the columns of a table of covariates if there is one.

    Parameters
    ----------
    participants : sequence of str
        Identifier of each subject of the matrix.
    covariates : path or None
        Table with ``participant_id`` (TSV), in any order; it may have other subjects, too.

    Returns
    -------
    DataFrame
        One row per subject, in the order of the matrix.

    Raises
    ------
    CohortError
        The table lacks a subject, has one twice, or lacks a column that identifies them.
    """
    cohort = identifiers(participants)
    if covariates is None:
        return cohort
    table, keys = read_cohort(covariates), cohort.columns.tolist()
    if lacking := [key for key in keys if key not in table]:
        columns = ", ".join(map(str, table.columns))
        raise CohortError(NO_KEY_MSG.format(table=covariates, key=lacking[0], columns=columns))
    n_rows = Counter(row_names(cohort.merge(table[keys])))
    absent = [name for name in participants if not n_rows[name]]
    twice = [name for name in n_rows if n_rows[name] > 1]
    for names, message in ((absent, NO_ROW_MSG), (twice, TWICE_MSG)):
        if names:
            raise CohortError(message.format(table=covariates, n=len(names), named=listed(names)))
    return cohort.merge(table, how="left", on=keys)


def make_splits(
    participants: Sequence[str],
    out_dir: Path,
    options: SelectionConfig,
    covariates: Path | None = None,
) -> list[Path]:
    """Write one file for each split, so that an additional split does not change the others.

    Parameters
    ----------
    participants : sequence of str
        Identifier of each subject of the matrix.
    out_dir : path
        Existing folder that gets ``split-001.json``, ...: the subjects of both parts.
    options : SelectionConfig
        Number and kind of the splits.
    covariates : path, optional
        Table with ``participant_id`` and the columns that the settings name (TSV).

    Returns
    -------
    list of path
        The files, in the order of the splits.

    Raises
    ------
    ConfigError, SelectionError
        See :func:`split_cohort`.
    CohortError
        See :func:`with_covariates`.
    """
    cohort = with_covariates(participants, covariates)
    files = []
    for number, split in enumerate(split_cohort(cohort, options), start=1):
        path = out_dir / f"split-{number:03d}.json"
        content = {"Split": number, "LeftOut": split.left_out, "Halves": split.halves}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        files.append(path)
    return files


def _run(call: Call) -> dict[str, list[Path]]:
    covariates, participants = call.optional_path("covariates"), call["participants"]
    if not participants and covariates is None:
        raise ConfigError(NO_SUBJECTS_MSG)
    if not participants:
        participants = row_names(read_cohort(call.path("covariates")))
    options = call.section(SelectionConfig)
    return {"split_files": make_splits(participants, call.folder, options, covariates)}


SPLIT_FILE = Field(Kind.JSON, "subjects of both parts of one split (JSON), from MakeSplits")

MAKE_SPLITS = Stage(
    name="MakeSplits",
    summary="Assign the subjects to the two parts of each split.",
    run=_run,
    folder="splits",
    inputs={
        "participants": replace(
            PARTICIPANTS,
            description=f"{PARTICIPANTS.description}; by default those of the table",
            default=(),
        ),
        "covariates": Field(
            Kind.TABLE,
            "table of the subjects with the columns that the settings name (TSV)",
            default=None,
        ),
    },
    outputs={
        "split_files": Field(
            Kind.JSON,
            "subjects of both parts of each split (JSON), one file per split",
            many=True,
        )
    },
    settings={SelectionConfig: tuple(set(SelectionConfig.model_fields) - SPLIT_SETTINGS)},
)
