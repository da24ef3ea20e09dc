"""Pictures of the study of ranks: errors, reproducibility, and how parts split as k grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

__all__ = ["draw_errors", "draw_hierarchy", "draw_reproducibility"]

STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.75,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}
DPI = 150
PANEL_INCHES = (3.6, 3.0)
# Colours that are told apart without red and green: Okabe & Ito
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8c8c8c"
FEW_RANKS = 12
"""Up to so many numbers of components each has its tick."""


@dataclass(frozen=True)
class _Curve:
    column: str
    label: str
    colour: str
    dashed: bool = False


AGREEMENT: dict[str, tuple[str, list[_Curve]]] = {
    "Components": (
        "agreement of halves",
        [
            _Curve("inner_product", "matched inner product, mean", BLUE),
            _Curve("inner_product_median", "matched inner product, median", BLUE, dashed=True),
            _Curve("stability", "stability coefficient, mean", ORANGE),
            _Curve("stability_median", "stability coefficient, median", ORANGE, dashed=True),
        ],
    ),
    "Parts (winner takes all)": (
        "agreement of halves",
        [
            _Curve("label_ari", "adjusted Rand index", BLUE),
            _Curve("label_ami", "adjusted mutual information", GREEN),
            _Curve("label_dice", "Dice of matched parts", ORANGE),
        ],
    ),
    "Distance of the parts": (
        "variation of information (bits)",
        [_Curve("variation_of_information", "less is better", PURPLE)],
    ),
}


def draw_errors(
    metrics: pd.DataFrame, out_file: Path, choice: Mapping[str, Any] | None = None
) -> Path:
    """Draw the error, what is explained in and out of sample, and the gain of each component.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components, as in ``desc-opnmf_metrics.tsv``.
    out_file : path
        PNG to write.
    choice : mapping, optional
        Content of ``desc-opnmf_selection.json``: the chosen and the good numbers are marked.

    Returns
    -------
    path
        ``out_file``.
    """
    panels = [_draw_error, _draw_gain]
    if "out_of_sample_explained_variance" in metrics:
        panels.insert(1, _draw_explained)
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(panels))
        for axis, draw in zip(axes, panels, strict=True):
            draw(axis, metrics)
            _finish(axis, metrics["n_components"], choice)
        return _save(figure, out_file)


def _draw_error(axis: Axes, metrics: pd.DataFrame) -> None:
    """Draw errors as shares of those of the smallest k: shuffled data have much larger ones."""
    first = metrics.iloc[int(metrics["n_components"].argmin())]
    axis.set(
        title="Reconstruction error", ylabel=f"error relative to k = {first['n_components']:.0f}"
    )
    for curve, unit in (
        (_Curve("reconstruction_error", "all subjects", BLUE), "reconstruction_error"),
        (_Curve("null_error", "shuffled voxels (null)", ORANGE), "null_error"),
        (_Curve("lower_bound", "lower bound (SVD)", GREY, dashed=True), "reconstruction_error"),
    ):
        if unit in metrics:
            shares = metrics.filter(regex=f"^{curve.column}(_sd)?$") / first[unit]
            _curve(axis, shares.assign(n_components=metrics["n_components"]), curve)


def _draw_explained(axis: Axes, metrics: pd.DataFrame) -> None:
    axis.set(title="In and out of sample", ylabel="explained variance (%)")
    for curve in (
        _Curve("half_explained_variance", "fitted subjects", BLUE),
        _Curve("out_of_sample_explained_variance", "subjects not fitted", GREEN),
    ):
        percent = metrics.filter(regex=f"^{curve.column}(_sd)?$") * 100
        _curve(axis, percent.assign(n_components=metrics["n_components"]), curve)


def _draw_gain(axis: Axes, metrics: pd.DataFrame) -> None:
    axis.set(title="Gain of a further component", ylabel="fall of the error per component")
    axis.axhline(0, color=GREY, linewidth=0.6)
    _curve(axis, metrics, _Curve("error_gradient", "all subjects", BLUE))
    _curve(axis, metrics, _Curve("null_gradient", "shuffled voxels (null)", ORANGE))


def draw_reproducibility(
    metrics: pd.DataFrame,
    splits: pd.DataFrame,
    out_file: Path,
    choice: Mapping[str, Any] | None = None,
) -> Path:
    """Draw how far the two parts of the splits agree: means, standard deviations, every split.

    Parameters
    ----------
    metrics : DataFrame
        One row per number of components, as in ``desc-opnmf_metrics.tsv``.
    splits : DataFrame
        One row per split and number of components, as in ``desc-opnmf_splits.tsv``.
    out_file : path
        PNG to write.
    choice : mapping, optional
        Content of ``desc-opnmf_selection.json``: the chosen and the good numbers are marked.

    Returns
    -------
    path
        ``out_file``.
    """
    with plt.rc_context(STYLE):
        figure, axes = _panels(len(AGREEMENT))
        for axis, (title, (ylabel, curves)) in zip(axes, AGREEMENT.items(), strict=True):
            axis.set(title=title, ylabel=ylabel)
            for curve in curves:
                _curve(axis, metrics, curve)
                if not curve.dashed:
                    _points(axis, splits, curve)
            _finish(axis, metrics["n_components"], choice)
        return _save(figure, out_file)


def _panels(number: int) -> tuple[Figure, Sequence[Axes]]:
    width, height = PANEL_INCHES
    figure, axes = plt.subplots(
        1, number, figsize=(width * number, height), layout="constrained", squeeze=False
    )
    return figure, axes[0]


def _curve(axis: Axes, table: pd.DataFrame, curve: _Curve) -> None:
    """Draw a column against k, with a band of one standard deviation where that is known."""
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


def _finish(axis: Axes, ks: pd.Series[int], choice: Mapping[str, Any] | None) -> None:
    """Label the axis of k, and mark what was chosen."""
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
    axis.legend(loc="best")


def draw_hierarchy(overlaps: pd.DataFrame, out_file: Path) -> Path:
    """Draw how the parts of each k share their voxels with those of the next k.

    Each column is one k, each block one part, as high as it has voxels; a ribbon is the voxels
    that two parts share. Parts are ordered so that few ribbons cross, and coloured by that order,
    so that what becomes of a part keeps a colour near to its own.

    Parameters
    ----------
    overlaps : DataFrame
        ``n_components``, ``part``, ``next_n_components``, ``next_part``, ``n_voxels``, as in
        ``desc-opnmf_hierarchy.tsv``.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    ks = sorted({*overlaps["n_components"], *overlaps["next_n_components"]})
    steps = [_counts(overlaps, k, next_k) for k, next_k in pairwise(ks)]
    orders = _orders(steps)
    sizes = [steps[0].sum(axis=1), *(counts.sum(axis=0) for counts in steps)]
    gap = GAP / max(len(sizes[-1]) - 1, 1)
    bottoms = [_stack(size, order, gap) for size, order in zip(sizes, orders, strict=True)]
    colours = _colours(sizes, orders, steps)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(max(6.0, 0.75 * len(ks) + 1.5), 5.5), layout="constrained")
        axis = figure.add_subplot()
        for number, counts in enumerate(steps):
            _draw_ribbons(axis, number, counts, orders, bottoms, colours)
        for number in range(len(ks)):
            _draw_blocks(axis, number, sizes[number], bottoms[number], colours[number])
        axis.set_xticks(range(len(ks)), [str(k) for k in ks])
        axis.set(xlabel="number of components k", xlim=(-0.3, len(ks) - 0.7), ylim=(-0.01, 1.01))
        axis.set_title("How the parts split as k grows (height: voxels)")
        axis.set_yticks([])
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
        return _save(figure, out_file)


