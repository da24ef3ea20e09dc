"""Measures with different units on one scale: each minus its centre, divided by its spread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import Blocks
from opnmf_pipeline.exceptions import CohortError

__all__ = ["MEASURE", "MeasureScaling"]

MEASURE = "measure_id"
"""Column of the measure of each column of the matrix, if measures are stacked along subjects."""
ALL = ""
"""Measure of every column, if measures are stacked along voxels."""
UNKNOWN_MSG = "the measure {name!r} does not occur in the fit; it has: {known}"


@dataclass(frozen=True)
class MeasureScaling:
    """Subtracts the centre of each measure from its values, and divides them by its spread.

    Attributes
    ----------
    scale : str
        Setting ``matrix.measures.scale``.
    names : sequence of str
        Measures of the columns of a matrix; :data:`ALL` if all columns have all measures.
    centers, spreads : ndarray of shape (n_names, n_voxels), float64
        Of each of these and each row. A spread that was 0 is 1.
    """

    scale: str
    names: Sequence[str]
    centers: NDArray[np.float64]
    spreads: NDArray[np.float64]

    @classmethod
    def learn(
        cls, scale: str, rows: Mapping[str, Sequence[int]], table: pd.DataFrame, blocks: Blocks
    ) -> MeasureScaling:
        """Learn the scales of the measures from some subjects.

        Parameters
        ----------
        scale : {'zscore', 'zscore_voxel', 'range', 'none'}
            What centre and spread are: mean and standard deviation of a measure over its voxels
            and subjects; the same of each voxel over subjects; its smallest value, and the largest
            minus the smallest; or 0 and 1.
        rows : mapping of str to (int, int)
            First row of each measure, and the row after its last one. If measures are stacked along
            subjects, each has all rows.
        table : DataFrame
            One row per column of the matrix; :data:`MEASURE` is its measure, if there is one.
        blocks : callable
            Starts a pass over the matrix, which is read once.
        """
        labels = _labels(table)
        names = list(dict.fromkeys(labels))
        of_rows = _moments(labels, names, max(stop for _, stop in rows.values()), blocks)
        mean, variance, low, high = of_rows
        if scale == "zscore_voxel":
            centers, spreads = mean, np.sqrt(variance)
        else:
            centers, spreads = np.zeros_like(mean), np.ones_like(mean)
            for _, place, part in _parts(names, rows):
                at = (place, slice(*part))
                if scale == "zscore":
                    center = mean[at].mean()
                    spread = np.sqrt((variance[at] + (mean[at] - center) ** 2).mean())
                elif scale == "range":
                    center, spread = low[at].min(), high[at].max() - low[at].min()
                else:
                    center, spread = 0.0, 1.0
                centers[at], spreads[at] = center, spread
        return cls(scale, names, centers, np.where(spreads > 0, spreads, 1))

    def of(self, table: pd.DataFrame) -> _Scaled:
        """Return the function that scales blocks of rows of these subjects.

        Raises
        ------
        CohortError
            A measure does not occur in the fit.
        """
        labels = _labels(table)
        places = {name: place for place, name in enumerate(self.names)}
        if unknown := [name for name in labels if name not in places]:
            known = ", ".join(self.names)
            raise CohortError(UNKNOWN_MSG.format(name=unknown[0], known=known))
        return _Scaled(self.centers, self.spreads, np.array([places[name] for name in labels]))

    def summary(self, rows: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
        """Return ``Centers`` and ``Spreads`` of the measures, the median of those of its rows."""
        parts = {name: (place, slice(*part)) for name, place, part in _parts(self.names, rows)}
        return {
            what: {name: float(np.median(values[at])) for name, at in parts.items()}
            for what, values in (("Centers", self.centers), ("Spreads", self.spreads))
        }

    @property
    def levels(self) -> Mapping[str, None]:
        """Columns of the table of subjects that it uses: none."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Return all fields that are no arrays, as plain values for JSON."""
        return {"scale": self.scale, "names": list(self.names)}

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return centre and spread of each measure and row."""
        return {"centers": self.centers, "spreads": self.spreads}

    @classmethod
    def described(
        cls, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
    ) -> MeasureScaling:
        """Return the scaling that :meth:`describe` and :meth:`arrays` described."""
        return cls(fields["scale"], fields["names"], arrays["centers"], arrays["spreads"])


@dataclass(frozen=True)
class _Scaled:
    centers: NDArray[np.float64]
    spreads: NDArray[np.float64]
    places: NDArray[np.intp]

    def __call__(self, block: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        for place in np.unique(self.places):
            columns = self.places == place
            center = self.centers[place, rows, np.newaxis]
            spread = self.spreads[place, rows, np.newaxis]
            block[:, columns] = (block[:, columns] - center) / spread
        return block


def _labels(table: pd.DataFrame) -> list[str]:
    return table[MEASURE].astype(str).tolist() if MEASURE in table else [ALL] * len(table)


def _parts(
    names: Sequence[str], rows: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, int, Sequence[int]]]:
    """Yield each measure, its place among the names of the columns, and its rows."""
    for measure, part in rows.items():
        if list(names) == [ALL]:
            yield measure, 0, part
        elif measure in names:
            yield measure, list(names).index(measure), part


def _moments(
    labels: Sequence[str], names: Sequence[str], n_rows: int, blocks: Blocks
) -> NDArray[np.float64]:
    """Return mean, variance, smallest and largest value of each row, (4, n_names, n_rows)."""
    found = np.empty((4, len(names), n_rows))
    columns = [np.array([label == name for label in labels]) for name in names]
    for rows, block in blocks():
        for place, of_name in enumerate(columns):
            some = block[:, of_name]
            found[:, place, rows] = some.mean(1), some.var(1), some.min(1), some.max(1)
    return found
