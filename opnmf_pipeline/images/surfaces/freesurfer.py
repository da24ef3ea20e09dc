"""Components in the formats of FreeSurfer: labels as ``.annot``, maps as ``.mgh``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Colour
from opnmf_pipeline.images.surfaces.files import CORTEX
from opnmf_pipeline.images.surfaces.mask import Mask

__all__ = ["write_freesurfer"]

UNKNOWN = (25, 5, 25)
"""Colour of vertices without a label; black would be the number of no label."""


def write_freesurfer(
    mask: Mask,
    weights: NDArray[np.floating],
    labels: NDArray[np.int16],
    colours: Sequence[Colour],
    folder: Path,
    stem: str,
) -> None:
    """Write ``lh.STEM.annot`` and ``lh.STEM.mgh`` (one frame per component), and those of ``rh``.

    Voxels of CIFTI files are left out.

    Parameters
    ----------
    mask : Mask
        Vertices of the rows.
    weights : ndarray of shape (n_rows, n_components)
    labels : ndarray of shape (n_rows,), int16
        Number of the component, from 1; 0 for none.
    colours : sequence of (red, green, blue)
        Colour of each component, from 0 to 1.
    folder : path
        Existing folder.
    stem : str
        Middle of the names of the files.
    """
    rows = mask.axis[mask.inside]
    names = ["unknown", *component_names(weights.shape[1])]
    table = np.array([UNKNOWN, *(np.rint(np.multiply(colour, 255)) for colour in colours)], int)
    table = np.column_stack([table, np.zeros(len(table), dtype=int)])
    for side, name in CORTEX.items():
        if name not in mask.axis.nvertices:
            continue
        n_vertices, there = mask.axis.nvertices[name], rows.name == name
        vertices = rows.vertex[there]
        whole = np.zeros((n_vertices, 1, 1, weights.shape[1]), dtype=np.float32)
        whole[vertices, 0, 0] = weights[there]
        parts = np.zeros(n_vertices, dtype=np.int32)
        parts[vertices] = labels[there]
        start = folder / f"{side.lower()}h.{stem}"
        nb.freesurfer.write_annot(f"{start}.annot", parts, table, names)
        nb.freesurfer.MGHImage(whole, np.eye(4)).to_filename(f"{start}.mgh")
