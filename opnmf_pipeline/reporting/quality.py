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

from opnmf_pipeline.reporting.figure import BLUE, ORANGE, STYLE, Figure, png

__all__ = ["draw_cohort_maps", "draw_errors"]

N_CUTS = 8
MAX_NAMED = 6
JITTER = 0.16


def draw_cohort_maps(maps: Mapping[str, Path], mask_file: Path) -> Figure:
    """Draw maps in axial cuts, one below the other.

    Parameters
    ----------
    maps : mapping of str to path
        3D images by title.
    mask_file : path
        The voxels that they have values in.
    """
    from nilearn import plotting

    mask: Any = nb.load(mask_file)
    inside = np.asarray(mask.dataobj) != 0
    heights = apply_affine(mask.affine, np.argwhere(inside))[:, 2]
    lowest, highest = np.percentile(heights, (4, 96))
    cuts = np.linspace(lowest, highest, N_CUTS)
    figure, axes = plt.subplots(len(maps), 1, figsize=(13, 2.1 * len(maps)), squeeze=False)
    for axis, (title, path) in zip(axes.flat, maps.items(), strict=True):
        image: Any = nb.load(path)
        values = np.asarray(image.dataobj)[inside]
        low, high = _range(values)
        display = plotting.plot_img(
            image,
            display_mode="z",
            cut_coords=cuts,
            cmap="viridis",
            vmin=low,
            vmax=high,
            colorbar=True,
            annotate=False,
            black_bg=False,
            axes=axis,
        )
        display.annotate(size=8, left_right=False)
        axis.set_title(title, loc="left", fontsize=11)
    return Figure(
        png(figure, bbox_inches="tight", facecolor="white"),
        alt="Axial cuts of " + ", ".join(maps),
        caption="Voxels of the mask, in axial cuts (mm); the left of the picture is the left of "
        "the brain.",
    )


def _range(values: Any) -> tuple[float, float]:
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
        figure, axis = plt.subplots(figsize=(min(9.0, 3.5 + 1.1 * errors.shape[1]), 3.4))
        for place, k in enumerate(errors):
            odd = flagged[k].to_numpy()
            values = errors[k].to_numpy()
            axis.plot(place + offsets[~odd], values[~odd], "o", ms=3, color=BLUE, alpha=0.45)
            axis.plot(place + offsets[odd], values[odd], "D", ms=5, color=ORANGE)
            axis.hlines(np.median(values), place - 0.3, place + 0.3, color="#222222", linewidth=1.5)
            worst = errors[k][odd].nlargest(MAX_NAMED)
            for name, value in worst.items():
                x = place + offsets[errors.index.get_loc(name)]
                axis.annotate(
                    str(name),
                    (x, value),
                    (5, 0),
                    textcoords="offset points",
                    fontsize=7,
                    va="center",
                )
        axis.set_xticks(range(errors.shape[1]), [f"k = {k}" for k in errors])
        axis.set_xlim(-0.5, errors.shape[1] - 0.1)
        axis.set_ylabel("reconstruction error / norm of the image")
        image = png(figure)
    names = sorted({str(name) for k in flagged for name in errors.index[flagged[k]]})
    return Figure(
        image,
        alt=f"Reconstruction error of {len(errors)} subjects; outliers: "
        + (", ".join(names) or "none"),
        caption="Reconstruction error of each subject, ‖x − Wh‖ / ‖x‖; the line is the median, "
        "diamonds are outliers.",
    )
