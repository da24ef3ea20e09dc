"""Voxel-wise least squares: the effects of covariates are removed, those of interest are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import RANK, Block, Blocks
from opnmf_pipeline.adjustment.design import Design, Levels

__all__ = ["Residuals"]


@dataclass(frozen=True)
class Residuals:
    """Subtracts the effects of covariates, relative to the mean of the covariates.

    The model of each voxel is ``x = b₀ + C b + K c + e`` with the covariates C and the effects of
    interest K. The adjusted values are ``x − (C − C̄) b``. So without K they are the residuals
    plus the mean of the voxel. C̄ is the mean over the subjects from whom b was learned.

    Attributes
    ----------
    design : Design
        The covariates.
    center : ndarray of shape (n_columns,), float64
        C̄.
    effects : ndarray of shape (n_voxels, n_columns), float64
        b of each voxel.
    """

    design: Design
    center: NDArray[np.float64]
    effects: NDArray[np.float64]

    @classmethod
    def learn(
        cls, design: Design, keep: Design | None, table: pd.DataFrame, blocks: Blocks, n_voxels: int
    ) -> Residuals:
        """Return the effects of the covariates in some subjects.

        Parameters
        ----------
        design : Design
            The covariates, learned from the same subjects.
        keep : Design or None
            The effects of interest.
        table : DataFrame
            One row per subject.
        blocks : callable
            Returns an iterator over the rows of the matrix, in blocks.
        n_voxels : int
            Number of rows of the matrix.
        """
        removed = design.matrix(table)
        kept = keep.matrix(table) if keep else np.empty((len(table), 0))
        columns = np.hstack([removed, kept])
        # Columns of different units: without scaling, pinv would drop small ones as rounding errors
        sizes = np.where(columns.std(axis=0) > 0, columns.std(axis=0), 1)
        centered = (columns - columns.mean(axis=0)) / sizes
        inverse = np.linalg.pinv(centered, rcond=RANK) / sizes[:, np.newaxis]
        solve = inverse[: removed.shape[1]].T
        effects = np.empty((n_voxels, removed.shape[1]))
        for rows, block in blocks():
            effects[rows] = block @ solve
        return cls(design, removed.mean(axis=0), effects)

    def of(self, table: pd.DataFrame) -> _Adjusted:
        """Return the function that adjusts blocks of rows of these subjects."""
        return _Adjusted(self.effects, (self.design.matrix(table) - self.center).T)

    @property
    def levels(self) -> Levels:
        """Categories of each column of the covariates, or None for a column of numbers."""
        return self.design.levels

    def describe(self) -> dict[str, Any]:
        """Return all that is no array, as plain values for JSON."""
        return {"design": self.design.describe()}

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays, by name."""
        return {"center": self.center, "effects": self.effects}

    @classmethod
    def described(
        cls, fields: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float64]]
    ) -> Residuals:
        """Return the adjustment that :meth:`describe` and :meth:`arrays` described."""
        return cls(Design.described(fields["design"]), arrays["center"], arrays["effects"])


@dataclass(frozen=True)
class _Adjusted:
    effects: NDArray[np.float64]
    columns: NDArray[np.float64]
    """Centred covariates of the subjects, (n_columns, n_subjects)."""

    def __call__(self, block: Block, rows: slice) -> Block:
        block -= self.effects[rows] @ self.columns
        return block
