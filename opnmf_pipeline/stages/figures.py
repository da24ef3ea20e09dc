"""Stage ``figures``: pictures of one factorization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.spaces import open_mask, space_of

__all__ = ["draw_figures"]


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
        Draw on the template of the space (MNI152 for volumes), not on the mean of the subjects.

    Returns
    -------
    path
        ``out_dir``.
    """
    pictures = space_of(mask_file).pictures
    background = pictures.template_image() if on_template else _mean_image(matrix_file, mask_file)
    pictures.draw_components(components_file, background, out_dir / "components.png")
    pictures.draw_parts(labels_file, background, out_dir / "dseg.png")
    return out_dir


def _mean_image(matrix_file: Path, mask_file: Path) -> Any:
    X, _ = read_matrix(matrix_file)
    return open_mask(mask_file).unmasked(X.mean(axis=1, dtype=np.float64).astype(np.float32))
