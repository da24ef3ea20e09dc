"""Figure of how parts split as k increases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import STYLE, part_colours, save

__all__ = ["draw_hierarchy"]

Colour = tuple[float, float, float]

BLOCK_WIDTH = 0.14
ROW_INCHES = 0.17
"""Height of the figure for each part of the largest k, so that its numbers can be read."""
GAP = 0.08
"""Total space between the parts of the last column, as a fraction of its height."""
N_SWEEPS = 20
"""Number of passes over the columns, forward and back, that order the parts."""


def draw_hierarchy(overlaps: pd.DataFrame, out_file: Path) -> Path:
    """Draw how the parts of each k share their voxels with those of the next k.

    Each column is one k. Each block is one part; its height is its number of voxels. A ribbon
    shows the voxels that two parts share. Parts are ordered so that few ribbons cross. They have
    the numbers of their components, and the colours of the label map of their k; a ribbon has the
    colour of the part at the larger k.

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
    colours = [part_colours(len(size)) for size in sizes]
    with plt.rc_context(STYLE):
        height = max(5.0, ROW_INCHES * ks[-1])
        figure = plt.figure(figsize=(max(6.0, 0.75 * len(ks) + 1.5), height))
        axis = figure.add_subplot()
        for number, counts in enumerate(steps):
            _draw_ribbons(axis, number, counts, orders, bottoms, colours)
        for number in range(len(ks)):
            _draw_blocks(axis, number, sizes[number], bottoms[number], colours[number], height)
        axis.set_xticks(range(len(ks)), [str(k) for k in ks])
        axis.set(xlabel="number of components k", xlim=(-0.3, len(ks) - 0.7), ylim=(-0.01, 1.01))
        axis.set_title("How the parts split as k increases")
        axis.set_ylabel("parts with their component numbers (height: share of the mask)")
        axis.set_yticks([])
        axis.grid(visible=False)
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.tick_params(length=0)
        return save(figure, out_file)


def _counts(overlaps: pd.DataFrame, k: int, next_k: int) -> NDArray[np.float64]:
    counts = np.zeros((k, next_k))
    shared = overlaps[overlaps["n_components"] == k]
    counts[shared["part"] - 1, shared["next_part"] - 1] = shared["n_voxels"]
    return counts


def _orders(steps: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int64]]:
    """Order the parts of each k by the mean place of the parts that they share voxels with."""
    n_parts = [len(steps[0]), *(counts.shape[1] for counts in steps)]
    places = [np.linspace(0, 1, n) if n > 1 else np.full(1, 0.5) for n in n_parts]
    for _ in range(N_SWEEPS):
        for number, counts in enumerate(steps):
            places[number + 1] = _places(counts.T, places[number])
        for number, counts in reversed(list(enumerate(steps))):
            places[number] = _places(counts, places[number + 1])
    return [np.argsort(place, kind="stable") for place in places]


def _places(counts: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return evenly spaced places; their order is that of the mean place of overlapping parts."""
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


def _draw_blocks(
    axis: Axes,
    number: int,
    sizes: NDArray[np.float64],
    bottoms: NDArray[np.float64],
    colours: Sequence[Colour],
    figure_inches: float,
) -> None:
    heights = sizes / sizes.sum() * (1 - GAP)
    axis.bar(number, heights, BLOCK_WIDTH, bottoms, color=colours, zorder=3)
    middles = bottoms + heights / 2
    points = np.clip(heights * figure_inches * 72 * 0.7, 3.5, 8)
    for part, (colour, middle, size) in enumerate(zip(colours, middles, points, strict=True), 1):
        light = np.dot(colour, (0.3, 0.6, 0.1)) > 0.55
        axis.text(
            number,
            middle,
            str(part),
            color="black" if light else "white",
            fontsize=size,
            ha="center",
            va="center_baseline",
            zorder=4,
        )


def _draw_ribbons(
    axis: Axes,
    number: int,
    counts: NDArray[np.float64],
    orders: Sequence[NDArray[np.int64]],
    bottoms: Sequence[NDArray[np.float64]],
    colours: Sequence[Sequence[Colour]],
) -> None:
    """Draw the voxels that the parts of one k share with those of the next."""
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
