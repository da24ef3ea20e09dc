"""The table of measures as a page shows it: one row per measure, one column per k."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["Measure", "cell", "measures"]

NAMES = {"n_iter": "iterations", "n_pieces": "pieces of a part", "n_splits": "splits"}
SPREAD = "_sd"
"""Ending of the column with the standard deviation of another."""


@dataclass(frozen=True)
class Measure:
    """One measure over the numbers of components.

    Attributes
    ----------
    name, description : str
        In words.
    cells : list of str
        A value for each k.
    """

    name: str
    description: str
    cells: list[str]


def measures(metrics: pd.DataFrame, descriptions: Mapping[str, str]) -> list[Measure]:
    """Turn the table of metrics round, each mean with its standard deviation.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components.
    descriptions : mapping of str to str
        What each column means.
    """
    return [
        Measure(
            name=NAMES.get(str(column), str(column).replace("_", " ")),
            description=descriptions.get(str(column), ""),
            cells=_cells(metrics, str(column)),
        )
        for column in metrics
        if column != "n_components" and not _is_spread(metrics, str(column))
    ]


def _is_spread(metrics: pd.DataFrame, column: str) -> bool:
    return column.endswith(SPREAD) and column.removesuffix(SPREAD) in metrics


def _cells(metrics: pd.DataFrame, column: str) -> list[str]:
    values = [cell(value) for value in metrics[column].tolist()]
    spread = metrics.get(column + SPREAD)
    if spread is None:
        return values
    return [
        f"{value} ± {sd:.1g}" if pd.notna(sd) else value
        for value, sd in zip(values, spread.tolist(), strict=True)
    ]


def cell(value: Any) -> str:
    """Return a value of a table as text.

    Examples
    --------
    >>> cell(0.123456), cell(75120), cell(True), cell(float("nan"))
    ('0.1235', '75\u202f120', 'yes', 'n/a')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "n/a" if pd.isna(value) else f"{value:.4g}"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}".replace(",", "\u202f")
    return str(value)
