"""The adjustment of a matrix: scaling, harmonization, regression, measures, in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import Block, Blocks, row_blocks
from opnmf_pipeline.adjustment.combat import Combat
from opnmf_pipeline.adjustment.design import Design, Levels, unseen_in
from opnmf_pipeline.adjustment.formula import columns_of
from opnmf_pipeline.adjustment.measures import MeasureScaling
from opnmf_pipeline.adjustment.ranges import Range
from opnmf_pipeline.adjustment.regression import Residuals
from opnmf_pipeline.adjustment.scaling import Scaling
from opnmf_pipeline.config import GLOBAL, AdjustmentConfig
from opnmf_pipeline.exceptions import ConfigError

__all__ = ["Adjustment", "columns_used", "designs_of"]

NO_COLUMN_MSG = "matrix.{key}: the participants table has no column {column!r}; it has: {columns}"


class Step(Protocol):
    """One step of an adjustment, with what it learned."""

    def of(self, table: pd.DataFrame) -> Any:
        """Return a function that adjusts blocks of rows of the subjects of a table, in place."""

    @property
    def levels(self) -> Levels:
        """Columns that it uses: their batches or categories, or None for a column of numbers."""

    def describe(self) -> dict[str, Any]:
        """Return all that is no array, as plain values for JSON."""

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return the arrays, by name."""


STEPS: Mapping[str, Any] = {
    "scale": Scaling,
    "harmonize": Combat,
    "covariates": Residuals,
    "measures": MeasureScaling,
}
"""Class of each step, by the setting of the section ``matrix`` that asks for it, in their order."""


