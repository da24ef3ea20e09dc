"""Files of the space of tables: one row per feature, its name and one or more values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import why_missing

__all__ = [
    "ENDING",
    "Features",
    "copies",
    "image_files",
    "is_image",
    "read_features",
    "write_features",
]

ENDING = ".features.tsv"
NAME = "name"
"""Column with the names of the features; all other columns have values."""
MISSING = "n/a"
ON_VOLUMES, ON_SURFACES = (".nii.gz",), (".dscalar.nii", ".dlabel.nii")
ON_HEMISPHERES = (".shape.gii", ".label.gii")
SHOWN = [
    *(("", ending) for ending in (*ON_VOLUMES, *ON_SURFACES)),
    *((f"hemi-{side}_", ending) for side in "LR" for ending in ON_HEMISPHERES),
]
"""Beginnings and endings of the names of images that show a table on an atlas."""

UNREADABLE_MSG = "{path}: cannot be read as a table of features ({reason})"
FIELDS_MSG = "line {line} has not {n} fields, as the header has"
NO_NAME_MSG = "the columns are {columns}, expected name and one or more columns of values"


class Features(NamedTuple):
    """Values of features.

    Attributes
    ----------
    names : tuple of str
        Names of the features.
    columns : tuple of str
        Names of the columns of values.
    values : ndarray of shape (n_features, n_columns), float64
        NaN for missing values.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    values: NDArray[np.float64]


def is_image(path: str | Path) -> bool:
    """Tell by its name whether a file is a table of features.

    Examples
    --------
    >>> is_image("sub-01.features.tsv"), is_image("participants.tsv")
    (True, False)
    """
    return Path(path).name.endswith(ENDING)


def image_files(path: str | Path) -> list[str]:
    """Return the only file of a table.

    Raises
    ------
    ImageError
        It does not exist.
    """
    if not Path(path).exists():
        raise ImageError(f"{path}: {why_missing(path)}")
    return [str(path)]


def copies(path: Path) -> Mapping[str, Path]:
    """Return the images that show a table on an atlas, by the beginning of their names.

    They are next to it: an image, and on surfaces another one for each hemisphere.
    """
    stem = path.name.removesuffix(ENDING)
    files = [(start, path.with_name(f"{start}{stem}{ending}")) for start, ending in SHOWN]
    return {start: file for start, file in files if file.exists()}


def read_features(path: str | Path) -> Features:
    """Read a table of features.

    Raises
    ------
    ImageError
        The file is missing, is no table of features, or has a value that is not a number.
    """
    image_files(path)
    try:
        # Not with pandas, which takes ten times as long for a small file
        header, *lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        columns = header.split("\t")
        if columns[:1] != [NAME] or len(columns) < 2:
            raise ValueError(NO_NAME_MSG.format(columns=", ".join(columns)))
        rows = [line.split("\t") for line in lines]
        if odd := [n for n, row in enumerate(rows, start=2) if len(row) != len(columns)]:
            raise ValueError(FIELDS_MSG.format(line=odd[0], n=len(columns)))
        values = np.array([[_number(cell) for cell in row[1:]] for row in rows], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    names = tuple(row[0] for row in rows)
    return Features(names, tuple(columns[1:]), values.reshape(len(rows), len(columns) - 1))


def _number(cell: str) -> float:
    return np.nan if cell == MISSING else float(cell)


def write_features(path: Path, names: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> None:
    """Write a table of features, in digits that restore every value to the bit.

    Parameters
    ----------
    path : path
        TSV to write.
    names : sequence of str
        Names of the features.
    columns : mapping of str to ndarray of shape (n_features,)
        Values by the name of their column.
    """
    texts = [[_text(value) for value in values] for values in columns.values()]
    rows = ["\t".join(row) for row in zip(names, *texts, strict=True)]
    header = "\t".join([NAME, *columns])
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8", newline="")


def _text(value: Any) -> str:
    return MISSING if value != value else str(value)
