"""New subjects of a model of an adjusted matrix: each is adjusted as the cohort of the model was.

Nothing is learned from the new subjects, and no value of one of them depends on another one.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.adjustment.design import as_text
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.cohort import IDENTIFIERS, identifiers
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.images.projection import Column
from opnmf_pipeline.tables import typed

__all__ = ["NewSubjects"]

logger = logging.getLogger(__name__)

PREFIXES = {"participant_id": "sub-", "session_id": "ses-"}
NO_COLUMN_MSG = (
    "the images of this model were adjusted for {needed}, so it needs these columns for new "
    "subjects; {problem}; add the columns to participants.tsv of the dataset, or give a table with "
    "participant_id and these columns (--participants FILE; in Python covariates=TABLE; in a "
    "workflow cohort_file)"
)
NO_TABLE = "there is no table of the new subjects"
TWICE_MSG = (
    "the table of the new subjects has several rows with the same {keys}:\n{named}\nkeep one row "
    "for each"
)
UNUSABLE_MSG = (
    "{n} of {total} new subjects cannot be adjusted as the cohort of the model was:\n{named}\n"
    "add the missing values; a model cannot adjust sites and categories that its cohort did not "
    "have: leave these subjects out"
)


@dataclass(frozen=True)
class NewSubjects:
    """Adjusts images of new subjects with what was learned from the cohort of a model.

    Attributes
    ----------
    adjustment : Adjustment
        What was learned.
    people : DataFrame
        One row per new subject, with the columns of the adjustment; the index has their names.
    numbers : mapping of str to int
        Row of each image, by its path.
    negative : str
        ``matrix.negative`` of the fit. Without ``shift``, negative values become 0.
    shift : float
        Value that was subtracted from all adjusted values of the fit.
    doubts : sequence of str
        A sentence about each column with numbers far outside those of the cohort of the model.
    """

    adjustment: Adjustment
    people: pd.DataFrame
    numbers: Mapping[str, int]
    negative: str
    shift: float
    doubts: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        adjustment_file: Path,
        images: Sequence[str | Path],
        names: Sequence[str],
        covariates: pd.DataFrame | None,
        *,
        negative: str,
        shift: float,
    ) -> NewSubjects:
        """Read an adjustment, and require that all new subjects can be adjusted with it.

        Numbers far outside those of the cohort, such as ages in months in place of years, are
        warnings; see :meth:`opnmf_pipeline.adjustment.ranges.Range.is_far`.

        Parameters
        ----------
        adjustment_file : path
            ``adjustment.json`` of :func:`opnmf_pipeline.stages.adjust.adjust_matrix`.
        images, names : sequence
            Path of each image, and its subject and session, such as ``sub-01_ses-1``.
        covariates : DataFrame or None
            Table with ``participant_id`` (and ``session_id``, if the columns differ between
            sessions) and the columns of the adjustment. It may have other rows and columns.
        negative, shift
            See the attributes.

        Raises
        ------
        CohortError
            A column is missing. Or a subject has no row, no value, no number, or a site or
            category that the cohort of the model did not have; names the subjects.
        """
        adjustment = Adjustment.load(adjustment_file)
        needed = list(dict.fromkeys(name for name, _ in adjustment.uses))
        people = pd.DataFrame(index=pd.Index(names))
        if needed:
            people = _typed(adjustment, _rows(names, _require_columns(covariates, needed)))
            people = people.loc[list(names)]
        adjustment.require(people)
        doubts = adjustment.doubts(people)
        for doubt in doubts:
            logger.warning("%s", doubt)
        numbers = {str(image): number for number, image in enumerate(images)}
        return cls(adjustment, people, numbers, negative, shift, doubts)

    def __call__(self, path: str | Path, column: Column) -> Column:
        """Return the adjusted values of one new subject, (n_voxels,), float32."""
        values = np.empty((len(column), 1), dtype=np.float32)
        person = self.people.iloc[[self.numbers[str(path)]]]
        with threadpool_limits(1):
            self.adjustment.apply(column[:, np.newaxis], person, values)
        found: Column = values[:, 0] - np.float32(self.shift)
        return np.maximum(found, 0) if self.negative != "shift" else found

    def covariates_of(self, path: str | Path) -> dict[str, Any]:
        """Return the covariates of one new subject, by column, as plain values."""
        person = self.people.iloc[self.numbers[str(path)]]
        return {str(name): value for name, value in person.items()}


def _require_columns(table: pd.DataFrame | None, needed: Sequence[str]) -> pd.DataFrame:
    known = [] if table is None else list(map(str, table))
    missing = [name for name in (IDENTIFIERS[0], *needed) if name not in known]
    if table is None or missing:
        problem = f"the table has no column {', '.join(missing)}" if known else NO_TABLE
        raise CohortError(NO_COLUMN_MSG.format(needed=", ".join(needed), problem=problem))
    return table


def _rows(names: Sequence[str], table: pd.DataFrame) -> dict[str, pd.Series[Any] | None]:
    """Return the row of each name; None if the table has no row."""
    wanted = identifiers(names)
    keys = [name for name in IDENTIFIERS if name in table and name in wanted]
    labels, numbers = _labels(table, keys), _labels(wanted, keys)
    counts = Counter(labels)
    if twice := [name for name, label in zip(names, numbers, strict=True) if counts[label] > 1]:
        raise CohortError(TWICE_MSG.format(keys=" with ".join(keys), named=listed(twice)))
    places = {label: place for place, label in enumerate(labels)}
    found = {name: places.get(label) for name, label in zip(names, numbers, strict=True)}
    return {name: None if place is None else table.iloc[place] for name, place in found.items()}


def _labels(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return one label per row; BIDS allows identifiers with and without prefix in tables."""
    cells = [
        table[key].fillna("").astype(str).str.strip().str.removeprefix(PREFIXES[key])
        for key in keys
    ]
    return ["_".join(label) for label in zip(*cells, strict=True)]


