"""New subjects of a model of an adjusted matrix: each is adjusted as the cohort of the model was.

Nothing is learned from the new subjects, and no value of one of them depends on another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

PREFIXES = dict(zip(IDENTIFIERS, ("sub-", "ses-"), strict=True))
NO_COLUMN_MSG = (
    "the images of this model were adjusted for {needed}, so it needs these columns for new "
    "subjects; {problem}; add the columns to participants.tsv of the dataset, or give a table with "
    "participant_id and these columns (--participants FILE; in Python covariates=TABLE; in a "
    "workflow cohort_file)"
)
NO_TABLE = "there is no table of the new subjects"
TWICE_MSG = "the table of the new subjects has {n} duplicate {keys} value(s): {named}"
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
    """

    adjustment: Adjustment
    people: pd.DataFrame
    numbers: Mapping[str, int]
    negative: str
    shift: float

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
        adjustment.require(people)
        numbers = {str(image): number for number, image in enumerate(images)}
        return cls(adjustment, people, numbers, negative, shift)

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


def _rows(names: Sequence[str], table: pd.DataFrame) -> pd.DataFrame:
    """Return one row of a table for each name; without values where the table has no row."""
    wanted = identifiers(names)
    keys = [name for name in IDENTIFIERS if name in table and name in wanted]
    found = table.set_axis(_labels(table, keys))
    twice = found.index[found.index.duplicated()].intersection(pd.Index(_labels(wanted, keys)))
    if len(twice):
        named = ", ".join(map(str, twice[:5]))
        raise CohortError(TWICE_MSG.format(n=len(twice), keys=" with ".join(keys), named=named))
    found = found[~found.index.duplicated()]
    return found.reindex(_labels(wanted, keys)).set_axis(pd.Index(names))


def _labels(table: pd.DataFrame, keys: Sequence[str]) -> list[str]:
    """Return one label per row; BIDS allows identifiers with and without prefix in tables."""
    cells = [
        table[key].fillna("").astype(str).str.strip().str.removeprefix(PREFIXES[key])
        for key in keys
    ]
    return ["_".join(label) for label in zip(*cells, strict=True)]


def _typed(adjustment: Adjustment, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the adjustment: numbers, and the names of categories."""
    problems: dict[Any, list[str]] = {name: [] for name in rows.index}
    columns: dict[str, list[Any]] = {}
    for column, levels in adjustment.uses:
        found: list[Any] = []
        for name, cell in rows[column].items():
            try:
                found.append(_number(cell) if levels is None else _category(cell, levels))
            except ValueError as error:
                problems[name].append(f"{column} {error}")
                found.append(None)
        if column not in columns or levels is None:  # of a number, categories can be made
            columns[column] = found
    if bad := list(_lines(problems)):
        raise CohortError(UNUSABLE_MSG.format(n=len(bad), total=len(rows), named=listed(bad)))
    return pd.DataFrame(columns, index=rows.index)


def _lines(problems: Mapping[Any, Sequence[str]]) -> Iterator[str]:
    for name, found in problems.items():
        if found:
            yield f"{name}: {'; '.join(dict.fromkeys(found))}"


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
