"""Parts of atlases of surfaces: labels in CIFTI, GIFTI and FreeSurfer files, and several maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.space import Parts
from opnmf_pipeline.images.surfaces.files import (
    CORTEX,
    PARCELS_MSG,
    gifti_arrays,
    image_files,
    places,
    reading,
)
from opnmf_pipeline.images.surfaces.mask import Mask
from opnmf_pipeline.images.surfaces.masks import is_cortex
from opnmf_pipeline.images.surfaces.names import ending, is_cifti

__all__ = ["read_parts"]

ONE_MAP_MSG = (
    "{path}: contains one map of values; give labels (.dlabel.nii, .label.gii, .annot), or several "
    "probability maps in one file"
)
NEGATIVE_MSG = "{path}: has negative values; probabilities and weights are not negative"
UNEQUAL_MSG = "{path}: both hemispheres must contain labels, or the same number of maps"
EMPTY_MSG = "{path}: no vertex belongs to a part of the cortex; check the file"

Labelled = tuple[NDArray[Any], Mapping[int, str]]
"""Label of each place, and names of the labels."""


def read_parts(path: Path) -> Parts:
    """Read labels, or several maps, of both hemispheres.

    Labels without a name, and those of the medial wall and of unknown places, are no parts. Labels
    of both hemispheres with one number and one name are one part, except in ``.annot`` files.

    Raises
    ------
    ImageError
        A file is damaged, has negative values, or contains one map of values.
    """
    axis, found = _of_cifti(path) if is_cifti(path) else _of_hemispheres(path)
    if isinstance(found, tuple):
        values, known = found
        labels = [key for key in np.unique(values) if key in known and is_cortex(known[key])]
        weights = np.equal.outer(values, labels).astype(np.float32)
        names: list[str | None] = [known[key] for key in labels]
    else:
        weights = np.nan_to_num(found).astype(np.float32)
        names = [None] * weights.shape[1]
        if weights.shape[1] < 2:
            raise ImageError(ONE_MAP_MSG.format(path=path))
        if (weights < 0).any():
            raise ImageError(NEGATIVE_MSG.format(path=path))
    inside = np.asarray(weights.any(axis=1))
    if not inside.any():
        raise ImageError(EMPTY_MSG.format(path=path))
    return Parts(Mask(axis, inside), weights[inside], names)


def _of_cifti(path: Path) -> tuple[BrainModelAxis, Labelled | NDArray[Any]]:
    with reading(path):
        image: Any = nb.Cifti2Image.from_filename(path)
        maps, axis = (image.header.get_axis(number) for number in (0, 1))
        values = np.asarray(image.dataobj)
    if not isinstance(axis, BrainModelAxis):
        raise ImageError(PARCELS_MSG.format(path=path))
    if isinstance(maps, LabelAxis):
        return places(image), (values[0], {key: name for key, (name, _) in maps.label[0].items()})
    return places(image), values.T


def _of_hemispheres(path: Path) -> tuple[BrainModelAxis, Labelled | NDArray[Any]]:
    files = image_files(path)
    with reading(path):
        parts = [_of_file(file) for file in files]
    if len(parts) != len(CORTEX):
        raise ImageError(UNEQUAL_MSG.format(path=path))
    sizes = [len(part[0] if isinstance(part, tuple) else part) for part in parts]
    models = [
        BrainModelAxis.from_surface(np.arange(size), size, name)
        for size, name in zip(sizes, CORTEX.values(), strict=True)
    ]
    axis = models[0] + models[1]
    left, right = parts
    if isinstance(left, tuple) and isinstance(right, tuple):
        return axis, _joined(left, right, separate=ending(files[0]) == ".annot")
    if isinstance(left, tuple) or isinstance(right, tuple) or left.shape[1:] != right.shape[1:]:
        raise ImageError(UNEQUAL_MSG.format(path=path))
    return axis, np.concatenate([left, right])


def _of_file(path: str) -> Labelled | NDArray[Any]:
    if ending(path) == ".annot":
        values, _, names = nb.freesurfer.read_annot(path)
        return values, {number: name.decode() for number, name in enumerate(names)}
    if ending(path) != ".gii":
        raise ImageError(ONE_MAP_MSG.format(path=path))
    image = gifti_arrays(path)
    if image.darrays[0].intent == nb.nifti1.intent_codes["NIFTI_INTENT_LABEL"]:
        return image.darrays[0].data.ravel(), image.labeltable.get_labels_as_dict()
    return np.column_stack([array.data for array in image.darrays])


def _joined(left: Labelled, right: Labelled, *, separate: bool) -> Labelled:
    """Join the labels of both hemispheres; separate labels get the hemisphere in their names."""
    numbers: dict[tuple[int, str], int] = {}
    joined = []
    for side, (values, names) in zip(CORTEX, (left, right), strict=True):
        new = np.full(len(values), -1)
        for key, name in names.items():
            there = values == key
            if there.any():
                full = f"{side} {name}" if separate and is_cortex(name) else name
                new[there] = numbers.setdefault((int(key), full), len(numbers))
        joined.append(new)
    return np.concatenate(joined), {number: name for (_, name), number in numbers.items()}