def _typed(adjustment: Adjustment, rows: Mapping[str, pd.Series[Any] | None]) -> pd.DataFrame:
    """Return the columns of the adjustment: numbers, and the names of categories."""
    people: dict[str, dict[str, float | str]] = {}
    problems = []
    for name, row in rows.items():
        if row is None:
            problems.append(f"{name}: is not in the table")
            continue
        people[name], found = {}, []
        for column, levels in adjustment.uses:
            try:
                value = _number(row[column]) if levels is None else _category(row[column], levels)
            except ValueError as error:
                found.append(f"{column} {error}")
                continue
            if levels is None or column not in people[name]:  # of a number, categories can be made
                people[name][column] = value
        if found:
            problems.append(f"{name}: {'; '.join(dict.fromkeys(found))}")
    if problems:
        named = listed(problems)
        raise CohortError(UNUSABLE_MSG.format(n=len(problems), total=len(rows), named=named))
    return pd.DataFrame.from_dict(people, orient="index")


def _number(cell: Any) -> float:
    _require_value(cell)
    # Next to a number, 89+ is read as 89
    values = typed(pd.Series([str(cell), "0"]))
    if not pd.api.types.is_numeric_dtype(values):
        raise ValueError(f"is {str(cell)!r}, not a number")
    return float(values.iloc[0])


def _category(cell: Any, levels: Sequence[str]) -> str:
    """Return the category of a cell: its text or, if it is a number, how this is written."""
    _require_value(cell)
    text = str(cell)
    for found in (text, *as_text(typed(pd.Series([text])))):
        if found in levels:
            return found
    raise ValueError(f"is {text!r}, and the cohort of the model has {', '.join(levels)}")


def _require_value(cell: Any) -> None:
    if pd.isna(cell) or not str(cell).strip():
        raise ValueError("has no value")
