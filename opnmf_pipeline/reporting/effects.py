"""Effect sizes of the associations of loadings with age, sex and site, as a table, text and figure.

They describe the cohort. They are not tested and not adjusted for other covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import BLUE, STYLE, Figure, plain, png

__all__ = ["Effects", "draw_effects", "measure_effects"]

Z_95 = 1.959964

CORRELATION = (0.1, 0.3, 0.5)
"""Smallest correlation, or η, that is called small, medium and large (Cohen 1988)."""
DIFFERENCE = (0.2, 0.5, 0.8)
"""Smallest difference, in standard deviations, that is called small, medium and large."""
WORDS = ("negligible", "small", "medium", "large")


@dataclass(frozen=True)
class Effects:
    """Associations of the loadings of every component with one covariate.

    Attributes
    ----------
    covariate : str
        Its name.
    measure : str
        Name of the effect size.
    values : DataFrame
        One row per component: ``effect``, and ``low``, ``high``, its 95 % confidence
        interval (NaN for η²).
    words : str
        The strongest effect, in words.
    """

    covariate: str
    measure: str
    values: pd.DataFrame
    words: str


def measure_effects(loadings: pd.DataFrame, covariate: pd.Series[Any]) -> Effects:
    """Measure the association of loadings with a covariate.

    Parameters
    ----------
    loadings : DataFrame
        One row per subject, one column per component.
    covariate : Series
        Numbers, or text with at least two different values. Subjects without a value are left out.

    Returns
    -------
    Effects
        Pearson correlation for a number, Cohen's d for two groups, η² for more groups.
    """
    values = covariate[covariate.notna().to_numpy()]
    known = loadings[covariate.notna().to_numpy()]
    if pd.api.types.is_numeric_dtype(values):
        return _of_number(known, values)
    return _of_two_groups(known, values) if values.nunique() == 2 else _of_groups(known, values)


def _of_number(loadings: pd.DataFrame, values: pd.Series[Any]) -> Effects:
    table = _correlations(loadings.to_numpy(np.float64), values.to_numpy(np.float64))
    table.index = loadings.columns
    component, r, interval = _strongest(table)
    direction = "rise" if r > 0 else "fall"
    strongest = f"loadings on {component} {direction} with {values.name} (r = {r:.2f}, {interval})"
    words = _words(values, strongest, np.digitize(table["effect"].abs(), CORRELATION))
    return Effects(str(values.name), "Pearson correlation", table, words)


def _of_two_groups(loadings: pd.DataFrame, values: pd.Series[Any]) -> Effects:
    first, second = sorted(values.unique())
    table = _differences(loadings.to_numpy(np.float64), (values == second).to_numpy(bool))
    table.index = loadings.columns
    component, d, interval = _strongest(table)
    strongest = (
        f"loadings on {component} are higher for {values.name} {second if d > 0 else first} "
        f"(d = {d:.2f}, {interval})"
    )
    words = _words(values, strongest, np.digitize(table["effect"].abs(), DIFFERENCE))
    measure = f"{second} minus {first}, in standard deviations (Cohen's d)"
    return Effects(str(values.name), measure, table, words)


def _of_groups(loadings: pd.DataFrame, values: pd.Series[Any]) -> Effects:
    n_groups = values.nunique()
    table = _variance_between(loadings.to_numpy(np.float64), values.to_numpy(str))
    table.index = loadings.columns
    component, eta2, _ = _strongest(table)
    strongest = (
        f"{values.name} explains {eta2:.0%} of the variance of the loadings on {component} "
        f"({(n_groups - 1) / (len(values) - 1):.0%} is expected by chance)"
    )
    words = _words(values, strongest, np.digitize(np.sqrt(table["effect"]), CORRELATION))
    measure = f"share of the variance explained by {n_groups} groups (η²)"
    return Effects(str(values.name), measure, table, words)


def _correlations(H: NDArray[np.float64], x: NDArray[np.float64]) -> pd.DataFrame:
    """Return Pearson's r with its confidence interval from Fisher's z."""
    centred, x = H - H.mean(0), x - x.mean()
    norms = np.sqrt((centred**2).sum(0) * (x**2).sum())
    r = np.divide(x @ centred, norms, out=np.zeros(H.shape[1]), where=norms > 0)
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = Z_95 / np.sqrt(len(x) - 3)
    return pd.DataFrame({"effect": r, "low": np.tanh(z - half), "high": np.tanh(z + half)})


def _differences(H: NDArray[np.float64], second: NDArray[np.bool_]) -> pd.DataFrame:
    """Return Cohen's d with the large-sample confidence interval of Hedges & Olkin (1985)."""
    a, b = H[~second], H[second]
    n_a, n_b = len(a), len(b)
    pooled = np.sqrt(
        (a.var(0, ddof=1) * (n_a - 1) + b.var(0, ddof=1) * (n_b - 1)) / (n_a + n_b - 2)
    )
    d = np.divide(b.mean(0) - a.mean(0), pooled, out=np.zeros(H.shape[1]), where=pooled > 0)
    half = Z_95 * np.sqrt((n_a + n_b) / (n_a * n_b) + d**2 / (2 * (n_a + n_b)))
    return pd.DataFrame({"effect": d, "low": d - half, "high": d + half})


