"""Curves over the numbers of components: errors and reproducibility."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from opnmf_pipeline.reporting.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, save

__all__ = ["draw_errors", "draw_reproducibility"]

PANEL_INCHES = (3.6, 3.0)
ENTRY_INCHES = 0.18
"""Height of one entry of a legend."""
FEW_RANKS = 12
"""Up to this many numbers of components, each has a tick."""


@dataclass(frozen=True)
class _Curve:
    column: str
    label: str
    colour: str
    dashed: bool = False


AGREEMENT: dict[str, tuple[str, list[_Curve]]] = {
    "Components": (
        "agreement (1: equal)",
        [
            _Curve("inner_product", "matched inner product, mean", BLUE),
            _Curve("inner_product_median", "matched inner product, median", BLUE, dashed=True),
            _Curve("start_inner_product", "inner product of two starts", GREEN, dashed=True),
            _Curve("shared_start_inner_product", "inner product, shared start", GREY, dashed=True),
            _Curve("inner_product_null", "inner product by chance", GREY),
            _Curve("stability", "stability coefficient, mean", ORANGE),
            _Curve("stability_null", "stability coefficient by chance", ORANGE, dashed=True),
        ],
    ),
    "Parts (winner takes all)": (
        "agreement (1: equal)",
        [
            _Curve("label_ari", "adjusted Rand index", BLUE),
            _Curve("start_label_ari", "adjusted Rand index of two starts", GREEN, dashed=True),
            _Curve(
                "shared_start_label_ari", "adjusted Rand index, shared start", GREY, dashed=True
            ),
            _Curve("label_ari_null", "adjusted Rand index by chance", GREY),
            _Curve("label_ami", "adjusted mutual information", PURPLE),
            _Curve("label_dice", "Dice of matched parts", ORANGE),
        ],
    ),
    "Distance between the parts": (
        "variation of information (bits)",
        [_Curve("variation_of_information", "lower is better", PURPLE)],
    ),
}


def draw_errors(
    metrics: pd.DataFrame, out_file: Path, choice: Mapping[str, Any] | None = None
) -> Path:
    """Draw the error, R² in and out of sample, and the gain per component.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components, as in ``desc-opnmf_metrics.tsv``.
    out_file : path
        PNG to write.
    choice : mapping, optional
        Content of ``desc-opnmf_selection.json``; marks the chosen and the good numbers.

    Returns
    -------
    path
        ``out_file``.
    """
    panels = [_draw_error]
    if metrics["error_gradient"].count() > 1:  # a single gain has nothing to be compared with
        panels.append(_draw_gain)
    if "out_of_sample_explained_variance" in metrics:
        panels.insert(1, _draw_explained)
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(panels), n_entries=3)
        for (axis, below), draw in zip(axes, panels, strict=True):
            draw(axis, metrics)
            _finish(axis, below, metrics["n_components"], choice)
        return save(figure, out_file)


def _draw_error(axis: Axes, metrics: pd.DataFrame) -> None:
    """Draw errors relative to the smallest k, because those of shuffled data are much larger."""
    first = metrics.iloc[int(metrics["n_components"].argmin())]
    axis.set(
        title="Reconstruction error", ylabel=f"error relative to k = {first['n_components']:.0f}"
    )
    for curve, unit in (
        (_Curve("reconstruction_error", "all subjects", BLUE), "reconstruction_error"),
        (_Curve("null_error", "shuffled data (null)", ORANGE), "null_error"),
        (_Curve("lower_bound", "lower bound (SVD)", GREY, dashed=True), "reconstruction_error"),
    ):
        if unit in metrics:
            shares = metrics.filter(regex=f"^{curve.column}(_sd)?$") / first[unit]
            _curve(axis, shares.assign(n_components=metrics["n_components"]), curve)


def _draw_explained(axis: Axes, metrics: pd.DataFrame) -> None:
    axis.set(title="In and out of sample", ylabel="R² about the mean (%)")
    for curve in (
        _Curve("half_explained_variance", "fitted subjects", BLUE),
        _Curve("out_of_sample_explained_variance", "subjects not fitted", GREEN),
    ):
        percent = metrics.filter(regex=f"^{curve.column}(_sd)?$") * 100
        _curve(axis, percent.assign(n_components=metrics["n_components"]), curve)


def _draw_gain(axis: Axes, metrics: pd.DataFrame) -> None:
    axis.set(title="Gain of one more component", ylabel="decrease of error (units of the data)")
    axis.axhline(0, color=GREY, linewidth=0.6)
    _curve(axis, metrics, _Curve("error_gradient", "all subjects", BLUE))
    _curve(axis, metrics, _Curve("null_gradient", "shuffled data (null)", ORANGE))


def draw_reproducibility(
    metrics: pd.DataFrame,
    splits: pd.DataFrame,
    out_file: Path,
    choice: Mapping[str, Any] | None = None,
) -> Path:
    """Draw the agreement of the two parts of the splits: means, standard deviations, each split.

    By chance means: of random compact parts with the same sizes. The band is then the standard
    deviation over random parts, not over splits.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components, as in ``desc-opnmf_metrics.tsv``.
    splits : DataFrame
        One row per split and number of components, as in ``desc-opnmf_splits.tsv``.
    out_file : path
        PNG to write.
    choice : mapping, optional
        Content of ``desc-opnmf_selection.json``; marks the chosen and the good numbers.

    Returns
    -------
    path
        ``out_file``.
    """
    with plt.rc_context(STYLE):
        n_entries = max(len(curves) for _, curves in AGREEMENT.values())
        figure, axes = _panels(len(AGREEMENT), n_entries)
        for (axis, below), (title, (ylabel, curves)) in zip(axes, AGREEMENT.items(), strict=True):
            axis.set(title=title, ylabel=ylabel)
            for curve in curves:
                _curve(axis, metrics, curve)
                if not curve.dashed and curve.column in splits:
                    _points(axis, splits, curve)
            _finish(axis, below, metrics["n_components"], choice)
        return save(figure, out_file)


def _panels(number: int, n_entries: int) -> tuple[Figure, Sequence[tuple[Axes, Axes]]]:
    """Return a figure and its panels: the axes of the curves, and those of the legend below."""
    width, height = PANEL_INCHES
    heights = (height, ENTRY_INCHES * n_entries)
    figure, axes = plt.subplots(
        2, number, figsize=(width * number, sum(heights)), height_ratios=heights, squeeze=False
    )
    return figure, list(zip(*axes, strict=True))


def _curve(axis: Axes, table: pd.DataFrame, curve: _Curve) -> None:
    """Draw a column against k, with a band of one standard deviation if it is known."""
    if curve.column not in table or table[curve.column].isna().all():
        return
    ks, values = table["n_components"], table[curve.column]
    style = {"linestyle": "--", "linewidth": 1.0} if curve.dashed else {"marker": "o"}
    axis.plot(ks, values, color=curve.colour, label=curve.label, **style)
    if not curve.dashed and f"{curve.column}_sd" in table:
        sd = table[f"{curve.column}_sd"]
        axis.fill_between(ks, values - sd, values + sd, color=curve.colour, alpha=0.18, linewidth=0)


def _points(axis: Axes, splits: pd.DataFrame, curve: _Curve) -> None:
    axis.plot(
        splits["n_components"],
        splits[curve.column],
        ".",
        color=curve.colour,
        alpha=0.3,
        markersize=2.5,
        zorder=1,
    )


def _finish(axis: Axes, below: Axes, ks: pd.Series[int], choice: Mapping[str, Any] | None) -> None:
    """Label the axis of k, mark the choice, and put the legend below, where it covers no curve."""
    axis.set_xlabel("number of components k")
    if len(ks) <= FEW_RANKS:
        axis.set_xticks(ks.tolist())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if choice is not None:
        chosen = choice["k"]
        for k in choice["good"]:
            axis.axvline(k, color=GREY, linewidth=6, alpha=0.15, zorder=0)
        if chosen is not None:
            axis.axvline(chosen, color="black", linewidth=0.9, linestyle=":", zorder=0)
            axis.annotate(
                f"k = {chosen}",
                (chosen, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -1),
                textcoords="offset points",
                va="top",
                fontsize=8,
            )
    below.axis("off")
    below.legend(*axis.get_legend_handles_labels(), loc="upper left", borderaxespad=0)
