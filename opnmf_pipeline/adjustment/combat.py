"""ComBat: location and scale of each batch, such as a site, shrunk over voxels.

The equations are those of Johnson, Li & Rabinovic 2007 (Biostatistics 8, 118-127,
https://doi.org/10.1093/biostatistics/kxj037) with the covariates of Fortin et al. 2017 (NeuroImage
161, 149-170, https://doi.org/10.1016/j.neuroimage.2017.08.047). For a subject in batch i,
``x = α + Z β + γ_i + δ_i ε`` with ``ε ~ N(0, σ²)``. The estimates of γ and δ are shrunk
towards their distribution over all voxels of the batch (empirical Bayes, parametric priors).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import RANK, Block, Blocks
from opnmf_pipeline.adjustment.design import (
    Design,
    Levels,
    as_text,
    codes_of,
    require_values,
    shown,
)
from opnmf_pipeline.exceptions import CohortError

__all__ = ["Combat"]

Floats = NDArray[np.float64]

TOLERANCE, MOST_ITERATIONS = 1e-4, 1000
"""The iteration stops at this relative change, as in the published code."""
CONSTANT = 1e-12
"""A voxel is constant if its variance is below this share of its mean square."""
UNSEEN_MSG = (
    "matrix.harmonize: {n} subject(s) are of a batch ({column}) that the harmonization has not "
    "seen: {found}; it knows {known}; leave these subjects out: {names}"
)


@dataclass(frozen=True)
class Combat:
    """Locations and scales of batches.

    Attributes
    ----------
    batch : str
        Column of the batches.
    batches : tuple of str
        The batches.
    design : Design or None
        The covariates Z, whose effects are kept.
    mean : ndarray of shape (n_voxels,), float64
        α, with the mean of the batches weighted by their numbers of subjects.
    effects : ndarray of shape (n_voxels, n_columns), float64
        β.
    sd : ndarray of shape (n_voxels,), float64
        σ; 1 for a constant voxel, which is not changed.
    shift, scale : ndarray of shape (n_voxels, n_batches), float64
        γ* and the square root of δ*², in units of σ.
    """

    batch: str
    batches: tuple[str, ...]
    design: Design | None
    mean: Floats
    effects: Floats
    sd: Floats
    shift: Floats
    scale: Floats

    @classmethod
    def learn(
        cls, batch: str, design: Design | None, table: pd.DataFrame, blocks: Blocks, n_voxels: int
    ) -> Combat:
        """Return the locations and scales of the batches of some subjects.

        Of a batch with one subject, only the location is estimated.

        Parameters
        ----------
        batch : str
            Column of the table.
        design : Design or None
            Covariates whose effects are kept, learned from the same subjects.
        table : DataFrame
            One row per subject.
        blocks : callable
            Returns an iterator over the rows of the matrix, in blocks.
        n_voxels : int
            Number of rows of the matrix.
        """
        require_values(table, [batch])
        levels = tuple(sorted(set(as_text(table[batch]))))
        codes = codes_of(table[batch], levels)
        member = np.equal.outer(codes, np.arange(len(levels))).astype(np.float64)
        kept = _columns(design, table)
        model = np.hstack([member, kept])
        sizes = np.where(model.std(axis=0) > 0, model.std(axis=0), 1)
        solve = (np.linalg.pinv(model / sizes, rcond=RANK) / sizes[:, np.newaxis]).T
        shares = member.mean(axis=0)
        mean, sd = np.empty((2, n_voxels))
        effects = np.empty((n_voxels, kept.shape[1]))
        location, squares = np.empty((2, n_voxels, len(levels)))
        for rows, block in blocks():
            size = np.einsum("ij,ij->i", block, block)
            found = block @ solve
            mean[rows] = found[:, : len(levels)] @ shares
            effects[rows] = found[:, len(levels) :]
            location[rows] = found[:, : len(levels)] - mean[rows, np.newaxis]
            block -= found @ model.T
            squares[rows] = np.square(block, out=block) @ member  # residuals of a batch have mean 0
            total = squares[rows].sum(axis=1)
            sd[rows] = np.where(total > CONSTANT * size, np.sqrt(total / len(table)), 0)
        varies, sd = sd > 0, np.where(sd > 0, sd, 1)
        location /= sd[:, np.newaxis]
        variance = squares / np.maximum(member.sum(axis=0) - 1, 1) / np.square(sd)[:, np.newaxis]
        shift, scale = np.zeros_like(location), np.ones_like(location)
        several = member.sum(axis=0) if len(levels) > 1 else ()  # one batch has nothing to match
        for number, size in enumerate(several):
            shift[varies, number], scale[varies, number] = _shrunk(
                location[varies, number], variance[varies, number], int(size)
            )
        return cls(batch, levels, design, mean, effects, sd, shift, scale)

    @property
    def levels(self) -> Levels:
        """The batches, and the categories of each column of the covariates."""
        of_design = {} if self.design is None else self.design.levels
        return {**of_design, self.batch: self.batches}

    def of(self, table: pd.DataFrame) -> _Harmonized:
        """Return the function that harmonizes blocks of rows of these subjects.

        Raises
        ------
        CohortError
            A subject is of a batch that was not seen.
        """
        require_values(table, [self.batch])
        codes = codes_of(table[self.batch], self.batches)
        unseen = codes < 0
        if unseen.any():
            raise CohortError(
                UNSEEN_MSG.format(
                    n=unseen.sum(),
                    column=self.batch,
                    found=", ".join(sorted(set(as_text(table[self.batch][unseen])))),
                    known=", ".join(self.batches),
                    names=shown(table.index[unseen]),
                )
            )
        member = np.equal.outer(codes, np.arange(len(self.batches))).astype(np.float64)
        columns = np.column_stack([np.ones(len(table)), _columns(self.design, table)])
        return _Harmonized(self, member.T, columns.T)

    def describe(self) -> dict[str, Any]:
        """Return all that is no array, as plain values for JSON."""
        design = self.design and self.design.describe()
        return {"batch": self.batch, "levels": list(self.batches), "design": design}

    def arrays(self) -> dict[str, Floats]:
        """Return the arrays, by name."""
        return {name: getattr(self, name) for name in ("mean", "effects", "sd", "shift", "scale")}

    @classmethod
    def described(cls, fields: Mapping[str, Any], arrays: Mapping[str, Floats]) -> Combat:
        """Return the harmonization that :meth:`describe` and :meth:`arrays` described."""
        design = Design.described(fields["design"]) if fields["design"] else None
        return cls(fields["batch"], tuple(fields["levels"]), design, **arrays)


@dataclass(frozen=True)
class _Harmonized:
    model: Combat
    member: Floats
    """Batch of the subjects, (n_batches, n_subjects), 0 or 1."""
    columns: Floats
    """One and the covariates of the subjects, (1 + n_columns, n_subjects)."""

    def __call__(self, block: Block, rows: slice) -> Block:
        model = self.model
        sizes = 1 / model.scale[rows]
        expected = np.column_stack([model.mean[rows], model.effects[rows]]) @ self.columns
        block -= expected
        block *= sizes @ self.member
        block -= (sizes * model.shift[rows] * model.sd[rows, np.newaxis]) @ self.member
        block += expected
        return block


def _columns(design: Design | None, table: pd.DataFrame) -> Floats:
    return np.empty((len(table), 0)) if design is None else design.matrix(table)


def _shrunk(location: Floats, variance: Floats, n: int) -> tuple[Floats, Floats]:
    """Return γ* and δ* of one batch: the posterior means, by iteration.

    Parameters
    ----------
    location, variance : ndarray of shape (n_voxels,)
        γ̂ and δ̂² of each voxel, in units of σ.
    n : int
        Number of subjects.
    """
    if location.size < 2:  # a distribution over voxels needs two of them
        return location, np.sqrt(variance)
    prior, spread = location.mean(), location.var(ddof=1)
    center, width = variance.mean(), variance.var(ddof=1)
    if n < 2 or center == 0 or width == 0:  # a scale cannot be estimated
        return (n * spread * location + prior) / (n * spread + 1), np.ones_like(location)
    a, b = 2 + center**2 / width, center + center**3 / width
    gamma, delta = location, variance
    for _ in range(MOST_ITERATIONS):
        before = gamma, delta
        gamma = (n * spread * location + delta * prior) / (n * spread + delta)
        squares = (n - 1) * variance + n * np.square(location - gamma)
        delta = (squares / 2 + b) / (n / 2 + a - 1)
        if max(map(_change, before, (gamma, delta))) < TOLERANCE:
            break
    return gamma, np.sqrt(delta)


def _change(old: Floats, new: Floats) -> float:
    return float(np.max(np.abs(new - old) / np.maximum(np.abs(old), np.finfo(float).tiny)))
