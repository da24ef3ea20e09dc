"""Masks of the user on surfaces, such as the cortex without the medial wall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.surfaces.files import (
    CORTEX,
    gifti_arrays,
    image_files,
    places,
    read_axis,
    read_values,
    reading,
)
from opnmf_pipeline.images.surfaces.moving import on_axis
from opnmf_pipeline.images.surfaces.names import ending, is_cifti, is_image

__all__ = ["is_cortex", "read_inside"]

LABELS = (".annot", ".label")
NO_SURFACE_MSG = (
    "mask.image: {path} is not a surface, but the images are surfaces; give a mask on their mesh, "
    "such as lh.cortex.label"
)
OUTSIDE = ("???", "unknown", "none", "background", "corpuscallosum")
"""Names of labels, in lower case, that do not belong to the cortex; the medial wall is another."""


def read_inside(path: str | Path, axis: BrainModelAxis) -> NDArray[np.bool_]:
    """Return which vertices and voxels of images are in a mask.

    Parameters
    ----------
    path : path
        The mask: an image of any format, which is not zero in the mask; or labels (``.label.gii``,
        ``.annot``, ``.dlabel.nii``), whose medial wall and unknown parts are outside; or
        FreeSurfer's list of the vertices of the cortex (``lh.cortex.label``). Of two hemispheres,
        either file is accepted.
    axis : BrainModelAxis
        Vertices and voxels of the images. Those that the mask does not list are outside.

    Returns
    -------
    ndarray of shape (len(axis),), bool

    Raises
    ------
    ImageError
        The mask is damaged or is on another mesh.
    """
    if is_cifti(path):
        found, inside = _of_cifti(path)
    elif ending(path) in LABELS or Path(path).name.endswith(".label.gii"):
        found, inside = _of_labels(path, axis)
    elif is_image(path):
        found, inside = _of_image(path)
    else:
        raise ImageError(NO_SURFACE_MSG.format(path=path))
    return on_axis(inside, found, axis, f"mask.image: {path}")


def _of_cifti(path: str | Path) -> tuple[BrainModelAxis, NDArray[np.bool_]]:
    with reading(path):
        image: Any = nb.Cifti2Image.from_filename(path)
        maps = image.header.get_axis(0)
    if not isinstance(maps, LabelAxis):
        return _of_image(path)
    names = {key: name for key, (name, _) in maps.label[0].items()}
    values = np.asarray(image.dataobj)[0]
    return places(image), _named_cortex(values, names)


def _of_image(path: str | Path) -> tuple[BrainModelAxis, NDArray[np.bool_]]:
    return read_axis(path), np.nan_to_num(read_values(path)) != 0


def _of_labels(path: str | Path, axis: BrainModelAxis) -> tuple[BrainModelAxis, NDArray[np.bool_]]:
    """Read label files of the left and of the right hemisphere."""
    models, parts = [], []
    for file, name in zip(image_files(path), CORTEX.values(), strict=True):
        with reading(file):
            part = _of_hemisphere(file, axis.nvertices.get(name, 0))
        models.append(BrainModelAxis.from_surface(np.arange(len(part)), len(part), name))
        parts.append(part)
    return models[0] + models[1], np.concatenate(parts)


def _of_hemisphere(path: str, n_vertices: int) -> NDArray[np.bool_]:
    match ending(path):
        case ".annot":
            values, _, listed = nb.freesurfer.read_annot(path)
            return _named_cortex(values, {n: name.decode() for n, name in enumerate(listed)})
        case ".label":
            vertices = nb.freesurfer.read_label(path)
            inside = np.zeros(max(n_vertices, int(vertices.max()) + 1), dtype=bool)
            inside[vertices] = True
            return inside
    image = gifti_arrays(path)
    return _named_cortex(image.darrays[0].data.ravel(), image.labeltable.get_labels_as_dict())


def _named_cortex(values: NDArray[Any], names: dict[int, str]) -> NDArray[np.bool_]:
    """Return where the name of the label belongs to the cortex; a label without name is outside."""
    keys = [key for key, name in names.items() if is_cortex(name)]
    inside: NDArray[np.bool_] = np.isin(values, keys)
    return inside


def is_cortex(name: str) -> bool:
    """Tell by its name whether a label belongs to the cortex."""
    plain = name.lower().replace("_", "").replace(" ", "")
    return plain not in OUTSIDE and "medialwall" not in plain
