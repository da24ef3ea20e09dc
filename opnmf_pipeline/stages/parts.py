"""Parts of the subjects of a matrix, each adjusted with what is learned from this part alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.adjustment.blocks import row_blocks
from opnmf_pipeline.config import ADJUSTMENT_SETTINGS, MatrixConfig
from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.disk import array_on_disk
from opnmf_pipeline.images.cohort import MEASURE, by_row
from opnmf_pipeline.stages.splits import with_covariates
from opnmf_pipeline.tables import as_typed

__all__ = ["PART_SETTINGS", "Adjusted", "Part", "Parts", "adjusted", "people_of", "rows_of"]

Matrix = NDArray[np.float32]

MOST_BYTES = 2**31
"""A part that is larger than this is kept on the disk, not in memory."""

PART_SETTINGS: dict[Any, tuple[str, ...]] = {
    MatrixConfig: tuple(set(MatrixConfig.model_fields) - {*ADJUSTMENT_SETTINGS, "negative"})
}
"""Settings of the stages that adjust the subjects of a fit."""


class Adjusted(NamedTuple):
    """What was learned from some subjects to adjust them.

    Attributes
    ----------
    adjustment : Adjustment
        Scaling, harmonization and regression.
    shift : float
        Value that was subtracted from all adjusted values: 0, or the smallest value if it is
        negative and ``matrix.negative`` is ``shift``.
    n_negative : int
        Number of adjusted values that were negative.
    """

    adjustment: Adjustment
    shift: float
    n_negative: int


class Part(NamedTuple):
    """Some subjects of a matrix.

    Attributes
    ----------
    columns : list of int
        Columns of the matrix, in the order of the subjects.
    values : ndarray of shape (n_voxels, n_subjects), float32
        Values that a fit takes: adjusted, if the settings ask for it.
    adjusted : Adjusted or None
        What was learned from these subjects.
    """

    columns: list[int]
    values: Matrix
    adjusted: Adjusted | None


@dataclass(frozen=True)
class Parts:
    """The subjects of a matrix, from which parts are taken.

    Attributes
    ----------
    X : memmap of shape (n_voxels, n_subjects), float32
        The matrix before any adjustment.
    shift : float
        Value that was subtracted from all its values.
    people : DataFrame or None
        One row per subject; None without an adjustment.
    options : MatrixConfig
        Settings of the adjustment, and ``negative``.
    rows : mapping of str to (int, int) or None
        Rows of each measure, if there are several.
    folder : path or None
        Folder on the disk that holds large parts; None if all are in memory.
    """

    X: Matrix
    shift: float
    people: pd.DataFrame | None
    options: MatrixConfig
    rows: Mapping[str, Sequence[int]] | None = None
    folder: Path | None = None

    @classmethod
    def of(
        cls,
        X: Matrix,
        sidecar: dict[str, Any],
        options: MatrixConfig,
        cohort_file: Path | None,
        folder: Path | None = None,
    ) -> Parts:
        """Return the subjects of a matrix and its sidecar, with the columns of their table."""
        adjusts = options.adjusts and cohort_file is not None
        people = people_of(sidecar["Participants"], cohort_file) if adjusts else None
        return cls(X, sidecar["Shift"], people, options, rows_of(sidecar), folder)

    def part(self, columns: Sequence[int]) -> Part:
        """Return some subjects, adjusted with what is learned from them alone.

        The whole cohort decides whether negative values are an error. With ``negative: error``,
        the few values that are negative only in this part are set to 0.

        Parameters
        ----------
        columns : sequence of int
            Columns of the matrix; a subject may occur several times.
        """
        columns = list(columns)
        values = self._columns(columns)
        if self.people is None:
            return Part(columns, values, None)
        people = self.people.iloc[columns]
        found = adjusted(values, people, self.options, self.shift, values, self.rows)
        if self.options.negative == "error":
            np.maximum(values, 0, out=values)
        return Part(columns, values, found)

    def seen_by(self, part: Part, other: Part) -> Matrix:
        """Return other subjects, adjusted with what was learned from a part.

        Subjects with a batch or a category that this part does not have are left out.

        Returns
        -------
        ndarray of shape (n_voxels, n_others), float32
        """
        if self.people is None or part.adjusted is None:
            return other.values
        adjustment, shift, _ = part.adjusted
        people = self.people.iloc[other.columns]
        known = ~adjustment.unseen(people)
        columns = [column for column, there in zip(other.columns, known, strict=True) if there]
        values = self._columns(columns)
        with threadpool_limits(1):
            adjustment.apply(values, people[known], values, self.shift)
        if self.options.negative == "shift":
            values -= np.float32(shift)
        else:
            np.maximum(values, 0, out=values)
        return values

    def _columns(self, columns: Sequence[int]) -> Matrix:
        """Return some subjects as they are."""
        X, out = RowBlocks(self.X, "float32", n_threads=1), None
        shape = (X.shape[0], len(columns))
        if self.folder is not None and 4 * shape[0] * shape[1] > MOST_BYTES:
            out = array_on_disk(shape, "float32", self.folder)
        return X.columns(columns, out)


def adjusted(
    X: Matrix,
    people: pd.DataFrame,
    options: MatrixConfig,
    shift: float,
    out: Matrix,
    rows: Mapping[str, Sequence[int]] | None = None,
) -> Adjusted:
    """Adjust subjects with what is learned from them.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects), float32
    people : DataFrame
        One row per subject.
    options : MatrixConfig
        Settings of the adjustment; ``negative`` says what to do with negative values. If it is
        ``error``, they stay.
    shift : float
        Value that was subtracted from all values of X; it is added again first.
    out : ndarray of shape (n_voxels, n_subjects), float32
        Array to fill; it may be X.
    rows : mapping of str to (int, int), optional
        Rows of each measure, if there are several.
    """
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        adjustment = Adjustment.learn(X, people, options, shift, rows)
        adjustment.apply(X, people, out, shift)
    n_negative, smallest = 0, 0.0
    for block in row_blocks(*out.shape):
        n_negative += int(np.count_nonzero(out[block] < 0))
        smallest = min(smallest, float(out[block].min()))
    for block in row_blocks(*out.shape) if n_negative else ():
        if options.negative == "shift":
            out[block] -= np.float32(smallest)
        elif options.negative == "clip":
            np.maximum(out[block], 0, out=out[block])
    return Adjusted(adjustment, smallest if options.negative == "shift" else 0.0, n_negative)


def people_of(participants: Sequence[str], cohort_file: Path | None) -> pd.DataFrame:
    """Return the table of the subjects of a matrix, one row per column of the matrix.

    Columns of numbers are numbers; the names of the subjects are in the index. If columns of the
    matrix are measures of subjects, the column ``measure_id`` names the measure.
    """
    cohort = with_covariates(participants, cohort_file).drop(columns="image", errors="ignore")
    people = as_typed(by_row(cohort))
    if MEASURE in cohort:
        people[MEASURE] = cohort[MEASURE].to_numpy()
    return people


def rows_of(sidecar: Mapping[str, Any]) -> dict[str, Sequence[int]] | None:
    """Return the rows of each measure of a matrix, from its sidecar; None without measures."""
    measures = sidecar.get("Measures")
    return None if measures is None else measures["Rows"]
