"""Figures of components, of their parts, and of maps of the cohort on the cortex."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap, Normalize
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import (
    SMALLEST_SHARE,
    WEIGHTS,
    Figure,
    add_parts_legend,
    add_weight_scale,
    part_colours,
    png,
)
from opnmf_pipeline.reporting.surfaces.cortex import VIEWS_OF_SIDES, Maps, read_maps

__all__ = ["VIEWS", "draw_cohort_maps", "draw_components", "draw_parts", "template_image"]

VIEWS = "in four views of the cortex: left lateral and medial, right medial and lateral"
PER_ROW = 2
VIEW_INCHES = (1.9, 1.5)
MARKS = {"left": "L", "right": "R"}
"""Names of the hemispheres above each view."""
LEGEND_COLUMNS = 10
DPI = 110


def template_image() -> Any:
    """Return None: every picture shows the folds of fsaverage5."""
    return


def draw_components(
    components_file: Path, titles: Sequence[str], background: Any, out_file: Path
) -> Path:
    """Draw every component in four views.

    Parameters
    ----------
    components_file : path
        CIFTI file of scalars, one component per map.
    titles : sequence of str
        Number and possibly name of each component.
    background : list of path, or object
        Meshes of the left and of the right hemisphere. Any other object means fsaverage5.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    maps = read_maps(components_file, background)
    k = next(iter(maps.values.values())).shape[1] if maps.values else 0
    figure, panels = _panels(-(-k // PER_ROW), min(PER_ROW, max(k, 1)))
    for number in range(k):
        largest = max(np.nanmax(values[:, number]) for values in maps.values.values())
        shown = {
            side: np.where(values[:, number] > largest * SMALLEST_SHARE, values[:, number], np.nan)
            for side, values in maps.values.items()
        }
        panel = panels[number]
        _draw(panel, maps, shown, cmap=WEIGHTS, vmin=0, vmax=largest or 1)
        panel[0].set_title(titles[number], loc="left", fontsize=9, fontweight="bold")
    if k:
        add_weight_scale(figure)
    return _save(figure, maps, out_file)


def draw_parts(labels_file: Path, titles: Sequence[str], background: Any, out_file: Path) -> Path:
    """Draw the winner-takes-all label map in four views, with a legend.

    Parameters
    ----------
    labels_file : path
        CIFTI file of labels, 0 for none.
    titles : sequence of str
        Title of each component, for the legend.
    background : list of path, or object
        Meshes of the left and of the right hemisphere. Any other object means fsaverage5.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    maps = read_maps(labels_file, background)
    figure, panels = _panels(1 if maps.values else 0, 1, scale=1.7)
    if maps.values:
        k, colours = len(titles), part_colours(len(titles))
        shown = {side: np.where(v[:, 0] > 0, v[:, 0], np.nan) for side, v in maps.values.items()}
        style = {"cmap": ListedColormap(colours), "vmin": 1, "vmax": max(k, 2)}
        _draw(panels[0], maps, shown, **style, avg_method="median")
        add_parts_legend(figure, titles, colours, top=0.02, columns=LEGEND_COLUMNS, frameon=False)
    return _save(figure, maps, out_file)


def draw_cohort_maps(maps: Mapping[str, Path], mask_file: Path, background: Any = None) -> Figure:
    """Draw maps of the cohort inside the mask, one map per row.

    Parameters
    ----------
    maps : mapping of str to path
        CIFTI files of one map, by title.
    mask_file : path
        Mask on the grid of the maps.
    background : list of path, or object
        Meshes of the left and of the right hemisphere. Any other object means fsaverage5.
    """
    mask = read_maps(mask_file, background)
    figure, panels = _panels(len(maps) if mask.values else 0, 1)
    for panel, (title, path) in zip(panels, maps.items(), strict=False):
        shown = {
            side: np.where(mask.values[side][:, 0] > 0, values[:, 0], np.nan)
            for side, values in read_maps(path, background).values.items()
        }
        there = np.concatenate(list(shown.values()))
        low, high = np.nanpercentile(there, (0.5, 99.5))
        low, high = (low, high) if high > low else (low - 0.05, high + 0.05)
        _draw(panel, mask, shown, cmap="viridis", vmin=low, vmax=high)
        panel[0].set_title(title, loc="left", fontsize=9, fontweight="bold")
        scale = plt.cm.ScalarMappable(Normalize(low, high), "viridis")
        figure.colorbar(scale, ax=list(panel), shrink=0.8, pad=0.01)
    if mask.problem:
        _explain(figure, mask)
    return Figure(
        png(figure),
        alt=f"Four views of the cortex of: {'; '.join(maps)}",
        caption="Vertices of the mask on the cortex." if mask.values else mask.problem,
    )


def _panels(n_rows: int, n_columns: int, scale: float = 1.0) -> tuple[Any, NDArray[Any]]:
    """Return a figure, and its axes, shape (n_rows * n_columns, 4)."""
    width, height = VIEW_INCHES
    shape = (max(n_rows, 1), n_columns * len(VIEWS_OF_SIDES))
    size = (width * scale * shape[1], (height * scale + 0.15) * shape[0])
    if not n_rows:
        return plt.figure(figsize=size), np.empty((0, len(VIEWS_OF_SIDES)))
    figure, axes = plt.subplots(
        *shape,
        figsize=size,
        squeeze=False,
        subplot_kw={"projection": "3d"},
        gridspec_kw={"wspace": 0, "hspace": 0.12, "left": 0, "right": 1, "top": 0.93, "bottom": 0},
    )
    for axis in axes.flat:
        axis.set_axis_off()
    return figure, axes.reshape(-1, len(VIEWS_OF_SIDES))


def _draw(
    panel: NDArray[Any], maps: Maps, shown: Mapping[str, NDArray[np.float64]], **style: Any
) -> None:
    for axis, view in zip(panel, VIEWS_OF_SIDES, strict=True):
        if view[0] in shown:
            maps.draw_view(axis, shown[view[0]], view, **style)
            axis.text2D(0.5, 0.9, MARKS[view[0]], transform=axis.transAxes, ha="center", fontsize=8)


def _explain(figure: Any, maps: Maps) -> None:
    figure.text(0.5, 0.5, maps.problem, ha="center", va="center", fontsize=11)


def _save(figure: Any, maps: Maps, out_file: Path) -> Path:
    if maps.problem:
        _explain(figure, maps)
    figure.savefig(out_file, dpi=DPI, facecolor="white", bbox_inches="tight")
    plt.close(figure)
    return out_file
