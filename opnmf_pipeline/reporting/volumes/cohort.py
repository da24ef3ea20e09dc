"""Maps of the quality of a cohort, in cuts through the brain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import STYLE, Figure, png

__all__ = ["draw_cohort_maps"]

N_CUTS = 9


def draw_cohort_maps(maps: Mapping[str, Path], mask_file: Path, background: Any = None) -> Figure:
    """Draw maps in axial cuts, one map per row; voxels outside the mask are white.

    Parameters
    ----------
    maps : mapping of str to path
        3D images by title.
    mask_file : path
        Mask on the grid of the maps.
    background : object
        Not used: maps cover the whole mask.
    """
    inside = _upright(mask_file)[0] != 0
    layers = np.flatnonzero(inside.any(axis=(0, 1)))
    # The first and last layers contain few voxels
    cuts = layers[np.rint(np.linspace(0.06, 0.94, N_CUTS) * (len(layers) - 1)).astype(int)]
    columns, rows = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    frame = (slice(columns[0], columns[-1] + 1), slice(rows[0], rows[-1] + 1))
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure = plt.figure(figsize=(10.8, 1.75 * len(maps)))
        parts = figure.subfigures(len(maps), 1, squeeze=False)[:, 0]
        for part, (title, path) in zip(parts, maps.items(), strict=True):
            row = part.subplots(1, N_CUTS)
            values, affine = _upright(path)
            low, high = _range(values[inside])
            for axis, cut in zip(row, cuts, strict=True):
                shown = np.where(inside[..., cut], values[..., cut], np.nan)[frame]
                drawn = axis.imshow(shown.T, origin="lower", cmap="viridis", vmin=low, vmax=high)
                axis.axis("off")
                height = apply_affine(affine, (0, 0, cut))[2]
                place = {"transform": axis.transAxes, "ha": "center", "va": "top"}
                axis.text(0.5, -0.02, f"z = {height:.0f}", fontsize=8, **place)
            part.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
            part.colorbar(drawn, ax=list(row), shrink=0.85, pad=0.01)
        image = png(figure)
    return Figure(
        image,
        alt=f"{N_CUTS} axial cuts of: {'; '.join(maps)}",
        caption="Voxels of the mask in axial cuts (z in mm); the left of the picture is the left "
        "of the brain.",
    )


def _upright(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return an image in RAS orientation, and its affine."""
    image: Any = nb.as_closest_canonical(nb.load(path))
    return np.asarray(image.dataobj).reshape(image.shape[:3]), image.affine


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentiles, widened if they are equal."""
    low, high = np.percentile(values, (0.5, 99.5))
    return (float(low), float(high)) if high > low else (float(low) - 0.05, float(high) + 0.05)
