"""Picture of the course of a fit."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

__all__ = ["draw_course"]


def draw_course(history: Mapping[str, Sequence[float]]) -> bytes:
    """Draw error and change against iterations.

    Parameters
    ----------
    history : mapping
        ``objective`` and ``change``, one value per iteration.

    Returns
    -------
    bytes
        PNG.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
    iterations = range(1, len(history["objective"]) + 1)
    left.semilogx(iterations, history["objective"], color="#1f4e79")
    left.set(xlabel="iteration", ylabel="reconstruction error")
    right.loglog(iterations, history["change"], color="#1f4e79")
    right.set(xlabel="iteration", ylabel="relative change of W")
    buffer = io.BytesIO()
    # Without the date and version that matplotlib would add, equal results are equal bytes
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()
