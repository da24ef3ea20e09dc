"""Design matrices: from a formula and a table of subjects to columns of numbers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, update_wrapper
from typing import Any

import numpy as np
import pandas as pd
from formulaic import ModelSpec
from formulaic.errors import FormulaicError
from formulaic.transforms import basis_spline, natural_cubic_spline
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.formula import categories_in, columns_of
from opnmf_pipeline.exceptions import CohortError, ConfigError

__all__ = ["Design", "Levels", "as_text", "codes_of", "require_values", "shown", "unseen_in"]

MISSING_MSG = (
    "{n} subject(s) have no value in the column {column!r}, which the adjustment of the matrix "
    "uses: {names}; add these values, or leave these subjects out with "
    "inputs.on_missing_covariate: drop"
)
UNSEEN_MSG = (
    "column {column!r}: {n} subject(s) have a value that no subject had from whom the adjustment "
    "was learned ({known}): {names}; leave them out, or learn the adjustment with such subjects"
)
NUMBER_MSG = "column {column!r}: the adjustment was learned from numbers, but it has {value!r}"
FORMULA_MSG = "{key}: {formula!r}: cannot be computed from the table of subjects ({reason})"
INFINITE_MSG = (
    "{key}: {formula!r}: the column {column!r} of the design matrix is not finite for {names}; the "
    "logarithm needs positive values, and scale needs values that differ"
)
MOST_NAMED = 5

Levels = Mapping[str, Sequence[str] | None]
"""For each column of a table: its categories, or None for a column of numbers."""

CLIPPED = {
    name: update_wrapper(partial(function, extrapolation="clip"), function)
    for name, function in (("bs", basis_spline), ("cr", natural_cubic_spline))
}
"""Splines that continue beyond the values that they were learned from as constants."""


@dataclass(frozen=True)
class Design:
    """The right side of a formula, with all that was learned from a table of subjects.

    Attributes
    ----------
    key : str
        Setting that holds the formula, for messages.
    formula : str
        Formula in Wilkinson notation.
    levels : dict of str to (sequence or None)
        For each column of the table: its categories, or None for a column of numbers.
    state : dict
        Knots of splines, means and scales, by the term of the formula.
    names : tuple of str
        Columns of the design matrix, without the intercept.
    """

    key: str
    formula: str
    levels: Levels
    state: Mapping[str, Any]
    names: tuple[str, ...]

    @classmethod
    def learn(cls, key: str, formula: str, table: pd.DataFrame) -> Design:
        """Return the design of the subjects of a table.

        Parameters
        ----------
        key : str
            Setting that holds the formula, for messages.
        formula : str
            Formula in Wilkinson notation; it is checked before it is evaluated.
        table : DataFrame
            One row per subject, whose name is in the index; columns of text are categories.

        Raises
        ------
        ConfigError
            The formula is not allowed, or cannot be computed from the table.
        CohortError
            A subject has no value in a column.
        """
        columns = columns_of(key, formula, list(map(str, table)))
        require_values(table, columns)
        named = categories_in(formula, columns)
        levels = {name: _levels(table[name], named=name in named) for name in columns}
        design = cls(key, formula, levels, {}, ())
        spec = design._evaluate(table).model_spec
        names = tuple(str(name) for name in spec.column_names if name != "Intercept")
        return cls(key, formula, levels, _plain(spec.transform_state), names)

    def matrix(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """Return the columns of the design matrix for other subjects, without the intercept.

        Parameters
        ----------
        table : DataFrame
            One row per subject, with the columns of the formula.

        Returns
        -------
        ndarray of shape (n_subjects, n_columns), float64

        Raises
        ------
        CohortError
            A column is missing, a subject has no value in it, or a category that was not seen.
        """
        require_values(table, list(self.levels))
        for name, levels in self.levels.items():
            unseen = unseen_in(table[name], levels)
            if unseen.any():
                known = ", ".join(levels or ())
                raise CohortError(
                    UNSEEN_MSG.format(
                        column=name, n=unseen.sum(), known=known, names=shown(table.index[unseen])
                    )
                )
        values = pd.DataFrame(self._evaluate(table)).drop(columns="Intercept")
        found: NDArray[np.float64] = values.to_numpy(dtype=np.float64)
        for column_name, column in zip(values, found.T, strict=True):
            if not np.isfinite(column).all():
                names = shown(table.index[~np.isfinite(column)])
                raise ConfigError(
                    INFINITE_MSG.format(
                        key=self.key, formula=self.formula, column=column_name, names=names
                    )
                )
        return found

    def describe(self) -> dict[str, Any]:
        """Return all fields, as plain values for JSON."""
        return {
            "key": self.key,
            "formula": self.formula,
            "levels": {name: found and list(found) for name, found in self.levels.items()},
            "state": dict(self.state),
            "names": list(self.names),
        }

    @classmethod
    def described(cls, fields: Mapping[str, Any]) -> Design:
        """Return the design that :meth:`describe` described."""
        state = _with_numbers(fields["state"])
        return cls(
            fields["key"], fields["formula"], fields["levels"], state, tuple(fields["names"])
        )

    def _evaluate(self, table: pd.DataFrame) -> Any:
        data = {name: self._typed(table[name], name) for name in self.levels}
        spec = ModelSpec.from_spec(
            self.formula, transform_state=copy.deepcopy(dict(self.state)), na_action="ignore"
        )
        try:
            with np.errstate(all="ignore"):
                return spec.get_model_matrix(pd.DataFrame(data), context=CLIPPED)
        except (FormulaicError, ValueError, TypeError) as error:
            reason = str(error.__cause__ or error).partition("\n")[0]
            message = FORMULA_MSG.format(key=self.key, formula=self.formula, reason=reason)
            raise ConfigError(message) from None

    def _typed(self, values: pd.Series[Any], name: str) -> pd.Series[Any]:
        levels = self.levels[name]
        if levels is not None:
            codes = codes_of(values, levels)
            return pd.Series(
                pd.Categorical([levels[code] for code in codes], categories=list(levels))
            )
        if not _is_number(values):
            raise CohortError(NUMBER_MSG.format(column=name, value=values.iloc[0]))
        return values.astype(np.float64).reset_index(drop=True)


def codes_of(values: pd.Series[Any], levels: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of the category of each subject, from 0; -1 for another value."""
    codes: NDArray[np.int64] = pd.Index(levels).get_indexer(pd.Index(as_text(values)))
    return codes


