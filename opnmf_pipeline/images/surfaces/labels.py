"""Labels of surfaces in CIFTI, GIFTI and FreeSurfer files, and the regions that they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.hemispheres import is_marked
from opnmf_pipeline.images.maps import is_component
from opnmf_pipeline.images.surfaces.files import (
    CORTEX,
    PARCELS_MSG,
    gifti_arrays,
    image_files,
    places,
    reading,
)
from opnmf_pipeline.images.surfaces.masks import is_cortex
from opnmf_pipeline.images.surfaces.names import ending, is_cifti

__all__ = ["Labelled", "read_regions", "values_or_labels"]

ONE_MAP_MSG = (
    "{path}: contains one map of values; give labels (.dlabel.nii, .label.gii, .annot), or several "
    "probability maps in one file"
)
UNEQUAL_MSG = "{path}: both hemispheres must contain labels, or the same number of maps"
NO_LABELS_MSG = (
    "{path}: is not an atlas: it contains values, not labels; give a .dlabel.nii file, or a "
    ".label.gii or .annot file (that of the other hemisphere is next to it)"
)
NO_REGION_MSG = "{path}: has no label with the name of a region; check the file"
LABELS = (".annot", ".gii")
"""Endings of files that may contain labels of one hemisphere."""

Labelled = tuple[NDArray[Any], Mapping[int, str]]
"""Label of each place, and names of the labels."""


def values_or_labels(path: Path) -> tuple[BrainModelAxis, Labelled | NDArray[Any]]:
    """Return the vertices and voxels of a file, and its labels or its maps, (n_places, n_maps).

    Raises
    ------
    ImageError
        The file is damaged, or its hemispheres do not contain the same.
    """
    return _of_cifti(path) if is_cifti(path) else _of_hemispheres(path)


def read_regions(path: Path) -> tuple[BrainModelAxis, NDArray[np.int64], pd.DataFrame]:
    """Read the regions of an atlas.

    A region is in one hemisphere. A name that does not say which gets ``L`` or ``R`` before it.
    Labels of the medial wall and of unknown places are no regions.

    Returns
    -------
    axis : BrainModelAxis
        Vertices and voxels of the atlas.
    labels : ndarray of shape (len(axis),), int64
        Region at each place, numbered from 1 in the order of the file, left before right; 0 for no
        region.
    regions : DataFrame
        ``name`` of each region, by this number.

    Raises
    ------
    ImageError
        A file is damaged, or has no labels.
    """
    if not is_cifti(path) and ending(path) not in LABELS:
        raise ImageError(NO_LABELS_MSG.format(path=path))
    axis, found = values_or_labels(path)
    if not isinstance(found, tuple):
        raise ImageError(NO_LABELS_MSG.format(path=path))
    values, known = found
    labels, names = np.zeros(len(axis), dtype=np.int64), []
    structures = [(side, axis.name == name) for side, name in CORTEX.items()]
    for side, there in [*structures, ("", axis.volume_mask)]:
        for key in np.unique(values[there]):
            if key in known and is_cortex(known[key]):
                name = known[key]
                names.append(f"{side} {name}" if side and not is_marked(name) else name)
                labels[there & (values == key)] = len(names)
    if not names:
        raise ImageError(NO_REGION_MSG.format(path=path))
    index = pd.RangeIndex(1, len(names) + 1, name="index")
    return axis, labels, pd.DataFrame({"name": names}, index=index)


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
    """Join the labels of both hemispheres.

    Separate labels get the hemisphere in their names, except components: these have one name in the
    files of both hemispheres, while atlases give regions of each hemisphere the same names.
    """
    numbers: dict[tuple[int, str], int] = {}
    joined = []
    for side, (values, names) in zip(CORTEX, (left, right), strict=True):
        new = np.full(len(values), -1)
        for key, name in names.items():
            there = values == key
            if there.any():
                whole = not separate or not is_cortex(name) or is_marked(name) or is_component(name)
                full = name if whole else f"{side} {name}"
                new[there] = numbers.setdefault((int(key), full), len(numbers))
        joined.append(new)
    return np.concatenate(joined), {number: name for (_, name), number in numbers.items()}
