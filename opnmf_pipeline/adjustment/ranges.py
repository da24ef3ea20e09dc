"""Ranges of the covariates that an adjustment was learned from, and values far outside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.design import shown

__all__ = ["Range"]

MARGIN = 0.1
"""Part of the width of a range, beyond which a value is far outside it. In a cohort of 100 normal
values, the limits are about three standard deviations from the mean."""

FAR_MSG = (
    "column {column!r}: the values of {n} of {total} new subjects are outside those of the cohort "
    "of the model ({found} in the new subjects, {known} in the cohort): {names}; the adjustment of "
    "these subjects is an extrapolation: check the units and the coding of this column"
)


@dataclass(frozen=True)
class Range:
    """The range of a column of numbers over the subjects whom an adjustment was learned from.

    Attributes
    ----------
    low, high : float
        The smallest and the largest value.
    is_pair : bool
        Whether all values are one of these two, such as the codes of a sex.
    """

    low: float
    high: float
    is_pair: bool

    @classmethod
    def of(cls, values: pd.Series[Any]) -> Self:
        """Return the range of the values of a column."""
        known = np.unique(values.to_numpy(dtype=np.float64))
        return cls(float(known[0]), float(known[-1]), len(known) == 2)

    def is_far(self, values: pd.Series[Any]) -> NDArray[np.bool_]:
        """Return which values are outside by more than a tenth of the width.

        If the column has two values, any other value is far outside.
        """
        numbers = values.to_numpy(dtype=np.float64)
        if self.is_pair:
            return ~np.isin(numbers, [self.low, self.high])
        margin = MARGIN * (self.high - self.low)
        far: NDArray[np.bool_] = (numbers < self.low - margin) | (numbers > self.high + margin)
        return far

    def doubt(self, values: pd.Series[Any]) -> str:
        """Return a sentence about the new subjects that are far outside; empty if none is.

        Parameters
        ----------
        values : Series
            A number of each new subject; the index has their names.
        """
        far = self.is_far(values)
        if not far.any():
            return ""
        return FAR_MSG.format(
            column=values.name,
            n=far.sum(),
            total=len(values),
            found=Range.of(values),
            known=self,
            names=shown(values.index[far]),
        )

    def describe(self) -> dict[str, Any]:
        """Return all fields, as plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        return f"{self.low:g} {'and' if self.is_pair else 'to'} {self.high:g}"
