"""Stage ``figures``: pictures of one factorization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.reporting.tables import component_titles
from opnmf_pipeline.selection.errors import mean_image
from opnmf_pipeline.stages.maps import COMPONENTS_FILE, LABELS_FILE, LABELS_TABLE
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.spaces import mask_of, space_of
from opnmf_pipeline.stages.stage import MASK_FILE, MATRIX_DIR, Call, Field, Kind, Stage
from opnmf_pipeline.tables import read_table

__all__ = [
    "DRAW_FIGURES",
    "FIGURES_FILES",
    "MESH_FILE",
    "ON_TEMPLATE",
    "draw_figures",
    "mesh_files",
]

MESH_MSG = (
    "report.mesh: {path} is not a mesh for these images; for surfaces, name the mesh of the left "
    "hemisphere, such as hemi-L_midthickness.surf.gii or lh.inflated; for volumes, remove it"
)
FIGURES_FILES = {"montage": "components.png", "parts": "dseg.png"}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``."""


def draw_figures(
    components_file: Path,
    labels_file: Path,
    labels_table: Path,
    matrix_file: Path,
    mask_file: Path,
    out_dir: Path,
    *,
    on_template: bool,
    mesh_file: Path | None = None,
) -> Path:
    """Draw every component and the map of all parts.

    Parameters
    ----------
    components_file, labels_file, labels_table : path
        Images and label table of :func:`opnmf_pipeline.stages.maps.write_maps`; of tables with an
        atlas, the images on its regions.
    matrix_file : path
        ``matrix.json``; read if the background is the mean of the subjects.
    mask_file : path
        The mask that the rows of the matrix came from.
    out_dir : path
        Existing folder that gets ``components.png`` and ``dseg.png``.
    on_template : bool
        Draw on the template of the space (MNI152 for volumes), not on the mean of the subjects.
    mesh_file : path, optional
        Mesh of the left hemisphere, which surfaces are drawn on.

    Returns
    -------
    path
        ``out_dir``.
    """
    pictures = space_of(components_file).pictures
    background: Any = mesh_files(mesh_file, components_file)
    if not background and on_template:
        background = pictures.template_image()
    elif not background and space_of(components_file) is space_of(mask_file):
        background = _mean_image(matrix_file, mask_file)
    titles = component_titles(read_table(labels_table))
    montage = out_dir / FIGURES_FILES["montage"]
    pictures.draw_components(components_file, titles, background, montage)
    pictures.draw_parts(labels_file, titles, background, out_dir / FIGURES_FILES["parts"])
    return out_dir


def mesh_files(mesh_file: Path | None, image: Path) -> list[Path]:
    """Return the meshes of the left and of the right hemisphere; empty if none is given.

    Raises
    ------
    ImageError
        The image is a volume or a table, or the file of a hemisphere is missing.
    """
    if mesh_file is None:
        return []
    space = space_of(image)
    if not space.images.is_image(mesh_file):
        raise ImageError(MESH_MSG.format(path=mesh_file))
    return [Path(file) for file in space.images.image_files(mesh_file)]


def _mean_image(matrix_file: Path, mask_file: Path) -> Any:
    X, _ = read_matrix(matrix_file)
    return mask_of(mask_file, matrix_file).unmasked(mean_image(X).astype(np.float32))


def _run(call: Call) -> dict[str, Path]:
    figures_dir = draw_figures(
        call.path("components_file"),
        call.path("labels_file"),
        call.path("labels_table"),
        call.path("matrix_dir") / MATRIX_FILE,
        call.path("mask_file"),
        call.folder,
        on_template=call["on_template"],
        mesh_file=call.optional_path("mesh_file"),
    )
    return {
        "figures_dir": figures_dir,
        "components_figure": figures_dir / FIGURES_FILES["montage"],
        "labels_figure": figures_dir / FIGURES_FILES["parts"],
    }


ON_TEMPLATE = Field(
    Kind.FLAG, "draw on the MNI152 template, not on the mean of the subjects", default=True
)
MESH_FILE = Field(
    Kind.IMAGE, "mesh of the left hemisphere that surfaces are drawn on", default=None
)

DRAW_FIGURES = Stage(
    name="DrawFigures",
    summary="Draw every component and the map of all parts.",
    run=_run,
    folder="figures",
    inputs={
        "components_file": COMPONENTS_FILE,
        "labels_file": LABELS_FILE,
        "labels_table": LABELS_TABLE,
        "matrix_dir": MATRIX_DIR,
        "mask_file": MASK_FILE,
        "on_template": ON_TEMPLATE,
        "mesh_file": MESH_FILE,
    },
    outputs={
        "figures_dir": Field(Kind.FOLDER, "folder with all files of DrawFigures"),
        "components_figure": Field(Kind.PICTURE, "picture of every component at its peak (PNG)"),
        "labels_figure": Field(Kind.PICTURE, "picture of all parts (PNG)"),
    },
    memory=fit_memory,
)
