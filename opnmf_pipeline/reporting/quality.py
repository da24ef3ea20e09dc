"""Pictures of the quality of a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import BLUE, ORANGE, STYLE, Figure, png

__all__ = ["draw_cohort_maps", "draw_errors"]

N_CUTS = 9
MAX_NAMED = 6
JITTER = 0.16
LINE = 0.045
"""Smallest distance between two names, as a share of the height of the picture."""


def draw_cohort_maps(maps: Mapping[str, Path], mask_file: Path) -> Figure:
    """Draw maps in axial cuts, one below the other; what is outside the mask stays white.

    Parameters
    ----------
    maps : mapping of str to path
        3D images by title.
    mask_file : path
        The voxels that they have values in.
    """
    inside = _upright(mask_file)[0] != 0
    layers = np.flatnonzero(inside.any(axis=(0, 1)))
    # The first and last layers hold little
    cuts = layers[np.rint(np.linspace(0.06, 0.94, N_CUTS) * (len(layers) - 1)).astype(int)]
    columns, rows = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    frame = (slice(columns[0], columns[-1] + 1), slice(rows[0], rows[-1] + 1))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(
            len(maps), N_CUTS, figsize=(12, 1.75 * len(maps)), squeeze=False
        )
        for row, (title, path) in zip(axes, maps.items(), strict=True):
            values, affine = _upright(path)
            low, high = _range(values[inside])
            for axis, cut in zip(row, cuts, strict=True):
                shown = np.where(inside[..., cut], values[..., cut], np.nan)[frame]
                drawn = axis.imshow(shown.T, origin="lower", cmap="viridis", vmin=low, vmax=high)
                axis.axis("off")
                height = apply_affine(affine, (0, 0, cut))[2]
                axis.text(0, 0, f"z = {height:.0f}", transform=axis.transAxes, fontsize=7)
            row[0].set_title(title, loc="left", fontsize=10, fontweight="bold")
            figure.colorbar(drawn, ax=list(row), shrink=0.85, pad=0.01)
        image = png(figure)
    return Figure(
        image,
        alt=f"{N_CUTS} axial cuts of: {'; '.join(maps)}",
        caption="Voxels of the mask in axial cuts (z in mm); the left of the picture is the left "
        "of the brain.",
    )


def _upright(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an image with axes that run to the right, to the front and up, and its affine."""
    image: Any = nb.as_closest_canonical(nb.load(path))
    return np.asarray(image.dataobj).reshape(image.shape[:3]), image.affine


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the range of most values; one that has a width."""
    low, high = np.percentile(values, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(low) - 0.05, float(high) + 0.05)


def draw_errors(errors: pd.DataFrame, flagged: pd.DataFrame) -> Figure:
    """Draw each subject's reconstruction error for each number of components.

    Parameters
    ----------
    errors : DataFrame
        Relative errors: one row per subject, one column per number of components.
    flagged : DataFrame
        Whether each of them is an outlier.
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
        axis.set_ylabel("reconstruction error / norm of image")
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
    """Write names beside their points, from the top down and none over another."""
    low, high = axis.get_ylim()
    free = np.inf
    for name, value in worst.items():
        free = min(value, free - LINE * (high - low))
        axis.text(place + JITTER + 0.05, free, str(name), fontsize=7, va="center")
