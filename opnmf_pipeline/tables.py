"""Tables of text: read as they are written, and written as they were read.

In BIDS only ``n/a`` is a missing value, and a quotation mark is a character like any other. So a
subject may be called ``007``, a site ``NA``, and a diagnosis ``None``. Quotation marks around all
names of the header are those of a program, such as R, that writes them around every text.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opnmf_pipeline.exceptions import TableError

__all__ = ["as_typed", "cut_off", "read_table", "table_text", "typed", "write_table"]

MISSING = "n/a"
LARGEST_FIELD = 1_000_000

NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
"""A number. A leading zero (`01`) marks a code, and `1_0` and `10:12` are text."""
AT_LEAST = re.compile(r"[1-9]\d*\+", re.ASCII)
"""A value that was cut off to protect the oldest subjects, such as `89+`."""
QUOTED = re.compile(r'"[^"]*"')
WORDS = {"True": True, "False": False}

UNREADABLE_MSG = "{path}: cannot be read as a table ({reason})"
FIELDS_MSG = (
    "{path}: line {line} has {got} fields, but the header has {expected}; write n/a where a value "
    "is missing"
)
HEADER_MSG = "{path}: the header has {problem}; give each column its own name"
CELL_MSG = "column {column}: {cell!r} contains a tab or a line break; rename it"


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a TSV file, or a CSV file with the ending ``.csv``, without changing a cell.

    There is one exception: in a CSV file with semicolons, decimal commas become decimal points in
    columns of numbers. Spaces around the names of columns are removed.

    Parameters
    ----------
    path : path
        Text in UTF-8. The first line contains the names of the columns.

    Returns
    -------
    DataFrame
        All cells are text; cells with ``n/a`` are missing values.

    Raises
    ------
    TableError
        The file cannot be read, or a line has another number of fields than the header.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = _delimiter(text, is_csv=path.suffix.lower() == ".csv")
        lines = list(_fields(text, delimiter))
    except OSError as error:
        raise TableError(UNREADABLE_MSG.format(path=path, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise TableError(UNREADABLE_MSG.format(path=path, reason="not text in UTF-8")) from None
    except csv.Error as error:
        raise TableError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    if "\0" in text or not lines:
        reason = "not a text file" if lines else "the file is empty"
        raise TableError(UNREADABLE_MSG.format(path=path, reason=reason))
    (_, header), *rows = lines
    header = [name.strip() for name in _without_last_empty(header, 0)]
    if problem := _problem(header):
        raise TableError(HEADER_MSG.format(path=path, problem=problem))
    cells = [_without_last_empty(row, len(header)) for _, row in rows]
    for (line, _), row in zip(rows, cells, strict=True):
        if len(row) != len(header):
            counts = {"got": len(row), "expected": len(header)}
            raise TableError(FIELDS_MSG.format(path=path, line=line, **counts))
    table = pd.DataFrame(cells, columns=header)
    table = table.where(table != MISSING, None)
    return table.apply(_with_points) if delimiter == ";" else table


def _delimiter(text: str, *, is_csv: bool) -> str:
    """Return what separates fields that may have quotation marks around them.

    In a CSV file it is a comma, a semicolon or a tab. In a TSV file it is a tab if all names in the
    first line have quotation marks; if not, there are no such fields, and it is empty.
    """
    header = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    if is_csv:
        return max(",;\t", key=QUOTED.sub("", header).count)
    return "\t" if all(QUOTED.fullmatch(name) for name in header.split("\t")) else ""


def _with_points(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column with decimal points, if all its values are numbers with decimal commas."""
    known = values.dropna()
    points = known[known.str.strip() != ""].str.replace(",", ".", regex=False)
    numbers = points.map(lambda cell: NUMBER.fullmatch(cell.strip()) is not None)
    return values.str.replace(",", ".", regex=False) if numbers.all() else values


