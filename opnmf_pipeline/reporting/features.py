"""Pictures of the components of tables: bars of the largest weights, and the features of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import (
    BLUE,
    STYLE,
    Figure,
    add_parts_legend,
    part_colours,
    plain,
    png,
    save,
)
from opnmf_pipeline.reporting.viewer import Embedded
from opnmf_pipeline.tables import read_table

__all__ = ["VIEWS", "draw_cohort_maps", "draw_components", "draw_parts", "embed", "template_image"]

N_BARS = 10
"""Number of features of each component in the bars."""
VIEWS = f"as bars of the {N_BARS} largest weights of its features"
PER_ROW = 3
MAX_NAMED = 500
"""With more features, the list of the parts has no names: they would not be legible."""
PER_BLOCK = 46
"""Number of features below each other in this list."""
MAX_TICKS = 130
LONGEST_NAME = 40
ROW_INCHES, CELL_INCHES, NAME_INCHES = 0.125, 0.16, 0.058


def template_image() -> Any:
    """Return None: features have no background."""
    return


def draw_components(
    components_file: Path, titles: Sequence[str], background: Any, out_file: Path
) -> Path:
    """Draw the features of largest weight of every component.

    Parameters
    ----------
    components_file : path
        Table with one column per component.
    titles : sequence of str
        Number and possibly name of each component.
    background : object
        Not used.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    names, W = _read(components_file)
    k = W.shape[1]
    n_columns = min(k, PER_ROW)
    n_rows = -(-k // n_columns)
    n_bars = min(N_BARS, len(names))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(4.2 * n_columns, (0.15 * n_bars + 0.55) * n_rows),
            squeeze=False,
        )
        for axis in axes.flat[k:]:
            axis.set_axis_off()
        for axis, weights, title, colour in zip(
            axes.flat, W.T, titles, part_colours(k), strict=False
        ):
            rows = np.argsort(-weights, kind="stable")[:n_bars]
            axis.barh(np.arange(n_bars), weights[rows], color=colour)
            axis.set_yticks(np.arange(n_bars), [_shown(name) for name in names[rows]], fontsize=7)
            axis.tick_params(axis="y", length=0)
            axis.tick_params(axis="x", labelsize=7)
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.grid(visible=False, axis="y")
            axis.invert_yaxis()
            axis.set_title(plain(title), fontsize=9)
        return save(figure, out_file)


def draw_parts(labels_file: Path, titles: Sequence[str], background: Any, out_file: Path) -> Path:
    """Draw the features of each part next to each other, in the colour of the part.

    Parameters
    ----------
    labels_file : path
        Table of the winner-takes-all labels, 0 for none.
    titles : sequence of str
        Title of each component, for the legend.
    background : object
        Not used.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    names, values = _read(labels_file)
    labels, k = values[:, 0].astype(int), len(titles)
    names, labels = names[labels > 0], labels[labels > 0]
    order = np.argsort(labels, kind="stable")
    names, labels = names[order], labels[order]
    colours = part_colours(k)
    n_blocks = -(-len(names) // PER_BLOCK) if len(names) <= MAX_NAMED else 1
    blocks = np.array_split(np.arange(len(names)), max(n_blocks, 1))
    height = ROW_INCHES * min(len(blocks[0]), PER_BLOCK)
    width = NAME_INCHES * max(map(len, map(_shown, names)), default=1) + CELL_INCHES
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(
            1, len(blocks), figsize=(width * len(blocks) + 0.3, height + 0.6), squeeze=False
        )
        for axis, rows in zip(axes.flat, blocks, strict=True):
            strip = np.array(colours)[labels[rows] - 1][:, np.newaxis]
            axis.imshow(strip, aspect="auto")
            axis.set_xticks([])
            for side in axis.spines.values():
                side.set_visible(False)
            if len(names) <= MAX_NAMED:
                axis.yaxis.tick_right()
                axis.set_yticks(range(len(rows)), list(map(_shown, names[rows])), fontsize=6.5)
                axis.tick_params(axis="y", length=0)
            else:
                axis.set_yticks([])
        add_parts_legend(figure, titles, colours, top=0.0, columns=12)
        return save(figure, out_file, bbox_inches="tight")


def draw_cohort_maps(maps: Mapping[str, Path], mask_file: Path, background: Any = None) -> Figure:
    """Draw a value for each feature of the mask, one map per row.

    Parameters
    ----------
    maps : mapping of str to path
        Tables of one column, by title.
    mask_file : path
        Mask on the features of the maps.
    background : object
        Not used.
    """
    names, mask = _read(mask_file)
    inside = mask[:, 0] != 0
    names = names[inside]
    named = len(names) <= MAX_TICKS
    longest = max(len(_shown(name)) for name in names)
    below = NAME_INCHES * longest if named else 0.2
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(maps), 1, figsize=(10.8, 1.3 * len(maps) + below), squeeze=False, sharex=True
        )
        for axis, (title, path) in zip(axes.flat, maps.items(), strict=True):
            _draw_values(axis, _read(path)[1][inside, 0])
            axis.set_title(title)
        last = axes.flat[-1]
        if named:
            ticks = np.arange(len(names))
            last.set_xticks(ticks, map(_shown, names), rotation=90, fontsize=5.5)
        else:
            last.set_xlabel("feature, in the order of the table")
        image = png(figure)
    return Figure(
        image,
        alt=f"One value for each of {len(names)} features: {'; '.join(maps)}",
        caption="One bar for each feature, in the order of the table.",
    )


def _read(path: Path) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    """Return the names of the features in a table, and their values, one column per map."""
    table = read_table(path)
    values = table.iloc[:, 1:].to_numpy(dtype=object).astype(np.float64)
    return table.iloc[:, 0].to_numpy(dtype=str), values


def _draw_values(axis: Any, values: NDArray[np.float64]) -> None:
    places = np.arange(len(values))
    if len(values) <= MAX_NAMED:
        axis.bar(places, values, color=BLUE)
    else:
        axis.plot(places, values, color=BLUE, linewidth=0.5)
    axis.set_xlim(-0.8, len(values) - 0.2)
    axis.grid(visible=False, axis="x")


def embed(images: Sequence[Any], *, meshes: Sequence[Path] = ()) -> Embedded | None:
    """Return None: the viewer of the report shows brains."""
    return None


def _shown(name: Any) -> str:
    """Return the name of a feature for a picture; its middle is left out if it is long."""
    text, half = str(name), LONGEST_NAME // 2
    return plain(text if len(text) <= LONGEST_NAME else f"{text[:half]}…{text[-half:]}")
