"""Stage ``figures``: pictures of one factorization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.images.maps import unmasked
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.volumes import open_image
from opnmf_pipeline.reporting.montage import draw_components, draw_parts

__all__ = ["draw_figures", "template_image"]

TEMPLATE_MM = 2


def draw_figures(
    components_file: Path,
    labels_file: Path,
    matrix_file: Path,
    mask_file: Path,
    out_dir: Path,
    *,
    on_template: bool,
) -> Path:
    """Draw every component and the map of all parts.

    Parameters
    ----------
    components_file, labels_file : path
        Images of :func:`opnmf_pipeline.stages.maps.write_maps`.
    matrix_file : path
        ``matrix.json``, for the mean of the subjects.
    mask_file : path
        Its mask.
    out_dir : path
        Existing folder that gets ``components.png`` and ``dseg.png``.
    on_template : bool
        Draw on the MNI152 template rather than on the mean of the subjects.

    Returns
    -------
    path
        ``out_dir``.
    """
    background = template_image() if on_template else _mean_image(matrix_file, mask_file)
    draw_components(components_file, background, out_dir / "components.png")
    draw_parts(labels_file, background, out_dir / "dseg.png")
    return out_dir


def template_image() -> Any:
    """Return the MNI152 template that components are drawn on."""
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=TEMPLATE_MM)


def _mean_image(matrix_file: Path, mask_file: Path) -> Any:
    X, _ = read_matrix(matrix_file)
    return unmasked(X.mean(axis=1, dtype=np.float64).astype(np.float32), open_image(mask_file))
