"""Associations of the loadings with covariates as sentences, a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from opnmf_pipeline.reporting.associations import ADJUSTED, ETA2, SIMPLE, D, R
from opnmf_pipeline.reporting.figure import BLUE, GREY, STYLE, Figure, plain, png

__all__ = ["Effects", "draw_effects", "effects_table", "summarize_effects"]

CORRELATION = (0.1, 0.3, 0.5)
"""Smallest correlation, or η, that is called small, medium and large (Cohen 1988)."""
DIFFERENCE = (0.2, 0.5, 0.8)
"""Smallest difference, in standard deviations, that is called small, medium and large."""
WORDS = ("negligible", "small", "medium", "large")
FDR = 0.05
"""Largest corrected p-value of an association that the sentences count."""

SYMBOLS = {R: "r", D: "d", ETA2: "η²"}
PANELS_PER_ROW = 3
MAX_LEVELS = 5
"""With more levels, the table of the report has only the effect of all levels together."""


@dataclass(frozen=True)
class Effects:
    """Associations of the loadings of every component with one covariate.

    Attributes
    ----------
    covariate : str
        Its name.
    measure : str
        Name of the effect size.
    simple, adjusted : DataFrame
        One row per component: ``effect``, ``ci_low``, ``ci_high`` and ``p_fdr``. ``adjusted`` is
        empty if there is no adjusted model.
    words : str
        The strongest association, sizes and number of associations, in words.
    """

    covariate: str
    measure: str
    simple: pd.DataFrame
    adjusted: pd.DataFrame
    words: str


def summarize_effects(table: pd.DataFrame) -> list[Effects]:
    """Return the associations with each covariate, and describe them.

    Parameters
    ----------
    table : DataFrame
        Table of :func:`opnmf_pipeline.reporting.associations.measure_associations`.

    Returns
    -------
    list of Effects
        A correlation for a number, a difference for two levels, η² for more levels.
    """
    return [_effects(str(name), rows) for name, rows in table.groupby("covariate", sort=False)]


def _effects(name: str, rows: pd.DataFrame) -> Effects:
    measure = next(one for one in (R, ETA2, D) if (rows["measure"] == one).any())
    shown = rows[rows["measure"] == measure]
    simple, adjusted = (
        shown[shown["model"] == model].reset_index(drop=True) for model in (SIMPLE, ADJUSTED)
    )
    first = simple.iloc[0]
    labels = {
        R: "correlation r (adjusted: partial r)",
        D: f"{first['level']} minus {first['reference']}, in SD (d)",
        ETA2: "share of the variance explained (η²)",
    }
    words = _words(name, measure, simple, adjusted)
    return Effects(name, labels[measure], simple, adjusted, words)


def _words(name: str, measure: str, simple: pd.DataFrame, adjusted: pd.DataFrame) -> str:
    """Describe the strongest association, sizes, and how many exceed what chance explains."""
    known = simple["effect"].dropna()
    start = f"{name} (n = {simple['n'].iloc[0]}):"
    if known.empty:
        return f"{start} the loadings do not vary, so no association can be measured."
    place = int(simple["effect"].abs().argmax())
    values = _value(simple.iloc[place])
    if not adjusted.empty and pd.notna(adjusted["effect"].iloc[place]):
        values += f"; adjusted: {_value(adjusted.iloc[place])}"
    limits = DIFFERENCE if measure == D else CORRELATION
    sizes = np.digitize(np.sqrt(known) if measure == ETA2 else known.abs(), limits)
    counts = ", ".join(
        f"{n} {word}" for word, n in zip(WORDS, np.bincount(sizes, minlength=4), strict=True) if n
    )
    strongest = _sentence(name, measure, simple.iloc[place], place + 1)
    return (
        f"{start} {strongest} ({values}), which is the strongest association. By size: {counts}. "
        f"{_count(name, simple, adjusted)}"
    )


def _sentence(name: str, measure: str, row: pd.Series[Any], number: int) -> str:
    on = f"the loadings on component {number}"
    if measure == R:
        return f"{on} are {'higher' if row['effect'] > 0 else 'lower'} for larger values of {name}"
    if measure == D:
        higher = "higher" if row["effect"] > 0 else "lower"
        return f"{on} are {higher} for {row['level']} than for {row['reference']}"
    return f"{on} differ between the levels of {name}"


def _count(name: str, simple: pd.DataFrame, adjusted: pd.DataFrame) -> str:
    found = int((simple["p_fdr"] <= FDR).sum())
    text = (
        f"At a false discovery rate of {FDR:.0%}, {name} is associated with the loadings on "
        f"{found} of {len(simple)} components"
    )
    if not adjusted.empty and adjusted["effect"].notna().any():
        text += f", and on {int((adjusted['p_fdr'] <= FDR).sum())} in the adjusted model"
    return f"{text}."


def _value(row: pd.Series[Any]) -> str:
    """Return an effect size with its interval, if it has one."""
    text = f"{SYMBOLS[row['measure']]} = {row['effect']:.2f}"
    if pd.isna(row["ci_low"]):
        return text
    return f"{text}, 95% interval {row['ci_low']:.2f} to {row['ci_high']:.2f}"


def effects_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return all associations as texts: one row per component and effect, models in columns.

    Parameters
    ----------
    table : DataFrame
        Table of :func:`opnmf_pipeline.reporting.associations.measure_associations`.
    """
    n_levels = table.groupby("covariate")["level"].nunique()
    many = table["covariate"].map(n_levels) > MAX_LEVELS
    shown = table[~many | table["level"].isna()]
    numbers = {name: number for number, name in enumerate(table["component"].unique(), start=1)}
    keys = ["component", "covariate", "level", "reference", "measure"]
    rows: list[dict[str, Any]] = []
    for _, models in shown.groupby(keys, sort=False, dropna=False):
        about = models.iloc[0]
        row = {
            "component": numbers[about["component"]],
            "covariate": about["covariate"],
            "comparison": "",
            "measure": SYMBOLS[about["measure"]],
        }
        if pd.notna(about["level"]):
            row["comparison"] = f"{about['level']} − {about['reference']}"
        for model in (SIMPLE, ADJUSTED):
            found = models[(models["model"] == model) & models["effect"].notna()]
            row[model] = "n/a" if found.empty else _cell(found.iloc[0])
            row[f"{model}: p (FDR)"] = "n/a" if found.empty else _p(found.iloc[0]["p_fdr"])
        rows.append(row)
    return pd.DataFrame(rows)


