"""Figure of the course of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from opnmf_pipeline.reporting.figure import BLUE, ORANGE, STYLE, Figure, png

__all__ = ["draw_course"]


def draw_course(info: Mapping[str, Any], tolerance: float | None) -> Figure | None:
    """Draw the error and the change of W against sweeps over the data; None after a single sweep.

    Parameters
    ----------
    info : dict
        Content of ``factorization.json``; ``History`` has one ``objective`` and one ``change``
        for each sweep.
    tolerance : float or None
        Change at which the fit ends; None if the solver uses another criterion.
    """
    history = info["History"]
    objective, change = np.array(history["objective"]), np.array(history["change"])
    sweeps = np.arange(1, len(objective) + 1)
    if len(sweeps) < 2:
        return None
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.7))
        _line(left, sweeps, objective)
        left.set(xlabel="sweep over the data", ylabel="error (units of the data)")
        left.ticklabel_format(axis="y", useOffset=False)
        _line(right, sweeps, np.where(change > 0, change, np.nan))
        right.set(xlabel="sweep over the data", ylabel="relative change of W", yscale="log")
        if tolerance:
            _mark(right, tolerance)
        image = png(figure)
    lowest = int(objective.argmin())
    # errors of the course count missing values, which were filled with those of the last fit
    of = ", of the observed values" if info.get("MissingValues") else ""
    return Figure(
        image,
        alt=f"Curves of the error and of the change of W over {len(sweeps)} sweeps",
        caption="Course of the fit: reconstruction error and relative change of W after each "
        f"sweep over the data. The lowest error is {objective[lowest]:.5g}, after sweep "
        f"{sweeps[lowest]}; the error of the result is "
        f"{info['ReconstructionError']:.5g}{of}.",
    )


def _line(axis: Any, sweeps: Any, values: Any) -> None:
    axis.plot(sweeps, values, color=BLUE, marker="o" if len(sweeps) < 60 else None, markersize=3)
    if len(sweeps) > 100:
        axis.set_xscale("log")
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _mark(axis: Any, tolerance: float) -> None:
    axis.axhline(tolerance, color=ORANGE, linestyle="--", linewidth=1)
    axis.annotate(
        f"tolerance {tolerance:g}",
        (0, tolerance),
        (3, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=ORANGE,
    )