def _variance_between(H: NDArray[np.float64], groups: NDArray[Any]) -> pd.DataFrame:
    """Return η²: the sum of squares between groups, divided by the total sum of squares."""
    total = ((H - H.mean(0)) ** 2).sum(0)
    between = sum(
        (groups == group).sum() * (H[groups == group].mean(0) - H.mean(0)) ** 2
        for group in np.unique(groups)
    )
    eta2 = np.divide(between, total, out=np.zeros(H.shape[1]), where=total > 0)
    return pd.DataFrame({"effect": eta2, "low": np.nan, "high": np.nan})


def _strongest(table: pd.DataFrame) -> tuple[str, float, str]:
    """Return the component with the strongest effect, its effect, and its interval as text."""
    place = int(table["effect"].abs().argmax())
    effect, low, high = table[["effect", "low", "high"]].to_numpy()[place]
    return str(table.index[place]), float(effect), f"95% interval {low:.2f} to {high:.2f}"


def _words(values: pd.Series[Any], strongest: str, sizes: NDArray[np.intp]) -> str:
    """Describe the strongest effect, and the number of components for each size of effect."""
    counts = ", ".join(
        f"{n} {word}" for word, n in zip(WORDS, np.bincount(sizes, minlength=4), strict=True) if n
    )
    return (
        f"{values.name} ({len(values)} subjects). Strongest effect: {strongest}. By size: {counts}."
    )


def draw_effects(effects: Sequence[Effects]) -> Figure:
    """Draw the effect size for every component, one panel per covariate."""
    k = len(effects[0].values)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1,
            len(effects),
            figsize=(max(4.0, 3.2 * len(effects)), 0.9 + 0.17 * max(k, 6)),
            squeeze=False,
            sharey=True,
        )
        for axis, found in zip(axes.flat, effects, strict=True):
            table, rows = found.values, np.arange(1, k + 1)
            axis.axvline(0, color="#555555", linewidth=0.8)
            axis.hlines(rows, table["low"], table["high"], color=BLUE, linewidth=1.2)
            axis.plot(table["effect"], rows, "o", color=BLUE, markersize=3.5)
            axis.set_title(plain(found.covariate))
            axis.set_xlabel(plain(found.measure), fontsize=7.5)
            axis.set_ylim(k + 0.7, 0.3)
            axis.set_yticks(rows[:: -(-k // 25)])
        axes[0, 0].set_ylabel("component")
        image = png(figure)
    names = ", ".join(found.covariate for found in effects)
    return Figure(
        image,
        alt=f"Association of {names} with the loadings of each of {k} components. "
        + " ".join(found.words for found in effects),
        caption="Effect size for the loadings of each component, with its 95% confidence interval.",
    )
