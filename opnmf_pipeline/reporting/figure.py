"""A picture of a page, and the style that all plots share."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

__all__ = ["BLUE", "ORANGE", "STYLE", "Figure", "png"]

BLUE, ORANGE = "#1f4e79", "#b35900"
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e2e2e2",
    "figure.constrained_layout.use": True,
}
"""For :func:`matplotlib.pyplot.rc_context`."""


@dataclass(frozen=True)
class Figure:
    """A picture with the words that belong to it.

    Attributes
    ----------
    image : bytes or path
        PNG.
    alt : str
        What it shows, for those who do not see it.
    caption : str
        What stands below it.
    """

    image: bytes | Path
    alt: str
    caption: str


def png(figure: Any, **options: Any) -> bytes:
    """Close a matplotlib figure and return it as PNG."""
    buffer = io.BytesIO()
    # Without the date and version that matplotlib would add, equal results are equal bytes
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None}, **options)
    plt.close(figure)
    return buffer.getvalue()
