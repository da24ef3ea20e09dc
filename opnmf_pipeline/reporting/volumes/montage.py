"""Figures of the components and of their parts in the brain."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
from matplotlib.colors import ListedColormap
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import (
    SMALLEST_SHARE,
    STYLE,
    WEIGHTS,
    add_parts_legend,
    add_weight_scale,
    part_colours,
    save,
)

__all__ = ["VIEWS", "draw_components", "draw_parts", "template_image"]

VIEWS = "in three cuts through the largest weight"
TEMPLATE_MM = 2
MAX_COLUMNS = 3
"""More columns would make the cuts too small on a printed page."""
PANEL_INCHES = (3.1, 1.6)
TEXT_POINTS = 7
TITLE_POINTS = 8
TITLE_CHARACTERS = 42
"""Longer lines of a title would run into the next panel."""
N_SLICES = 6
ENDS = (4, 96)
"""Percentiles of the positions of the voxels between which a picture is cut."""
LEGEND_COLUMNS = 14
BLACK: Any = {**STYLE, "figure.constrained_layout.use": False, "figure.facecolor": "black"}
"""Style of the figures on black; nilearn places its cuts by itself."""


def template_image() -> Any:
    """Return the MNI152 template that components are drawn on."""
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=TEMPLATE_MM)


def draw_components(
    components_file: Path, titles: Sequence[str], background: Any, out_file: Path
) -> Path:
    """Draw every component in three cuts through its largest weight.

    Parameters
    ----------
    components_file : path
        4D image, one component per volume.
    titles : sequence of str
        Number and possibly name of each component.
    background : nibabel image
        Brain to draw on, in the same space.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    from nilearn import plotting

    components: Any = nb.load(components_file)
    k = components.shape[3]
    n_columns = min(MAX_COLUMNS, k)
    n_rows = -(-k // n_columns)
    width, height = PANEL_INCHES
    with plt.rc_context(BLACK):
        figure, axes = plt.subplots(
            n_rows, n_columns, figsize=(width * n_columns, height * n_rows), squeeze=False
        )
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0.03, hspace=0.34)
        for number, axis in enumerate(axes.flat):
            axis.axis("off")
            if number >= k:
                continue
            volume = components.slicer[..., number]
            weights = np.asarray(volume.dataobj)
            peak = np.unravel_index(np.argmax(weights), weights.shape)
            with warnings.catch_warnings():
                # nilearn warns about a component without weight
                warnings.filterwarnings("ignore", "empty mask", UserWarning)
                display = plotting.plot_stat_map(
                    volume,
                    bg_img=background,
                    cut_coords=apply_affine(volume.affine, peak),
                    threshold=weights.max() * SMALLEST_SHARE,
                    vmin=0,
                    vmax=weights.max(),
                    cmap=WEIGHTS,
                    symmetric_cbar=False,
                    colorbar=False,
                    draw_cross=False,
                    annotate=False,
                    black_bg=True,
                    axes=axis,
                )
            display.annotate(size=TEXT_POINTS)
            lines = wrap(titles[number], TITLE_CHARACTERS, max_lines=2, placeholder=" …")
            axis.set_title("\n".join(lines), color="white", loc="center", fontsize=TITLE_POINTS)
        add_weight_scale(figure, text="white")
        return save(figure, out_file, bbox_inches="tight")


def _even_cuts(labels: Any) -> list[NDArray[np.float64]]:
    """Return evenly spaced cuts through the labelled voxels, in mm, for each axis of space."""
    inside = np.argwhere(np.asanyarray(labels.dataobj) > 0)
    ends = np.percentile(apply_affine(labels.affine, inside), ENDS, axis=0)
    return [np.unique(np.linspace(low, high, N_SLICES)) for low, high in ends.T]


def draw_parts(labels_file: Path, titles: Sequence[str], background: Any, out_file: Path) -> Path:
    """Draw the winner-takes-all label map in rows of sagittal, coronal and axial cuts.

    The cuts depend only on the mask, so that the pictures of two label maps can be compared.

    Parameters
    ----------
    labels_file : path
        3D image of labels, 0 for none.
    titles : sequence of str
        Title of each component, for the legend.
    background : nibabel image
        Brain to draw on, in the same space.
    out_file : path
        PNG to write.

    Returns
    -------
    path
        ``out_file``.
    """
    from nilearn import plotting

    labels: Any = nb.load(labels_file)
    k = len(titles)
    colours = part_colours(k)
    with plt.rc_context(BLACK):
        figure, axes = plt.subplots(3, 1, figsize=(9, 5))
        for axis, direction, cuts in zip(axes, "xyz", _even_cuts(labels), strict=True):
            axis.axis("off")
            display = plotting.plot_roi(
                labels,
                bg_img=background,
                display_mode=direction,
                cut_coords=cuts,
                cmap=ListedColormap(colours),
                vmin=1,
                vmax=k,
                alpha=0.8,
                colorbar=False,
                annotate=False,
                black_bg=True,
                axes=axis,
            )
            display.annotate(size=TEXT_POINTS + 1)
        add_parts_legend(
            figure,
            titles,
            colours,
            top=0.08,
            columns=LEGEND_COLUMNS,
            text="white",
            facecolor="black",
        )
        return save(figure, out_file, bbox_inches="tight")
