"""Picture of the course of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from opnmf_pipeline.reporting.figure import BLUE, ORANGE, STYLE, png

__all__ = ["draw_course"]


def draw_course(history: Mapping[str, Sequence[float]], tol: float) -> bytes:
    """Draw the error and the change of W against sweeps over the data.

    Parameters
    ----------
    history : mapping
        ``objective`` and ``change``, one value per sweep.
    tol : float
        Change at which a fit ends.

    Returns
    -------
    bytes
        PNG.
    """
    objective, change = np.array(history["objective"]), np.array(history["change"])
    sweeps = np.arange(1, len(objective) + 1)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.7))
        _line(left, sweeps, objective)
        left.set(xlabel="sweep", ylabel="reconstruction error")
        left.ticklabel_format(axis="y", useOffset=False)
        _line(right, sweeps, np.where(change > 0, change, np.nan))
        right.set(xlabel="sweep", ylabel="relative change of W", yscale="log")
        if tol > 0:
            right.axhline(tol, color=ORANGE, linestyle="--", linewidth=1)
            right.annotate(
                f"tolerance {tol:g}",
                (0, tol),
                (3, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=ORANGE,
            )
        return png(figure)


def _line(axis: Any, sweeps: Any, values: Any) -> None:
    axis.plot(sweeps, values, color=BLUE, marker="o" if len(sweeps) < 60 else None, markersize=3)
    if len(sweeps) > 100:
        axis.set_xscale("log")
