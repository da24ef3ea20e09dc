"""Figure of the reconstruction errors of a cohort."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from opnmf_pipeline.reporting.figure import BLUE, ORANGE, STYLE, Figure, plain, png

__all__ = ["draw_errors"]

MAX_NAMED = 6
JITTER = 0.16
LINE = 0.045
"""Smallest distance between two names, as a share of the height of the picture."""


def draw_errors(errors: pd.DataFrame, flagged: pd.DataFrame) -> Figure:
    """Draw each subject's reconstruction error for each number of components.

    Parameters
    ----------
    errors : DataFrame
        Relative errors: one row per subject, one column per number of components.
    flagged : DataFrame
        Whether each value is an outlier; same shape as ``errors``.
    """
    offsets = np.random.default_rng(0).uniform(-JITTER, JITTER, len(errors))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(min(11.0, 2.2 + 1.9 * errors.shape[1]), 3.4))
        for place, k in enumerate(errors):
            odd, values = flagged[k].to_numpy(), errors[k].to_numpy()
            axis.plot(place + offsets[~odd], values[~odd], "o", ms=3, color=BLUE, alpha=0.45)
            axis.plot(place + offsets[odd], values[odd], "D", ms=4.5, color=ORANGE)
            axis.hlines(np.median(values), place - 0.3, place + 0.3, color="#222222", linewidth=1.5)
            _name(axis, place, errors[k][odd].nlargest(MAX_NAMED))
        axis.set_xticks(range(errors.shape[1]), [f"k = {k}" for k in errors])
        axis.set_xlim(-0.5, errors.shape[1] - 0.2)
        axis.set_ylabel("reconstruction error / norm of the values")
        axis.grid(visible=False, axis="x")
        image = png(figure)
    names = sorted({str(name) for k in flagged for name in errors.index[flagged[k]]})
    return Figure(
        image,
        alt=f"Reconstruction error of {len(errors)} subjects; outliers: "
        + (", ".join(names) or "none"),
        caption="Reconstruction error of each subject, ‖x − Wh‖ / ‖x‖; the line is the median, "
        "diamonds are outliers.",
    )


def _name(axis: Any, place: int, worst: pd.Series[float]) -> None:
    """Write names next to their points, from top to bottom and without overlap."""
    low, high = axis.get_ylim()
    free = np.inf
    for name, value in worst.items():
        free = min(value, free - LINE * (high - low))
        axis.text(place + JITTER + 0.05, free, plain(str(name)), fontsize=7, va="center")