@dataclass(frozen=True)
class Adjustment:
    """What was learned from some subjects, and can be applied to others.

    Attributes
    ----------
    steps : dict of str to Step
        By the name in :data:`STEPS`, in order.
    by_global : bool
        Whether a step uses the mean of each subject's values.
    ranges : dict of str to Range
        Of each column of numbers. Adjustments of earlier versions have none.
    """

    steps: Mapping[str, Step]
    by_global: bool = False
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def learn(
        cls,
        X: NDArray[np.floating],
        table: pd.DataFrame,
        options: AdjustmentConfig,
        shift: float = 0.0,
        rows: Mapping[str, Sequence[int]] | None = None,
    ) -> Adjustment:
        """Learn the adjustment that the settings ask for from the given subjects only.

        Parameters
        ----------
        X : ndarray of shape (n_voxels, n_subjects)
            It is read in blocks of rows, once for each step that estimates effects.
        table : DataFrame
            One row per subject, with the columns that the settings name.
        options : AdjustmentConfig
            ``scale``, ``harmonize``, ``covariates`` and ``keep``, or ``measures``.
        shift : float
            Value that was subtracted from all values; it is added again first.
        rows : mapping of str to (int, int), optional
            For ``measures``: first row of each measure, and the row after its last one.

        Raises
        ------
        ConfigError
            A formula is not allowed, or cannot be computed.
        CohortError
            A subject has no value in a column.
        """
        by_global = options.scale is not None and options.scale.by == GLOBAL
        learned = cls({}, by_global)
        people = learned.with_means(X, table, shift)
        designs = designs_of(options, people)
        if options.scale is not None and options.scale.method == "proportional":
            step: Step = Scaling.learn(options.scale.by, people)
            learned = cls({**learned.steps, "scale": step}, by_global)
        if options.harmonize is not None:
            blocks = learned._passes(X, people, shift)
            step = Combat.learn(
                options.harmonize.batch, designs.get("harmonize"), people, blocks, len(X)
            )
            learned = cls({**learned.steps, "harmonize": step}, by_global)
        if "covariates" in designs:
            blocks = learned._passes(X, people, shift)
            step = Residuals.learn(
                designs["covariates"], designs.get("keep"), people, blocks, len(X)
            )
            learned = cls({**learned.steps, "covariates": step}, by_global)
        if options.measures is not None and rows is not None:
            blocks = learned._passes(X, people, shift)
            step = MeasureScaling.learn(options.measures.scale, rows, people, blocks)
            learned = cls({**learned.steps, "measures": step}, by_global)
        return replace(learned, ranges=_ranges(learned.uses, table))

    def apply(
        self,
        X: NDArray[np.floating],
        table: pd.DataFrame,
        out: NDArray[np.float32],
        shift: float = 0.0,
    ) -> NDArray[np.float32]:
        """Write the adjusted values of subjects, who may be others than those learned from.

        Parameters
        ----------
        X : ndarray of shape (n_voxels, n_subjects)
        table : DataFrame
            One row per subject, with the columns of the adjustment.
        out : ndarray of shape (n_voxels, n_subjects), float32
            Array to fill; it may be X.
        shift : float
            Value that was subtracted from all values of X; it is added again first.

        Returns
        -------
        ndarray
            ``out``.

        Raises
        ------
        CohortError
            A subject has no value in a column, or a batch or category that was not seen.
        """
        for rows, block in self._passes(X, self.with_means(X, table, shift), shift)():
            out[rows] = block
        return out

    def scales(self, rows: Mapping[str, Sequence[int]]) -> dict[str, dict[str, float]]:
        """Return what was subtracted from each of several measures, and what they were divided by.

        ``rows`` are those of each measure; see
        :meth:`opnmf_pipeline.adjustment.measures.MeasureScaling.summary`.
        """
        step = self.steps["measures"]
        assert isinstance(step, MeasureScaling)
        return step.summary(rows)

    @property
    def uses(self) -> list[tuple[str, Sequence[str] | None]]:
        """Columns of the table that the steps use, with categories, or None for numbers.

        A column occurs twice if one step uses its numbers and another its categories.
        """
        found = [use for step in self.steps.values() for use in step.levels.items()]
        return [use for use in found if use[0] != GLOBAL]

    def unseen(self, table: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which subjects have a batch or a category that was not seen."""
        found = np.zeros(len(table), dtype=bool)
        for name, levels in self.uses:
            found |= unseen_in(table[name], levels)
        return found

    def doubts(self, table: pd.DataFrame) -> list[str]:
        """Return a sentence about each column with numbers far outside those learned from."""
        found = (known.doubt(table[name]) for name, known in self.ranges.items())
        return [doubt for doubt in found if doubt]

    def require(self, table: pd.DataFrame) -> None:
        """Require that subjects can be adjusted: they have all values, and none that is unseen.

        Raises
        ------
        CohortError
            Names the column and the subjects.
        """
        for step in self.steps.values():
            step.of(table.assign(**{GLOBAL: 1.0}) if self.by_global else table)

    def save(self, path: Path) -> None:
        """Write a JSON file, and its arrays into a file next to it with the ending ``.npz``.

        They hold parameters, such as means and knots. The only values of single subjects are the
        smallest and the largest one of a column of numbers. There are no pickles.
        """
        arrays = {
            f"{name}_{key}": array
            for name, step in self.steps.items()
            for key, array in step.arrays().items()
        }
        np.savez(path.with_suffix(".npz"), allow_pickle=False, **arrays)
        content = {
            "ByGlobalMean": self.by_global,
            "Ranges": {name: found.describe() for name, found in self.ranges.items()},
            "Steps": {name: step.describe() for name, step in self.steps.items()},
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Adjustment:
        """Return the adjustment that :meth:`save` wrote to a path."""
        content = json.loads(path.read_text(encoding="utf-8"))
        steps = {}
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as saved:
            for name, fields in content["Steps"].items():
                keys = [key for key in saved if key.startswith(f"{name}_")]
                arrays = {key.removeprefix(f"{name}_"): saved[key] for key in keys}
                steps[name] = STEPS[name].described(fields, arrays)
        ranges = {name: Range(**found) for name, found in content.get("Ranges", {}).items()}
        return cls(steps, content["ByGlobalMean"], ranges)

    def with_means(
        self, X: NDArray[np.floating], table: pd.DataFrame, shift: float
    ) -> pd.DataFrame:
        """Return the table with the mean of each subject's values, if a step uses it."""
        if not self.by_global:
            return table
        total = np.zeros(X.shape[1])
        for rows in row_blocks(*X.shape):
            total += X[rows].sum(axis=0, dtype=np.float64)
        return table.assign(**{GLOBAL: total / len(X) + shift})

    def _passes(self, X: NDArray[np.floating], table: pd.DataFrame, shift: float) -> Blocks:
        """Return a function that starts a pass over X, adjusted by the steps."""
        functions = [step.of(table) for step in self.steps.values()]

        def blocks() -> Iterator[tuple[slice, Block]]:
            for rows in row_blocks(*X.shape):
                block = X[rows].astype(np.float64)
                if shift:
                    block += shift
                for function in functions:
                    block = function(block, rows)
                yield rows, block

        return blocks


def _ranges(
    uses: Sequence[tuple[str, Sequence[str] | None]], table: pd.DataFrame
) -> dict[str, Range]:
    """Return the range of each column that is used as numbers."""
    return {name: Range.of(pd.to_numeric(table[name])) for name, levels in uses if levels is None}


def designs_of(options: AdjustmentConfig, table: pd.DataFrame) -> dict[str, Design]:
    """Return the designs of the settings: of ``harmonize``, ``covariates`` and ``keep``.

    Parameters
    ----------
    options : AdjustmentConfig
        Settings of the adjustment.
    table : DataFrame
        One row per subject, with the columns that the settings name.
    """
    formulas = _formulas(options)
    return {
        name: Design.learn(f"matrix.{name}", formula, table) for name, formula in formulas.items()
    }


def _formulas(options: AdjustmentConfig) -> dict[str, str]:
    """Return the formula of each design; ``harmonize`` keeps all that later steps know."""
    removed = options.covariates
    if options.scale is not None and options.scale.method == "regression":
        removed = " + ".join(filter(None, [removed, f"`{options.scale.by}`"]))
    found = {"covariates": removed, "keep": options.keep}
    if options.harmonize is not None:
        known = options.harmonize.covariates or removed
        found["harmonize"] = " + ".join(filter(None, [known, options.keep])) or None
    return {name: formula for name, formula in found.items() if formula}


def columns_used(options: AdjustmentConfig, known: Sequence[str]) -> list[str]:
    """Return the columns of the table of subjects that the settings of the adjustment name.

    Parameters
    ----------
    options : AdjustmentConfig
        Settings of the adjustment.
    known : sequence of str
        Columns of the table.

    Raises
    ------
    ConfigError
        A formula is not allowed, or a column does not exist.
    """
    named: list[str] = []
    for key, column in _single_columns(options).items():
        if column not in known:
            columns = ", ".join(map(str, known))
            raise ConfigError(NO_COLUMN_MSG.format(key=key, column=column, columns=columns))
        named.append(column)
    there = [*known, GLOBAL] if options.scale is not None else known
    for name, formula in _formulas(options).items():
        named += columns_of(f"matrix.{name}", formula, there)
    return [name for name in dict.fromkeys(named) if name != GLOBAL]


def _single_columns(options: AdjustmentConfig) -> dict[str, str]:
    found = {}
    if options.scale is not None and options.scale.by != GLOBAL:
        found["scale.by"] = options.scale.by
    if options.harmonize is not None:
        found["harmonize.batch"] = options.harmonize.batch
    return found
