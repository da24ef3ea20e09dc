"""The maps in the viewer of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opnmf_pipeline.reporting.viewer import Embedded
from opnmf_pipeline.stages.figures import mesh_files
from opnmf_pipeline.stages.spaces import space_of

__all__ = ["embedded_maps"]


def embedded_maps(
    maps: Sequence[Any],
    shown_file: Path,
    mask_file: Path,
    mean_file: Path | None,
    mesh_file: Path | None,
    *,
    on_template: bool,
) -> tuple[Embedded | None, bool]:
    """Return the maps of the viewer, and whether the first one is a background.

    Parameters
    ----------
    maps : sequence of path or image
        Components of each fit; may be empty.
    shown_file : path
        One of their files, which tells their space: that of the images, or that of the atlas of a
        table.
    mask_file : path
        The mask of the analysis.
    mean_file : path or None
        Mean of the subjects, the background if it is not the template.
    mesh_file : path or None
        Mesh of the left hemisphere, which surfaces are drawn on.
    on_template : bool
        Show components on the template.

    Returns
    -------
    embedded : Embedded or None
        None without maps, or if their space has no viewer.
    on_background : bool
    """
    if not maps:
        return None, False
    pictures = space_of(shown_file).pictures
    background: list[Any] = []
    if on_template:
        background = [pictures.template_image()]
    elif mean_file is not None and space_of(shown_file) is space_of(mask_file):
        background = [mean_file]
    meshes = mesh_files(mesh_file, shown_file)
    return pictures.embed([*background, *maps], meshes=meshes), bool(background)
