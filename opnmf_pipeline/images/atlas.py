"""Atlases: a label image and the table that names its labels, in the formats of the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pandas as pd

from opnmf_pipeline.exceptions import FileError, TableError
from opnmf_pipeline.tables import read_table

__all__ = ["Atlas", "labels_beside", "read_regions"]

TABLES = (".tsv", ".csv")
TEXTS = (".txt", ".lut", ".label", ".lbl")
ENDINGS = (*TABLES, ".xml", *TEXTS)
QUOTED = re.compile(r'^\s*(\d+)\s.*"([^"]+)"\s*$')
"""Line of ITK-SNAP: number, colours and flags, and the name in quotation marks."""
PLAIN = re.compile(r"^\s*(\d+)[\s,;]+(\S.*?)\s*$")
"""Line of FreeSurfer or MRIcron: number, name, and possibly colours."""
COLOURS = re.compile(r"(\s+[\d.]+)+$")

FORMATS = (
    "a TSV or CSV file with the columns index and name, an XML file of FSL, or a text file with a "
    "number and a name in each line"
)
MISSING_MSG = (
    "{path}: is the atlas, but its labels are not known: none of {names} is there; set "
    "report.atlas_labels"
)
UNREADABLE_MSG = "{path}: cannot be read as the labels of an atlas ({reason}); give " + FORMATS
COLUMNS_MSG = "{path}: has no column {column}; the labels of an atlas need the columns index, name"
INDEX_MSG = "{path}: index {value!r} is not a whole number from 0"
TWICE_MSG = "{path}: duplicate index {index}; give each label one name"


class Atlas(NamedTuple):
    """An atlas.

    Attributes
    ----------
    image : path
        Label image; 0 means no region.
    labels : path or None
        Table of the labels; see :func:`read_regions`. None if the image contains their names.
    """

    image: Path
    labels: Path | None = None


def labels_beside(image: Path) -> Path:
    """Return the table of labels that is next to a label image and has the same name.

    Raises
    ------
    FileError
        There is none.
    """
    stem = image.name.removesuffix(".gz").rpartition(".")[0]
    names = [f"{stem}{ending}" for ending in ENDINGS]
    there = [image.with_name(name) for name in names if image.with_name(name).is_file()]
    if not there:
        raise FileError(MISSING_MSG.format(path=image, names=", ".join(names)))
    return there[0]


def read_regions(path: Path) -> pd.DataFrame:
    """Read the names of the labels of an atlas.

    Parameters
    ----------
    path : path
        TSV or CSV with the columns ``index`` and ``name`` (BIDS), and possibly ``structure``, the
        larger structure of a region; XML of FSL; or text with a number and a name in each line:
        lookup tables of FreeSurfer, label descriptions of ITK-SNAP, labels of MRIcron.

    Returns
    -------
    DataFrame
        ``name`` and possibly ``structure``, by the ``index`` of the region (int). Label 0, which
        means no region, is left out.

    Raises
    ------
    FileError
        The file has another format, an index is not a number, or two names have one index.
    """
    ending = path.suffix.lower()
    if ending in TABLES:
        regions = _of_table(path)
    else:
        rows = list(_of_xml(path) if ending == ".xml" else _of_text(path))
        regions = pd.DataFrame(rows, columns=["index", "name"])
    if regions.empty:
        raise FileError(UNREADABLE_MSG.format(path=path, reason="no label found"))
    twice = regions["index"][regions["index"].duplicated()]
    if len(twice):
        raise FileError(TWICE_MSG.format(path=path, index=twice.iloc[0]))
    return regions[regions["index"] != 0].set_index("index")


def _of_table(path: Path) -> pd.DataFrame:
    try:
        table = read_table(path)
    except TableError as error:
        raise FileError(str(error)) from None
    for column in ("index", "name"):
        if column not in table:
            raise FileError(COLUMNS_MSG.format(path=path, column=column))
    table = table[[name for name in ("index", "name", "structure") if name in table]]
    table = table.dropna(subset="name")
    for value in table["index"]:
        if value is None or not str(value).strip().isdecimal():
            raise FileError(INDEX_MSG.format(path=path, value=value))
    return table.assign(index=table["index"].astype(int))


def _of_xml(path: Path) -> Iterator[tuple[int, str]]:
    try:
        root = ElementTree.fromstring(_text(path))  # noqa: S314 (a file that the user chose)
    except ElementTree.ParseError as error:
        raise FileError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    # The numbers of probabilistic atlases count volumes from 0; their label images add 1
    shift = 0 if (root.findtext("header/type") or "").strip().lower() == "label" else 1
    for label in root.iter("label"):
        value = label.get("index", "")
        if not value.isdecimal():
            raise FileError(INDEX_MSG.format(path=path, value=value))
        yield int(value) + shift, (label.text or "").strip()


def _of_text(path: Path) -> Iterator[tuple[int, str]]:
    for line in _text(path).splitlines():
        if quoted := QUOTED.match(line):
            yield int(quoted[1]), quoted[2].strip()
        elif plain := PLAIN.match(line):
            yield int(plain[1]), COLOURS.sub("", plain[2])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise FileError(UNREADABLE_MSG.format(path=path, reason=error.strerror)) from None
    except UnicodeDecodeError:
        raise FileError(UNREADABLE_MSG.format(path=path, reason="not text in UTF-8")) from None
