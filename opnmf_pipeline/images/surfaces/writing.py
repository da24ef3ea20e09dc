"""Writing of surfaces: CIFTI files, and one GIFTI file for each hemisphere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ScalarAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable, GiftiMetaData
from numpy.typing import NDArray

from opnmf_pipeline.images.space import Colour
from opnmf_pipeline.images.surfaces.files import CORTEX, SIDES

__all__ = ["copies", "scalars", "write_hemispheres", "write_labels", "write_scalars"]

SCALARS, LABELS = ".shape.gii", ".label.gii"
NO_LABEL = ("???", (0.0, 0.0, 0.0, 0.0))


def scalars(values: NDArray[Any], names: Sequence[str], axis: BrainModelAxis) -> Any:
    """Return maps, shape (len(axis), n_maps), as a CIFTI image of their dtype."""
    header = nb.Cifti2Header.from_axes((ScalarAxis(names), axis))
    return nb.Cifti2Image(np.ascontiguousarray(values.T), header)


def write_scalars(
    values: NDArray[Any], names: Sequence[str], axis: BrainModelAxis, path: Path
) -> None:
    """Write maps, shape (len(axis), n_maps), as CIFTI (``.dscalar.nii``)."""
    scalars(values, names, axis).to_filename(path)


def write_labels(
    values: NDArray[np.int16],
    names: Sequence[str],
    colours: Sequence[Colour],
    axis: Any,
    path: Path,
) -> None:
    """Write labels, shape (len(axis),), as CIFTI (``.dlabel.nii``).

    Parameters
    ----------
    values : ndarray of shape (len(axis),), int16
        0 for no label.
    names : sequence of str
        Names of the labels from 1.
    colours : sequence of (red, green, blue)
        Their colours, from 0 to 1.
    axis : BrainModelAxis
        Vertices and voxels.
    path : path
        File to write.
    """
    opaque = [(*colour, 1.0) for colour in colours]
    table = dict(enumerate([NO_LABEL, *zip(names, opaque, strict=True)]))
    header = nb.Cifti2Header.from_axes((LabelAxis(["parts"], [table]), axis))
    nb.Cifti2Image(values[None].astype(np.int32), header).to_filename(path)


def write_hemispheres(cifti_file: Path) -> None:
    """Write the maps of a CIFTI file again: one GIFTI file per hemisphere, next to it.

    Programs such as FreeView do not read CIFTI. Vertices without a value, such as those of the
    medial wall, get 0.
    """
    image: Any = nb.Cifti2Image.from_filename(cifti_file)
    maps, axis = (image.header.get_axis(number) for number in (0, 1))
    values = np.asarray(image.dataobj)
    for side, file in _hemisphere_files(cifti_file).items():
        if CORTEX[side] not in axis.nvertices:
            continue
        rows = axis.name == CORTEX[side]
        whole = np.zeros((len(values), axis.nvertices[CORTEX[side]]), dtype=values.dtype)
        whole[:, axis.vertex[rows]] = values[:, rows]
        _gifti(whole, maps, side).to_filename(file)


def copies(cifti_file: Path) -> dict[str, Path]:
    """Return the files of :func:`write_hemispheres` that exist, by the beginning of their names."""
    files = _hemisphere_files(cifti_file)
    return {f"hemi-{side}_": file for side, file in files.items() if file.exists()}


def _hemisphere_files(cifti_file: Path) -> dict[str, Path]:
    name, kind = cifti_file.name.removesuffix(".nii").rsplit(".", 1)
    suffix = LABELS if kind == "dlabel" else SCALARS
    return {side: cifti_file.with_name(f"hemi-{side}_{name}{suffix}") for side in CORTEX}


def _gifti(values: NDArray[Any], maps: Any, side: str) -> GiftiImage:
    is_label = isinstance(maps, LabelAxis)
    arrays = [
        GiftiDataArray(
            row,
            intent="NIFTI_INTENT_LABEL" if is_label else "NIFTI_INTENT_SHAPE",
            meta=GiftiMetaData({"Name": str(name)}),
        )
        for row, name in zip(values, maps.name, strict=True)
    ]
    meta = GiftiMetaData({"AnatomicalStructurePrimary": SIDES[side]})
    table = GiftiLabelTable()
    for key, (name, colour) in (maps.label[0] if is_label else {}).items():
        label = GiftiLabel(key, *colour)
        label.label = name
        table.labels.append(label)
    return GiftiImage(meta=meta, labeltable=table, darrays=arrays)
