"""Proportional scaling: each subject's values divided by a size of the head or of the tissue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.design import require_values, shown
from opnmf_pipeline.exceptions import CohortError

__all__ = ["Scaling"]

NOT_POSITIVE_MSG = (
    "matrix.scale: the column {column!r} must have a positive number for every subject, but has "
    "none for {names}"
)


@dataclass(frozen=True)
class Scaling:
    """Multiplies a subject's values by ``mean / value`` of a column, such as intracranial volume.

    Attributes
    ----------
    column : str
        Column of the table.
    mean : float
        Mean of the column over the subjects from whom this was learned. It keeps the units.
    """

    column: str
    mean: float

    @classmethod
    def learn(cls, column: str, table: pd.DataFrame) -> Scaling:
        """Return the scaling by a column of the table of the subjects.

        Raises
        ------
        CohortError
            A value is missing, or is no positive number.
        """
        return cls(column, float(_sizes(column, table).mean()))

    def of(self, table: pd.DataFrame) -> _Scaled:
        """Return the function that scales blocks of rows of these subjects."""
        return _Scaled(self.mean / _sizes(self.column, table))

    @property
    def levels(self) -> Mapping[str, None]:
        """The column, which has numbers."""
        return {self.column: None}

    def describe(self) -> dict[str, Any]:
        """Return all fields, as plain values for JSON."""
        return {"column": self.column, "mean": self.mean}

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the parameters of each voxel: none."""
        return {}

    @classmethod
    def described(
        cls, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
    ) -> Scaling:
        """Return the scaling that :meth:`describe` described."""
        return cls(fields["column"], fields["mean"])


@dataclass(frozen=True)
class _Scaled:
    factors: NDArray[np.float64]

    def __call__(self, block: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        block *= self.factors
        return block


def _sizes(column: str, table: pd.DataFrame) -> NDArray[np.float64]:
    require_values(table, [column])
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        raise CohortError(NOT_POSITIVE_MSG.format(column=column, names=shown(table.index[bad])))
    return values
