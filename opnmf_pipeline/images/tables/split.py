"""From one table of all subjects to one table of features for each subject."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.matrices import is_matrix
from opnmf_pipeline.images.tables.arrays import read_array
from opnmf_pipeline.images.tables.columns import choose, is_known_covariate
from opnmf_pipeline.images.tables.files import ENDING, write_features
from opnmf_pipeline.images.tables.sources import read_source
from opnmf_pipeline.tables import read_table, write_table

__all__ = ["FILE_COLUMN", "SUBJECTS_FILE", "split_table"]

logger = logging.getLogger(__name__)

SUBJECTS_FILE = "subjects.tsv"
"""Name of the table of the subjects."""
FILE_COLUMN = "features_file"
"""Column of the table of subjects that names the file of each."""
SESSION = "session_id"
MISSING = ("", "n/a", "na", "nan", "null")
"""Cells without a value, in small letters."""
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
N_NAMED = 5

NOT_FOUND_MSG = "inputs.features: {path}: no such file; check the path"
MIXED_KINDS_MSG = "inputs.features: {path} is a matrix without names and cannot be joined to others"
TEXT_MSG = (
    "{path}: {n} value(s) of features are not numbers: {named}; correct them, or set "
    "inputs.feature_names to the columns that are features"
)
NO_FEATURES_MSG = (
    "{path}: has no column of numbers that is a feature; set inputs.feature_names; the columns are "
    "{columns}"
)
TWICE_MSG = "{path}: {n} subject(s) have more than one row: {named}; keep one row for each"
NAME_MSG = (
    "inputs.features: {n} name(s) of features contain a tab or a line break: {named}; rename them"
)
NAMELESS_MSG = (
    "{path}: {n} row(s) have no subject in column {column!r}; add it or remove these rows"
)
DUPLICATE_MSG = "{path}: duplicate features, which are also in another table: {named}"
OTHER_SUBJECTS_MSG = (
    "{path}: has no row for {n} subject(s) that another table of inputs.features has: {named}; add "
    "them, or set inputs.on_missing: drop to leave these subjects out"
)
N_SUBJECTS_MSG = (
    "{participants}: has {n} rows, but {path} has {wanted} subjects; this table must name the "
    "subjects of the matrix, in their order"
)
LEFT_OUT_MSG = (
    "%s: columns that are taken as covariates, not as features: %s; set inputs.feature_names to "
    "change this"
)
DOUBTFUL_MSG = "%s: %d value(s) of features are %s: %s"


class _Table(NamedTuple):
    """Subjects (index), their features, float64, and their covariates, text."""

    features: pd.DataFrame
    covariates: pd.DataFrame


def split_table(options: InputsConfig, out_dir: Path) -> Path:
    """Write one file for each subject of a table of features, and a table of the subjects.

    Parameters
    ----------
    options : InputsConfig
        ``features`` names one or more tables, or one matrix without names.
    out_dir : path
        Existing folder that gets the files, and ``subjects.tsv``: the subjects, the names of their
        files (:data:`FILE_COLUMN`), and the columns that are no features.

    Returns
    -------
    path
        ``subjects.tsv``.

    Raises
    ------
    CohortError
        A table cannot be read; a value is not a number; a subject or a feature occurs twice; or the
        tables have different subjects.
    """
    assert options.features is not None
    for path in options.features:
        if not path.is_file():
            raise CohortError(NOT_FOUND_MSG.format(path=path))
    if array := next(filter(is_matrix, options.features), None):
        if len(options.features) > 1:
            raise CohortError(MIXED_KINDS_MSG.format(path=array))
        table = _of_array(array, options)
    else:
        table = _joined([_of_table(path, options) for path in options.features], options)
    names, values = [str(name) for name in table.features], table.features.to_numpy()
    if odd := [name for name in names if not {"\t", "\n", "\r"}.isdisjoint(name)]:
        raise CohortError(NAME_MSG.format(n=len(odd), named=_some(map(repr, odd))))
    covariates = table.covariates.drop(columns=_described_elsewhere(options), errors="ignore")
    files = _file_names([_row(row) for row in table.features.index])
    for file, row in zip(files, values, strict=True):
        write_features(out_dir / file, names, {"value": row})
    covariates.insert(0, FILE_COLUMN, files)
    subjects = out_dir / SUBJECTS_FILE
    write_table(covariates.reset_index(), subjects)
    return subjects


def _of_array(path: Path, options: InputsConfig) -> _Table:
    values = read_array(path, options.features_as).T
    subjects = [f"sub-{number:04d}" for number in range(1, len(values) + 1)]
    if options.participants is not None:
        people = read_table(options.participants)
        if len(people) != len(values):
            wanted = {"participants": options.participants, "n": len(people), "path": path}
            raise CohortError(N_SUBJECTS_MSG.format(wanted=len(values), **wanted))
        if options.id_column in people:
            subjects = people[options.id_column].tolist()
    index = pd.Index(subjects, name=options.id_column)
    names = [str(number) for number in range(1, values.shape[1] + 1)]
    return _Table(pd.DataFrame(values, index=index, columns=names), pd.DataFrame(index=index))


def _of_table(path: Path, options: InputsConfig) -> _Table:
    table = read_source(path, options)
    identity = [name for name in (options.id_column, SESSION) if name in table]
    for name in identity:
        table[name] = table[name].str.strip()
    nameless = table[options.id_column].fillna("") == ""
    if nameless.any():
        n = int(nameless.sum())
        raise CohortError(NAMELESS_MSG.format(path=path, n=n, column=options.id_column))
    table = table.set_index(identity)
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()].unique()
        raise CohortError(TWICE_MSG.format(path=path, n=len(twice), named=_some(map(_row, twice))))
    names = _features(table, path, options)
    others = [name for name in table if name not in set(names)]
    return _Table(_numbers(table[names], path), table[others])


def _features(table: pd.DataFrame, path: Path, options: InputsConfig) -> list[str]:
    """Return the columns that are features."""
    columns = [str(name) for name in table]
    if options.feature_names is not None:
        return choose(columns, options.feature_names, path)
    numbers = [name for name in columns if _has_numbers(table[name])]
    found = [name for name in numbers if not is_known_covariate(name)]
    if not found:
        raise CohortError(NO_FEATURES_MSG.format(path=path, columns=_some(columns)))
    if len(found) < len(columns):
        logger.warning(LEFT_OUT_MSG, path, _some([name for name in columns if name not in found]))
    return found


def _has_numbers(cells: pd.Series[Any]) -> bool:
    return bool(pd.to_numeric(cells.where(~_missing(cells)), errors="coerce").notna().any())


def _missing(cells: pd.Series[Any]) -> pd.Series[bool]:
    return cells.isna() | cells.fillna("").str.strip().str.lower().isin(MISSING)


def _numbers(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return columns of text as numbers, float64; NaN for missing values."""
    missing = table.apply(_missing)
    known = table.where(~missing, None)
    if bad := _places(known.apply(pd.to_numeric, errors="coerce").isna() & ~missing):
        named = [f"{_at(table, place)}: {table.iat[place]!r}" for place in bad[:N_NAMED]]
        listed = _listed("; ".join(named), len(bad))
        raise CohortError(TEXT_MSG.format(path=path, n=len(bad), named=listed))
    cells = known.where(~missing, np.nan).to_numpy(dtype=object)
    numbers = pd.DataFrame(cells.astype(np.float64), index=table.index, columns=table.columns)
    for what, found in (("missing", missing), ("negative", numbers < 0)):
        if doubtful := _places(found):
            named = [_at(table, place) for place in doubtful[:N_NAMED]]
            logger.warning(
                DOUBTFUL_MSG, path, len(doubtful), what, _listed("; ".join(named), len(doubtful))
            )
    return numbers


