"""A figure with its caption, and the style of all figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Patch

__all__ = [
    "BLUE",
    "DPI",
    "GREEN",
    "GREY",
    "ORANGE",
    "PURPLE",
    "SMALLEST_SHARE",
    "STYLE",
    "WEIGHTS",
    "Figure",
    "add_parts_legend",
    "add_weight_scale",
    "part_colours",
    "plain",
    "png",
    "save",
]

BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
"""Colours that readers with red-green colour blindness can distinguish (Okabe and Ito 2008)."""
GREY = "#8c8c8c"
"""Colour of bounds, marks, and lines at zero."""
DPI = 150
WEIGHTS = "inferno"
"""Colours of the weights of components."""
SMALLEST_SHARE = 0.05
"""Weights below this share of the largest weight of the component are not drawn."""
NAMED_COLUMNS = 2
"""Columns of the legend of a label map whose components have names."""
LEGEND_CHARACTERS = 75
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.color": "#e2e2e2",
    "legend.edgecolor": "none",
    "legend.fontsize": 8,
    "legend.framealpha": 0.75,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}
"""Style of all figures, for :func:`matplotlib.pyplot.rc_context`."""


def part_colours(k: int) -> list[tuple[float, float, float]]:
    """Return the colour of each of k parts, the same in every figure.

    There are no greys, which are hard to see on the brain. Up to nine parts differ in hue.
    """
    paired = np.array(matplotlib.color_sequences["tab20"])
    distinct = [colour for colour in [*paired[::2], *paired[1::2]] if np.ptp(colour) > 0]
    if k > len(distinct):
        distinct = [*plt.get_cmap("turbo")(np.linspace(0.08, 0.95, k))[:, :3]]
    return [(float(r), float(g), float(b)) for r, g, b in distinct[:k]]


def add_parts_legend(
    figure: Any,
    titles: Sequence[str],
    colours: Sequence[tuple[float, float, float]],
    *,
    top: float,
    columns: int,
    text: str = "black",
    **style: Any,
) -> None:
    """Add a legend of a label map below a figure.

    Parameters
    ----------
    figure : matplotlib figure
    titles : sequence of str
        Number and possibly name of each component, such as ``component 1: Left insula``.
    colours : sequence of tuple of float
        Colour of each part.
    top : float
        Upper end of the legend, as a share of the height of the figure.
    columns : int
        Largest number of columns, if the components have no names.
    text : str
        Colour of the texts.
    style
        Other arguments of :meth:`matplotlib.figure.Figure.legend`.
    """
    texts = [shorten(title.removeprefix("component "), LEGEND_CHARACTERS) for title in titles]
    named = any(":" in label for label in texts)
    legend = figure.legend(
        handles=[
            Patch(color=colour, label=plain(label))
            for label, colour in zip(texts, colours, strict=True)
        ],
        title="component",
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=NAMED_COLUMNS if named else min(len(texts), columns),
        labelcolor=text,
        title_fontproperties={"size": 9},
        **style,
    )
    legend.get_title().set_color(text)


def add_weight_scale(figure: Any, *, text: str = "black") -> None:
    """Add the colour bar of all components below them, with the smallest weight that is drawn.

    Parameters
    ----------
    figure : matplotlib figure
    text : str
        Colour of the texts.
    """
    width, height = figure.get_size_inches()
    axis = figure.add_axes((0.5 - 1.3 / width, -0.2 / height, 2.6 / width, 0.1 / height))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), WEIGHTS),
        cax=axis,
        orientation="horizontal",
        ticks=[100 * SMALLEST_SHARE, 25, 50, 75, 100],
    )
    bar.ax.set_xlim(100 * SMALLEST_SHARE, 100)
    bar.set_label(
        f"weight (% of the largest weight of the component); below {SMALLEST_SHARE:.0%}: not drawn",
        color=text,
        fontsize=8,
    )
    bar.ax.tick_params(colors=text, labelsize=8)


def plain(name: str) -> str:
    """Return a name that matplotlib shows as it is; between dollar signs, it expects a formula."""
    return name.replace("$", r"\$")


@dataclass(frozen=True)
class Figure:
    """A picture with its texts.

    Attributes
    ----------
    image : bytes or path
        Content or path of a PNG file.
    alt : str
        Alternative text for readers who cannot see the picture.
    caption : str
        Text below the picture.
    """

    image: bytes | Path
    alt: str
    caption: str


def png(figure: Any, **options: Any) -> bytes:
    """Close a matplotlib figure and return it as PNG.

    Parameters
    ----------
    figure : matplotlib figure
    options
        Arguments of :meth:`matplotlib.figure.Figure.savefig`.
    """
    buffer = io.BytesIO()
    # Without the date and version that matplotlib would add, equal results give equal bytes
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None}, **options)
    plt.close(figure)
    return buffer.getvalue()


def save(figure: Any, out_file: Path, **options: Any) -> Path:
    """Close a matplotlib figure and write it as PNG; return the path. See :func:`png`."""
    out_file.write_bytes(png(figure, **options))
    return out_file
