"""The covariates of the report: which columns of the table of subjects are used, and why not.

The settings name them. Otherwise they are the columns that ``participants.json`` describes, and
those with a usual name, such as ``age``, ``sex`` and ``site``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.tables import typed

__all__ = [
    "MIN_PER_LEVEL",
    "NUMERIC",
    "Covariate",
    "Covariates",
    "choose_covariates",
    "require_columns",
    "restore_covariates",
]

NUMERIC, CATEGORICAL = "numeric", "categorical"
USUAL: dict[str, tuple[str, Sequence[str]]] = {
    "age": (NUMERIC, ("age", "ageyears", "ageatscan", "ageatvisit")),
    "sex": (CATEGORICAL, ("sex", "gender")),
    "site or scanner": (
        CATEGORICAL,
        ("site", "siteid", "center", "centre", "scanner", "scannerid"),
    ),
    "diagnosis": (CATEGORICAL, ("diagnosis", "dx", "diagnosticgroup", "group")),
    "handedness": (CATEGORICAL, ("handedness",)),
    "head size": (NUMERIC, ("tiv", "icv", "etiv", "totalintracranialvolume", "intracranialvolume")),
}
"""Meanings of columns: the type, and usual names in lower case without other characters.

The columns of BIDS (age, sex, handedness) and what cohorts add. By default, only one column of
each meaning is used: two columns for sex would each take away the effect of the other.
"""
CONTROLS = ("control", "controls", "ctrl", "hc", "healthy", "healthycontrol", "cn", "nc")
"""Usual names of the level that other diagnoses are compared with."""
MAX_DEFAULT = 8
"""Most covariates by default: a dataset may describe its whole questionnaire."""
MAX_LEVELS = 40
MIN_SUBJECTS = 10
MIN_PER_LEVEL = 5
"""Levels with fewer subjects are left out."""

NO_COLUMN_MSG = "report.covariates: the table of subjects has no column {name!r}; it has: {columns}"
NOT_NAMED = "not named in report.covariates"
NOT_KNOWN = "participants.json does not describe it, and its name is not a usual one"
TAKEN = "{other} is used; both columns are about {meaning}"
ENOUGH = f"{MAX_DEFAULT} covariates are used by default"
MOSTLY_MISSING = "fewer than half of the subjects have a value ({n} of {total})"
FEW_VALUES = f"{{n}} subjects have a value; {MIN_SUBJECTS} are needed"
CONSTANT = "all subjects have the same value ({value})"
MANY_LEVELS = f"{{n}} different values that are not numbers; at most {MAX_LEVELS} can be compared"
FEW_LEVELS = f"fewer than two of its values have {MIN_PER_LEVEL} subjects or more"


@dataclass(frozen=True)
class Covariate:
    """A column of the table of subjects that the report uses.

    Attributes
    ----------
    name : str
        Name of the column.
    values : Series
        One value per row. Numbers are float64; other values are categories, the reference first.
        Missing values and levels with few subjects are missing.
    note : str
        What was left out, as a sentence; may be empty.
    """

    name: str
    values: pd.Series[Any]
    note: str = ""

    @property
    def levels(self) -> list[str]:
        """Levels of a categorical covariate, the reference first; empty for a number."""
        if isinstance(self.values.dtype, pd.CategoricalDtype):
            return [str(level) for level in self.values.cat.categories]
        return []

    def describe(self) -> dict[str, Any]:
        """Return type and levels, from which :func:`restore_covariates` makes the column again."""
        if not self.levels:
            return {"Type": NUMERIC}
        return {"Type": CATEGORICAL, "Levels": self.levels, "Reference": self.levels[0]}


@dataclass(frozen=True)
class Covariates:
    """The covariates of a report.

    Attributes
    ----------
    used : sequence of Covariate
        The covariates that are used.
    unused : mapping of str to str
        The other columns, each with the reason.
    """

    used: Sequence[Covariate]
    unused: Mapping[str, str]


class _NotUsableError(Exception):
    """A column cannot be a covariate; the message is the reason."""


def choose_covariates(
    table: pd.DataFrame,
    subjects: Sequence[str],
    names: Sequence[str] = (),
    descriptions: Mapping[str, Any] | None = None,
) -> Covariates:
    """Choose the columns of the table of subjects that the report uses.

    Parameters
    ----------
    table : DataFrame
        One row per subject or session; the columns are text.
    subjects : sequence of str
        The subject of each row.
    names : sequence of str
        Columns to use. Default: the columns that are described or have a usual name.
    descriptions : mapping, optional
        Content of ``participants.json``: a dict with ``Description``, ``Levels`` or ``Units`` for
        each column.

    Returns
    -------
    Covariates
        The columns that are used, and the others, each with the reason.

    Raises
    ------
    ConfigError
        A name is not a column of the table.
    """
    require_columns(names, table)
    known = descriptions or {}
    candidates = [*names] or sorted(map(str, table), key=lambda name: _meaning(name) is None)
    people = pd.Series(list(subjects), index=table.index)
    used: dict[str, Covariate] = {}
    unused: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in candidates:
        meaning, described = _meaning(name), _described(known.get(name))
        try:
            if not names:
                _require_default(name, meaning, described, taken, len(used))
            covariate = _covariate(table[name], people, meaning, described)
            n_known = int(covariate.values.notna().sum())
            if not names and 2 * n_known < len(table):
                raise _NotUsableError(MOSTLY_MISSING.format(n=n_known, total=len(table)))
        except _NotUsableError as reason:
            unused[name] = str(reason)
            continue
        used[name] = covariate
        if meaning is not None:
            taken[meaning] = name
    others = {str(name): NOT_NAMED for name in table if str(name) not in candidates}
    order = names or [str(name) for name in table]
    return Covariates([used[name] for name in order if name in used], unused | others)


def require_columns(names: Iterable[str], table: pd.DataFrame) -> None:
    """Require that a table of subjects has all covariates that the settings name.

    Raises
    ------
    ConfigError
        A name is not a column of the table.
    """
    for name in names:
        if name not in table:
            columns = ", ".join(map(str, table)) or "no covariates"
            raise ConfigError(NO_COLUMN_MSG.format(name=name, columns=columns))


def restore_covariates(table: pd.DataFrame, described: Mapping[str, Any]) -> pd.DataFrame:
    """Return covariates as columns: numbers, or text with missing values for levels not used.

    Parameters
    ----------
    table : DataFrame
        Table of subjects; the columns are text.
    described : mapping of str to dict
        For each covariate, the result of :meth:`Covariate.describe`.
    """
    found = {}
    for name, about in described.items():
        text = _text(table[name])
        is_number = about["Type"] == NUMERIC
        found[name] = _numbers(text) if is_number else text.where(text.isin(about["Levels"]))
    return pd.DataFrame(found, index=table.index)


def _meaning(name: str) -> str | None:
    """Return the meaning of a column with a usual name.

    Examples
    --------
    >>> _meaning("Age_at_scan"), _meaning("eTIV"), _meaning("stage")
    ('age', 'head size', None)
    """
    plain = _plain(name)
    return next((meaning for meaning, (_, usual) in USUAL.items() if plain in usual), None)


def _plain(name: str) -> str:
    """Return a name in lower case, with letters and digits only."""
    return re.sub(r"[\W_]", "", name.casefold())


def _described(about: Any) -> dict[str, Any]:
    """Return what is known about a column; empty if nothing is."""
    if not isinstance(about, dict):
        return {}
    return {key: about[key] for key in ("Description", "Levels", "Units") if about.get(key)}


def _require_default(
    name: str,
    meaning: str | None,
    described: Mapping[str, Any],
    taken: Mapping[str, str],
    n_used: int,
) -> None:
    if meaning is None and not described:
        raise _NotUsableError(NOT_KNOWN)
    if meaning is not None and meaning in taken:
        raise _NotUsableError(TAKEN.format(other=taken[meaning], meaning=meaning))
    if n_used >= MAX_DEFAULT:
        raise _NotUsableError(ENOUGH)


def _covariate(
    column: pd.Series[Any],
    subjects: pd.Series[str],
    meaning: str | None,
    described: Mapping[str, Any],
) -> Covariate:
    """Return a column as a covariate, or raise the reason why it cannot be one."""
    text = _text(column)
    if (n := subjects[text.notna()].nunique()) < MIN_SUBJECTS:
        raise _NotUsableError(FEW_VALUES.format(n=n))
    if text.nunique() == 1:
        raise _NotUsableError(CONSTANT.format(value=text.dropna().iloc[0]))
    as_read, levels = typed(text), _levels(described)
    is_number = is_numeric_dtype(as_read) and not is_bool_dtype(as_read)
    declared = USUAL[meaning][0] if meaning else None
    if declared == NUMERIC:
        return _numeric(column, text, subjects)
    # Numbers are codes if each of them has a description
    codes = declared == CATEGORICAL or (bool(levels) and text.dropna().isin(levels).all())
    if is_number and not codes:
        return _numeric(column, text, subjects)
    return _categorical(column, text, subjects, levels)


def _numeric(column: pd.Series[Any], text: pd.Series[Any], subjects: pd.Series[str]) -> Covariate:
    numbers = _numbers(text)
    if (n := subjects[numbers.notna()].nunique()) < MIN_SUBJECTS:
        raise _NotUsableError(FEW_VALUES.format(n=n) + "; other values are not numbers")
    if numbers.nunique() == 1:
        raise _NotUsableError(CONSTANT.format(value=f"{numbers.dropna().iloc[0]:g}"))
    lost = text[text.notna() & numbers.isna()]
    note = ""
    if not lost.empty:
        note = f"{len(lost)} values, such as {lost.iloc[0]!r}, are not numbers and are left out."
    return Covariate(str(column.name), numbers, note)


def _categorical(
    column: pd.Series[Any], text: pd.Series[Any], subjects: pd.Series[str], levels: Sequence[str]
) -> Covariate:
    if (n := text.nunique()) > MAX_LEVELS:
        raise _NotUsableError(MANY_LEVELS.format(n=n))
    sizes = subjects.groupby(text).nunique()
    kept = sizes[sizes >= MIN_PER_LEVEL]
    if len(kept) < 2:
        raise _NotUsableError(FEW_LEVELS)
    # The reference: the level that participants.json describes first, controls, or the largest one
    controls = [str(level) for level in kept.index if _plain(str(level)) in CONTROLS]
    order = [level for level in levels if level in kept.index] or controls
    rest = kept.drop(order).sort_index().sort_values(ascending=False, kind="stable")
    order += [str(level) for level in rest.index]
    values = pd.Series(
        pd.Categorical(text.where(text.isin(order)), categories=order), index=text.index
    )
    few = [str(level) for level in sizes.index if level not in order]
    note = ""
    if few:
        note = f"Levels with fewer than {MIN_PER_LEVEL} subjects are left out: {', '.join(few)}."
    return Covariate(str(column.name), values, note)


def _levels(described: Mapping[str, Any]) -> list[str]:
    levels = described.get("Levels")
    return [str(level) for level in levels] if isinstance(levels, dict | list) else []


def _text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as text without surrounding spaces; empty cells are missing values."""
    text = [None if pd.isna(cell) else str(cell).strip() or None for cell in column]
    return pd.Series(text, index=column.index, name=column.name, dtype=object)


def _numbers(text: pd.Series[Any]) -> pd.Series[float]:
    """Return text as numbers; other text is missing. ``89+``, as ages are cut off, is read as 89.

    Examples
    --------
    >>> _numbers(pd.Series(["20", "89+", "unknown", "inf", None])).tolist()
    [20.0, 89.0, nan, nan, nan]
    """
    numbers = pd.to_numeric(text.astype("string").str.rstrip("+"), errors="coerce")
    found = pd.Series(numbers.to_numpy(np.float64, na_value=np.nan), text.index, name=text.name)
    return found.where(np.isfinite(found))