def unseen_in(values: pd.Series[Any], levels: Sequence[str] | None) -> NDArray[np.bool_]:
    """Return which subjects have another category; none in a column of numbers."""
    if levels is None:
        return np.zeros(len(values), dtype=bool)
    return codes_of(values, levels) < 0


def require_values(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Require that every subject has a value in each column.

    Raises
    ------
    CohortError
        Names the column and the subjects.
    """
    for name in columns:
        if name not in table:
            raise CohortError(
                f"the table of subjects has no column {name!r}, which the adjustment uses"
            )
        missing = table[name].isna().to_numpy()
        if missing.any():
            raise CohortError(
                MISSING_MSG.format(n=missing.sum(), column=name, names=shown(table.index[missing]))
            )


def shown(names: Sequence[Any] | pd.Index[Any]) -> str:
    """Return the first few names, and the number of the others."""
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(str, names[:MOST_NAMED])) + rest


def _is_number(values: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _levels(values: pd.Series[Any], *, named: bool) -> list[str] | None:
    """Return the categories of a column; None for numbers that are not named as categories."""
    return sorted(set(as_text(values))) if named or not _is_number(values) else None


def as_text(values: pd.Series[Any]) -> list[str]:
    """Return values as text; the number 1 is the same category in a column with 1.5."""
    return [f"{value:.15g}" if _is_number(values) else str(value) for value in values]


def _plain(value: Any) -> Any:
    """Return plain numbers, lists and dictionaries for those of numpy."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _with_numbers(value: Any) -> Any:
    """Return dictionaries with numbers as keys, which are text in JSON."""
    if not isinstance(value, Mapping):
        return value
    keys = {key: int(key) if str(key).isdecimal() else key for key in value}
    return {keys[key]: _with_numbers(one) for key, one in value.items()}
