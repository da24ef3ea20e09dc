"""Stage ``figures``: pictures of one factorization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.images.maps import unmasked
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.volumes import open_image
from opnmf_pipeline.reporting.montage import draw_components, draw_parts
from opnmf_pipeline.stages.maps import COMPONENTS_FILE, LABELS_FILE
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.stage import MASK_FILE, MATRIX_DIR, Call, Field, Kind, Stage

__all__ = ["DRAW_FIGURES", "FIGURES_FILES", "ON_TEMPLATE", "draw_figures", "template_image"]

FIGURES_FILES = {"montage": "components.png", "parts": "dseg.png"}
"""What the stage writes, by the name of the output of a run that each file becomes."""

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
    draw_components(components_file, background, out_dir / FIGURES_FILES["montage"])
    draw_parts(labels_file, background, out_dir / FIGURES_FILES["parts"])
    return out_dir


def template_image() -> Any:
    """Return the MNI152 template that components are drawn on."""
    from nilearn.datasets import load_mni152_template

    return load_mni152_template(resolution=TEMPLATE_MM)


def _mean_image(matrix_file: Path, mask_file: Path) -> Any:
    X, _ = read_matrix(matrix_file)
    return unmasked(X.mean(axis=1, dtype=np.float64).astype(np.float32), open_image(mask_file))


def _run(call: Call) -> dict[str, Path]:
    figures_dir = draw_figures(
        call.path("components_file"),
        call.path("labels_file"),
        call.path("matrix_dir") / MATRIX_FILE,
        call.path("mask_file"),
        call.folder,
        on_template=call["on_template"],
    )
    return {
        "figures_dir": figures_dir,
        "components_figure": figures_dir / FIGURES_FILES["montage"],
        "labels_figure": figures_dir / FIGURES_FILES["parts"],
    }


ON_TEMPLATE = Field(
    Kind.FLAG, "draw on the MNI152 template, not on the mean of the subjects", default=True
)

DRAW_FIGURES = Stage(
    name="DrawFigures",
    summary="Draw every component and the map of all parts.",
    run=_run,
    folder="figures",
    inputs={
        "components_file": COMPONENTS_FILE,
        "labels_file": LABELS_FILE,
        "matrix_dir": MATRIX_DIR,
        "mask_file": MASK_FILE,
        "on_template": ON_TEMPLATE,
    },
    outputs={
        "figures_dir": Field(Kind.FOLDER, "folder with all files of the task"),
        "components_figure": Field(Kind.PICTURE, "picture of every component at its peak (PNG)"),
        "labels_figure": Field(Kind.PICTURE, "picture of all parts (PNG)"),
    },
)