def _cell(row: pd.Series[Any]) -> str:
    interval = f" [{row['ci_low']:.2f}, {row['ci_high']:.2f}]" if pd.notna(row["ci_low"]) else ""
    return f"{row['effect']:.2f}{interval}"


def _p(value: float) -> str:
    """Return a p-value as text.

    Examples
    --------
    >>> _p(0.0312), _p(0.00001)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def draw_effects(effects: Sequence[Effects]) -> Figure:
    """Draw the effect size for every component, one panel per covariate."""
    k = len(effects[0].simple)
    n_columns = min(len(effects), PANELS_PER_ROW)
    n_rows = -(-len(effects) // n_columns)
    has_adjusted = any(not found.adjusted.empty for found in effects)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(max(4.0, 3.2 * n_columns), n_rows * (1.1 + 0.19 * max(k, 6))),
            squeeze=False,
            sharey=True,
        )
        for axis in axes.flat[len(effects) :]:
            axis.set_visible(False)
        for axis, found in zip(axes.flat, effects, strict=False):
            axis.axvline(0, color="#555555", linewidth=0.8)
            _points(axis, found.simple, -0.17 if has_adjusted else 0, GREY, "o", "simple")
            if not found.adjusted.empty:
                _points(axis, found.adjusted, 0.17, BLUE, "s", "adjusted")
            axis.set_title(plain(found.covariate))
            axis.set_xlabel(plain(found.measure), fontsize=8)
            axis.set_ylim(k + 0.7, 0.3)
            axis.set_yticks(range(1, k + 1)[:: -(-k // 25)])
        for axis in axes[:, 0]:
            axis.set_ylabel("component")
        if has_adjusted:
            handles, labels = axes[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
        image = png(figure)
    names = ", ".join(found.covariate for found in effects)
    models = (
        " Simple: from a model with this covariate only. Adjusted: from one model with all of them."
        if has_adjusted
        else ""
    )
    return Figure(
        image,
        alt=f"Association of {names} with the loadings of each of {k} components. "
        + " ".join(found.words for found in effects),
        caption=f"Effect size for the loadings of each component, with its 95% interval.{models}",
    )


def _points(
    axis: Any, table: pd.DataFrame, shift: float, colour: str, marker: str, label: str
) -> None:
    rows = np.arange(1, len(table) + 1) + shift
    axis.hlines(rows, table["ci_low"], table["ci_high"], color=colour, linewidth=1.2)
    axis.plot(
        table["effect"], rows, marker, color=colour, markersize=3.5, linestyle="none", label=label
    )
