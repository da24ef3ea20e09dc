"""Figures of the components and of their parts in the brain."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
from matplotlib.colors import ListedColormap
from nibabel.affines import apply_affine

from opnmf_pipeline.reporting.colours import part_colours

__all__ = ["VIEWS", "draw_components", "draw_parts", "template_image"]

VIEWS = "in three cuts through the largest weight"
TEMPLATE_MM = 2
MAX_COLUMNS = 3
"""More columns would make the cuts too small on a printed page."""
PANEL_INCHES = (5.0, 2.2)
TEXT_POINTS = 7
PARTS_POINTS = 10
N_SLICES = 7


def template_image() -> Any:
    """Return the MNI152 template that components are drawn on."""
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=TEMPLATE_MM)


def draw_components(components_file: Path, background: Any, out_file: Path) -> Path:
    """Draw every component in three cuts through its largest weight.

    Parameters
    ----------
    components_file : path
        4D image, one component per volume.
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
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=(width * n_columns, height * n_rows), squeeze=False
    )
    figure.patch.set_facecolor("black")
    for number, axis in enumerate(axes.flat):
        axis.set_facecolor("black")
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
                threshold=weights.max() / 20,
                vmin=0,
                vmax=weights.max(),
                cmap="inferno",
                symmetric_cbar=False,
                colorbar=False,
                draw_cross=False,
                annotate=False,
                black_bg=True,
                axes=axis,
            )
        display.annotate(size=TEXT_POINTS)
        axis.set_title(f"component {number + 1}", color="white", fontsize=10)
    return _save(figure, out_file)


def draw_parts(labels_file: Path, background: Any, out_file: Path) -> Path:
    """Draw the winner-takes-all label map in rows of sagittal, coronal and axial cuts.

    Parameters
    ----------
    labels_file : path
        3D image of labels, 0 for none.
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
    k = max(1, int(np.max(labels.dataobj)))
    figure, axes = plt.subplots(3, 1, figsize=(14, 7))
    figure.patch.set_facecolor("black")
    for axis, direction in zip(axes, "xyz", strict=True):
        axis.set_facecolor("black")
        display = plotting.plot_roi(
            labels,
            bg_img=background,
            display_mode=direction,
            cut_coords=min(N_SLICES, labels.shape["xyz".index(direction)]),
            cmap=ListedColormap(part_colours(k)),
            vmin=1,
            vmax=k,
            alpha=0.8,
            colorbar=False,
            annotate=False,
            black_bg=True,
            axes=axis,
        )
        display.annotate(size=PARTS_POINTS)
    return _save(figure, out_file)


def _save(figure: Any, out_file: Path) -> Path:
    figure.savefig(out_file, dpi=100, facecolor="black", bbox_inches="tight")
    plt.close(figure)
    return out_file
