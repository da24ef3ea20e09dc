"""Colours of the parts of a label map, the same in pictures and in files."""

from __future__ import annotations

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

__all__ = ["part_colours"]


def part_colours(k: int) -> list[tuple[float, float, float, float]]:
    """Return one colour per part, without greys, which are hard to see on the brain.

    Returns
    -------
    list of (red, green, blue, alpha)
        Values from 0 to 1; alpha is 1.
    """
    distinct = [colour for colour in matplotlib.color_sequences["tab20"] if len(set(colour)) > 1]
    if k <= len(distinct):
        return [(*colour[:3], 1.0) for colour in distinct[:k]]
    shades = plt.get_cmap("turbo")(np.linspace(0.08, 0.95, k))
    return [(float(red), float(green), float(blue), 1.0) for red, green, blue, _ in shades]