def _fields(text: str, delimiter: str) -> Iterable[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that is not blank."""
    if delimiter:
        csv.field_size_limit(LARGEST_FIELD)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        yield from ((reader.line_num, row) for row in reader if row)
    else:
        lines = re.split(r"\r\n|\r|\n", text)
        yield from ((n, line.split("\t")) for n, line in enumerate(lines, 1) if line.strip(" "))


def _without_last_empty(fields: list[str], n_columns: int) -> list[str]:
    """Remove empty fields after the last column: a spreadsheet with empty columns writes them."""
    while len(fields) > max(n_columns, 1) and not fields[-1].strip():
        fields = fields[:-1]
    return fields


def _problem(header: list[str]) -> str:
    if twice := sorted({name for name in header if header.count(name) > 1}):
        return f"duplicate names ({', '.join(map(repr, twice[:5]))})"
    return "" if all(header) else "a column without a name"


def table_text(table: pd.DataFrame) -> str:
    """Return a table as TSV with ``n/a`` for missing values (BIDS).

    Raises
    ------
    TableError
        A cell contains a tab or a line break, which a TSV file cannot hold.
    """
    columns = [_cells(str(name), table[name]) for name in table]
    header = _cells("names", pd.Series(list(table), dtype=object))
    rows = zip(*columns, strict=True)
    return "".join("\t".join(row) + "\n" for row in (header, *rows))


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as TSV in UTF-8; see :func:`table_text`."""
    Path(path).write_text(table_text(table), encoding="utf-8", newline="")


def _cells(column: str, values: pd.Series[Any]) -> list[str]:
    missing = values.isna()
    cells = [MISSING if gone else str(v) for v, gone in zip(values, missing, strict=True)]
    for cell in cells:
        if not {"\t", "\n", "\r"}.isdisjoint(cell):
            raise TableError(CELL_MSG.format(column=column, cell=cell))
    return cells


def typed(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column of text as numbers, if all its values are numbers; otherwise as text.

    Codes such as ``01`` stay text. ``89+``, as ages are cut off, is read as 89 where the other
    values are numbers. Empty cells are missing values.

    Examples
    --------
    >>> typed(pd.Series(["20", "89+", None])).tolist()
    [20.0, 89.0, nan]
    >>> typed(pd.Series(["01", "02"])).tolist()
    ['01', '02']
    """
    if pd.api.types.is_numeric_dtype(values):
        return values
    text = values.where(values.isna() | values.astype(str).str.strip().ne(""), None)
    known = text.dropna().astype(str)
    if known.empty:
        return text
    if known.isin(list(WORDS)).all() and len(known) == len(text):
        return known.map(WORDS).astype(bool)
    numbers = known.str.strip()
    exact = numbers.map(lambda cell: NUMBER.fullmatch(cell) is not None)
    at_least = numbers.map(lambda cell: AT_LEAST.fullmatch(cell) is not None)
    if not exact.any() or not (exact | at_least).all():
        return text
    found = pd.to_numeric(numbers.str.rstrip("+"))
    return found.reindex(values.index) if np.isfinite(found).all() else text


def cut_off(values: pd.Series[Any]) -> tuple[int, str, int] | None:
    """Return how many values of a column of numbers are cut off, such as ``89+``; None if none is.

    Returns
    -------
    (int, str, int) or None
        The number of these values, the first of them, and the number that it is read as.
    """
    if pd.api.types.is_numeric_dtype(values) or not pd.api.types.is_numeric_dtype(typed(values)):
        return None
    found = [cell for cell in values.dropna().astype(str) if AT_LEAST.fullmatch(cell.strip())]
    return (len(found), found[0], int(found[0].strip().rstrip("+"))) if found else None


def as_typed(table: pd.DataFrame, text: Sequence[str] = ()) -> pd.DataFrame:
    """Return a table with :func:`typed` columns, except those named in ``text``."""
    columns = {name: table[name] if name in text else typed(table[name]) for name in table}
    return pd.DataFrame(columns, index=table.index)