BLOCK_WIDTH = 0.14
GAP = 0.08
"""Space between all parts of the last column, as a fraction of its height."""
N_SWEEPS = 20
"""How often the parts are put in the order of what they share, back and forth."""


def _counts(overlaps: pd.DataFrame, k: int, next_k: int) -> NDArray[np.float64]:
    counts = np.zeros((k, next_k))
    shared = overlaps[overlaps["n_components"] == k]
    counts[shared["part"] - 1, shared["next_part"] - 1] = shared["n_voxels"]
    return counts


def _orders(steps: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Order the parts of each k by the mean place of what they share voxels with (barycentres)."""
    n_parts = [len(steps[0]), *(counts.shape[1] for counts in steps)]
    places = [np.linspace(0, 1, n) if n > 1 else np.full(1, 0.5) for n in n_parts]
    for _ in range(N_SWEEPS):
        for number, counts in enumerate(steps):
            places[number + 1] = _places(counts.T, places[number])
        for number, counts in reversed(list(enumerate(steps))):
            places[number] = _places(counts, places[number + 1])
    return [np.argsort(place, kind="stable") for place in places]


def _places(counts: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return evenly spread places, in the order of the mean place of the others shared with."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    order = np.argsort(shares @ others, kind="stable")
    places = np.empty(len(counts))
    places[order] = (np.arange(len(counts)) + 0.5) / len(counts)
    return places


def _stack(sizes: NDArray[np.float64], order: NDArray[np.int64], gap: float) -> NDArray[np.float64]:
    """Return the lower edge of each part, in a column that is centred between 0 and 1."""
    heights = sizes[order] / sizes.sum() * (1 - GAP)
    lowest = (GAP - gap * (len(sizes) - 1)) / 2
    bottoms = np.empty(len(sizes))
    bottoms[order] = lowest + np.concatenate([[0], np.cumsum(heights + gap)[:-1]])
    return bottoms


def _colours(
    sizes: Sequence[NDArray[np.float64]],
    orders: Sequence[NDArray[np.int64]],
    steps: Sequence[NDArray[np.float64]],
) -> list[NDArray[np.float64]]:
    """Spread colours over the finest parts; others get the mean place of what they split into."""
    finest = len(orders[-1])
    place = np.empty(finest)
    place[orders[-1]] = (np.arange(finest) + 0.5) / finest
    places = [place]
    for size, counts in zip(reversed(sizes[:-1]), reversed(steps), strict=True):
        places.insert(0, counts @ places[0] / np.maximum(size, 1))
    spectrum = plt.get_cmap("turbo")
    return [spectrum(0.06 + 0.88 * place)[:, :3] for place in places]


def _draw_blocks(
    axis: Axes,
    number: int,
    sizes: NDArray[np.float64],
    bottoms: NDArray[np.float64],
    colours: NDArray[np.float64],
) -> None:
    heights = sizes / sizes.sum() * (1 - GAP)
    axis.bar(number, heights, BLOCK_WIDTH, bottoms, color=colours, zorder=3)


def _draw_ribbons(
    axis: Axes,
    number: int,
    counts: NDArray[np.float64],
    orders: Sequence[NDArray[np.int64]],
    bottoms: Sequence[NDArray[np.float64]],
    colours: Sequence[NDArray[np.float64]],
) -> None:
    """Draw what the parts of one k share with those of the next, each ribbon at its place."""
    heights = counts / counts.sum() * (1 - GAP)
    left, right = bottoms[number].copy(), bottoms[number + 1].copy()
    starts, ends = np.zeros_like(heights), np.zeros_like(heights)
    for part in orders[number]:
        for next_part in orders[number + 1]:
            starts[part, next_part] = left[part]
            ends[part, next_part] = right[next_part]
            left[part] += heights[part, next_part]
            right[next_part] += heights[part, next_part]
    t = np.linspace(0, 1, 25)
    x = number + BLOCK_WIDTH / 2 + t * (1 - BLOCK_WIDTH)
    bend = t * t * (3 - 2 * t)
    ribbons, shades = [], []
    for part, next_part in np.argwhere(counts > 0):
        y = starts[part, next_part] * (1 - bend) + ends[part, next_part] * bend
        upper = y + heights[part, next_part]
        ribbons.append(np.column_stack([np.r_[x, x[::-1]], np.r_[y, upper[::-1]]]))
        shades.append(colours[number + 1][next_part])
    axis.add_collection(PolyCollection(ribbons, facecolors=shades, alpha=0.5, linewidths=0))


def _save(figure: Figure, out_file: Path) -> Path:
    # Without the date and version that matplotlib would add, equal results are equal bytes
    figure.savefig(out_file, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return out_file
