"""Tables of the user with one row per subject, or one column per subject, as text."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError, TableError
from opnmf_pipeline.images.hemispheres import is_marked
from opnmf_pipeline.images.tables.columns import corner, subject_column
from opnmf_pipeline.tables import read_table

__all__ = ["read_source"]

EXCEL = (".xlsx", ".xlsm")
PREFIX = "sub-"
TURNED = "\tsubjects"
"""Column of the subjects of a table that was turned; no column of a table has a name with a tab."""
N_NAMED = 4
MOST = 0.5

NO_EXCEL_MSG = (
    "{path}: reading Excel needs the package openpyxl; install it with "
    "`pip install opnmf-pipeline[excel]`, or save the table as CSV"
)
UNREADABLE_MSG = "{path}: cannot be read as an Excel file ({reason})"
HEADER_MSG = (
    "{path}: a column of the first sheet has no name, or two have the same; name each column"
)
DUPLICATE_MSG = "{path}: duplicate features ({names}); give each feature its own name"
NAMELESS_MSG = (
    "{path}: the first column has {n} empty cell(s); it must name the feature of each row"
)
ONE_COLUMN_MSG = (
    "{path}: has one column ({column}); separate the fields by tabs or, in a file with the ending "
    ".csv, by commas or semicolons"
)
NO_SUBJECTS_MSG = (
    "{path}: no column is known to hold the subjects; set inputs.id_column to it, or set "
    "inputs.features_as: rows if each row is a feature; the columns are {columns}"
)
TURNED_MSG = (
    "{path}: the table is transposed: with inputs.features_as: {given}, the features are "
    "{features} and the subjects are {subjects}; set inputs.features_as: {other}"
)
EMPTY_MSG = "{path}: has no subjects; the table needs one row or one column for each subject"


def read_source(path: Path, options: InputsConfig) -> pd.DataFrame:
    """Read a table of features and turn it, so that each row is a subject.

    Parameters
    ----------
    path : path
        TSV; CSV with the ending ``.csv``; or Excel.
    options : InputsConfig
        ``features_as`` and ``id_column``.

    Returns
    -------
    DataFrame
        Cells are text, or missing. The column of subjects is called as ``id_column``; all other
        columns are features and covariates.

    Raises
    ------
    CohortError
        The table cannot be read, has no subjects, or nothing says which way it is to be read.
    """
    table = _read_excel(path) if path.suffix.lower() in EXCEL else read_table(path)
    columns = [str(name) for name in table]
    if len(columns) == 1:
        raise CohortError(ONE_COLUMN_MSG.format(path=path, column=columns[0][:60]))
    way = options.features_as or _way_of(table, options.id_column)
    if way == "rows":
        table = _turned(table, path)
    columns = [str(name) for name in table]
    column = TURNED if way == "rows" else subject_column(columns, options.id_column)
    if column is None:
        raise CohortError(NO_SUBJECTS_MSG.format(path=path, columns=_some(columns)))
    others = [name for name in columns if name != column]
    _refuse_turned(path, way, others, table[column].dropna().tolist())
    if table.empty:
        raise CohortError(EMPTY_MSG.format(path=path))
    return table.rename(columns={column: options.id_column})


def _read_excel(path: Path) -> pd.DataFrame:
    if importlib.util.find_spec("openpyxl") is None:
        raise CohortError(NO_EXCEL_MSG.format(path=path))
    try:
        cells = pd.read_excel(
            path, header=None, dtype=str, na_values=["n/a"], keep_default_na=False
        )
    except Exception as error:  # openpyxl raises errors of many kinds for damaged files
        raise TableError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    cells = cells.astype(object).where(cells.notna(), None)
    header = [str(name or "").strip() for name in cells.iloc[0]] if len(cells) else []
    if not all(header) or len(set(header)) != len(header):
        raise TableError(HEADER_MSG.format(path=path))
    return cells.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)


def _way_of(table: pd.DataFrame, id_column: str) -> str:
    """Return whether features are columns or rows: columns, unless names say that they are rows."""
    columns = [str(name) for name in table]
    if all(name.startswith(PREFIX) for name in columns[1:]):
        return "rows"
    if subject_column(columns, id_column) not in (None, corner(columns)):
        return "columns"
    in_rows, in_columns = _share_marked(table.iloc[:, 0]), _share_marked(columns[1:])
    return "rows" if in_rows > MOST and in_rows > in_columns else "columns"


def _share_marked(names: Iterable[Any]) -> float:
    """Return the share of names that say a hemisphere."""
    marks = [name is not None and is_marked(str(name)) for name in names]
    return sum(marks) / max(len(marks), 1)


def _turned(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return a table of one row per feature with one row per subject; the first column has them."""
    names = table.iloc[:, 0]
    empty = names.isna() | (names.fillna("").astype(str).str.strip() == "")
    if empty.any():
        raise CohortError(NAMELESS_MSG.format(path=path, n=int(empty.sum())))
    if twice := sorted(set(names[names.duplicated()])):
        raise CohortError(DUPLICATE_MSG.format(path=path, names=_some(twice)))
    turned = table.set_index(table.columns[0]).T
    turned.columns.name = None
    turned.insert(0, TURNED, turned.index.astype(str))
    return turned.reset_index(drop=True)


def _refuse_turned(path: Path, given: str, features: list[str], subjects: list[str]) -> None:
    """Refuse a table whose features are called like subjects, or whose subjects like features."""
    other = {"columns": "rows", "rows": "columns"}[given]
    are_subjects = features and all(name.startswith(PREFIX) for name in features)
    are_features = _share_marked(subjects) > MOST
    if are_subjects or are_features:
        named = {"features": _some(features), "subjects": _some(list(map(str, subjects)))}
        raise CohortError(TURNED_MSG.format(path=path, given=given, other=other, **named))


def _some(names: list[str]) -> str:
    return ", ".join([*names[:N_NAMED], *["..."] * (len(names) > N_NAMED)])