def _places(found: pd.DataFrame) -> list[tuple[int, int]]:
    """Return row and column of each True."""
    return [(row, column) for row, column in np.argwhere(found.to_numpy()).tolist()]


def _at(table: pd.DataFrame, place: tuple[int, int]) -> str:
    return f"{_row(table.index[place[0]])}, {table.columns[place[1]]}"


def _joined(tables: list[_Table], options: InputsConfig) -> _Table:
    """Return tables side by side, with the subjects of the first, or of all of them."""
    assert options.features is not None
    subjects = tables[0].features.index
    union = subjects
    for table in tables[1:]:
        union = union.union(table.features.index, sort=False)
    for path, table in zip(options.features, tables, strict=True):
        absent = union.difference(table.features.index, sort=False)
        if len(absent) and options.on_missing == "error":
            named = _some(map(_row, absent))
            raise CohortError(OTHER_SUBJECTS_MSG.format(path=path, n=len(absent), named=named))
        subjects = subjects.intersection(table.features.index, sort=False)
    seen: set[str] = set()
    for path, table in zip(options.features, tables, strict=True):
        names = list(map(str, table.features))
        if twice := [name for name in names if name in seen]:
            raise CohortError(DUPLICATE_MSG.format(path=path, named=_some(twice)))
        seen.update(names)
    features = pd.concat([table.features.loc[subjects] for table in tables], axis=1)
    covariates = pd.concat([table.covariates.loc[subjects] for table in tables], axis=1)
    first_of_each = ~covariates.columns.duplicated() & ~covariates.columns.isin(list(seen))
    return _Table(features, covariates.loc[:, first_of_each].copy())


def _described_elsewhere(options: InputsConfig) -> list[str]:
    """Return the columns of the table of participants, which has the covariates of the run."""
    return [] if options.participants is None else list(map(str, read_table(options.participants)))


def _file_names(rows: list[str]) -> list[str]:
    """Return names of files: those of the rows, or numbers if the names may not be possible."""
    names = [row.replace(" ", "_") for row in rows]
    distinct = len({name.lower() for name in names}) == len(names)
    if not distinct or not all(map(SAFE.fullmatch, names)):
        names = [f"{number:06d}" for number in range(1, len(names) + 1)]
    return [name + ENDING for name in names]


def _row(index: Any) -> str:
    """Return the name of a row: its subject, and its session if it has one."""
    return " ".join(str(part) for part in index if part) if isinstance(index, tuple) else str(index)


def _listed(text: str, n: int) -> str:
    return text + (f" and {n - N_NAMED} more" if n > N_NAMED else "")


def _some(names: Any) -> str:
    names = list(names)
    return _listed(", ".join(names[:N_NAMED]), len(names))
