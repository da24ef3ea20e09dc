"""Files of surfaces: their values and where these are, and the errors when one cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from nibabel.openers import ImageOpener
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import why_missing
from opnmf_pipeline.images.surfaces.meshes import MESHES
from opnmf_pipeline.images.surfaces.names import (
    ending,
    first_file,
    hemisphere,
    is_cifti,
    other_file,
)

__all__ = [
    "CORTEX",
    "gifti_arrays",
    "image_files",
    "open_cifti",
    "places",
    "read_axis",
    "read_values",
    "reading",
]

CORTEX = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
"""Name of each hemisphere in CIFTI files."""
MORPHOMETRY_MAGIC = b"\xff\xff\xff"
MORPHOMETRY_HEADER = 15

UNREADABLE_MSG = "{path}: cannot be read as a surface ({reason}); check the file or copy it again"
PARTNER_MSG = (
    "{path}: the file of the other hemisphere, {other}, {reason}; both hemispheres are "
    "analysed together"
)
LABELS_MSG = "{path}: contains labels, expected one value per vertex, such as cortical thickness"
MESH_MSG = "{path}: contains a mesh, expected one value per vertex, such as cortical thickness"
PARCELS_MSG = "{path}: contains values of parcels or a matrix, expected one value per vertex"
SEVERAL_MSG = "{path}: contains {n} maps, expected one; split the file or select another file"
BOTH_MSG = (
    "{path}: the name does not tell the hemisphere (hemi-L, lh. or .L.), and {n} values are not "
    "those of two hemispheres on a known mesh; rename the file"
)
SIZES_MSG = "{path}: has {n} vertices, but the other hemisphere has {other}"
WRONG_SIDE_MSG = "{path}: the file says that it belongs to {found}, but its name says {named}"
SIDES = {"L": "CortexLeft", "R": "CortexRight"}


def image_files(path: str | Path) -> list[str]:
    """Return the files of an image: one, or the left and the right hemisphere.

    Raises
    ------
    ImageError
        A file is missing.
    """
    first = first_file(str(path))
    if not Path(first).exists():
        raise ImageError(f"{path}: {why_missing(path)}")
    other = other_file(first)
    if other is None:
        return [first]
    if not Path(other).exists():
        raise ImageError(PARTNER_MSG.format(path=first, other=other, reason=why_missing(other)))
    return [first, other]


def read_axis(path: str | Path) -> BrainModelAxis:
    """Return the vertices of an image, left before right, and the voxels of a CIFTI file.

    Of most formats, only the header is read.

    Raises
    ------
    ImageError
        A file is missing or damaged, or it has no single value per vertex.
    """
    files = image_files(path)
    if is_cifti(files[0]):
        with reading(path):
            return places(open_cifti(files[0]))
    sizes = [_count(file) for file in files]
    if len(sizes) == 2:
        if sizes[0] != sizes[1]:
            raise ImageError(SIZES_MSG.format(path=files[1], n=sizes[1], other=sizes[0]))
        return _cortex(sizes[0])
    if sizes[0] % 2 or sizes[0] // 2 not in MESHES:
        raise ImageError(BOTH_MSG.format(path=files[0], n=sizes[0]))
    return _cortex(sizes[0] // 2)


def read_values(path: str | Path) -> NDArray[np.float32]:
    """Return the values of an image on its vertices (and voxels), in the order of its axis.

    Parameters
    ----------
    path : path
        CIFTI file, GIFTI file of both hemispheres, or the file of one of two hemispheres.

    Returns
    -------
    ndarray of shape (len(axis),), float32

    Raises
    ------
    ImageError
        A file is missing or damaged, or it has no single value per vertex.
    """
    parts = [_values(file) for file in image_files(path)]
    return np.concatenate(parts) if len(parts) > 1 else parts[0]


@cache
def _cortex(n_vertices: int) -> BrainModelAxis:
    """Return the vertices of two hemispheres; kept, because nibabel takes long to make them."""
    left, right = (
        BrainModelAxis.from_surface(np.arange(n_vertices), n_vertices, name)
        for name in CORTEX.values()
    )
    return _kept(left + right, f"{n_vertices} vertices")


def places(image: Any) -> BrainModelAxis:
    """Return the vertices and voxels of a CIFTI image; equal ones are made once."""
    described = image.header.matrix.get_index_map(1).to_xml()
    if described not in _PLACES:
        return _kept(image.header.get_axis(1), described)
    return _PLACES[described]


def _kept(axis: BrainModelAxis, description: str | bytes) -> BrainModelAxis:
    """Keep an axis, and return the first one that is equal: to compare two takes nibabel long."""
    equal = [known for known in _PLACES.values() if known == axis]
    _PLACES[description] = equal[0] if equal else axis
    return _PLACES[description]


_PLACES: dict[str | bytes, BrainModelAxis] = {}
"""Vertices and voxels of the images that were opened, by their description."""


def _count(path: str) -> int:
    """Return the number of values of a file."""
    with reading(path):
        match ending(path):
            case ".mgh":
                return _mgh_count(path)
            case ".gii":
                return len(_gifti(path))
        return _morphometry_count(path)


def _values(path: str) -> NDArray[np.float32]:
    with reading(path):
        match ending(path):
            case ".nii":
                return np.asarray(open_cifti(path).dataobj, dtype=np.float32).ravel()
            case ".mgh":
                return _mgh(path)
            case ".gii":
                return np.asarray(_gifti(path), dtype=np.float32)
        _morphometry_count(path)
        return np.asarray(nb.freesurfer.read_morph_data(path), dtype=np.float32)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn any error into one that names the file.

    A damaged header can raise many kinds of errors.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        lines = (str(error) or type(error).__name__).splitlines()
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=lines[0])) from None


def open_cifti(path: str | Path) -> Any:
    """Open a CIFTI file with one map of scalars.

    Raises
    ------
    ImageError
        The file contains something else.
    """
    with reading(path):
        image = nb.Cifti2Image.from_filename(path)
        maps, places = (image.header.get_axis(number) for number in (0, 1))
    if isinstance(maps, LabelAxis):
        raise ImageError(LABELS_MSG.format(path=path))
    if not isinstance(places, BrainModelAxis):
        raise ImageError(PARCELS_MSG.format(path=path))
    if image.shape[0] != 1:
        raise ImageError(SEVERAL_MSG.format(path=path, n=image.shape[0]))
    return image


def _mgh_count(path: str) -> int:
    with ImageOpener(path) as stream:
        return _mgh_header(stream, path)[1]


def _mgh(path: str) -> NDArray[np.float32]:
    with ImageOpener(path) as stream:  # nibabel would not close the file of its image
        header, _ = _mgh_header(stream, path)
        return np.asarray(header.data_from_fileobj(stream), dtype=np.float32).ravel()


def _mgh_header(stream: ImageOpener, path: str) -> tuple[Any, int]:
    """Return the header and the number of values of a file with one map."""
    header = nb.freesurfer.mghformat.MGHHeader.from_fileobj(stream)
    shape = header.get_data_shape()
    if max(shape) != np.prod(shape):
        raise ImageError(SEVERAL_MSG.format(path=path, n=shape[-1]))
    return header, int(max(shape))


def gifti_arrays(path: str) -> Any:
    """Open a GIFTI file, and require that it belongs to the hemisphere in its name."""
    image: Any = nb.GiftiImage.from_filename(path)
    side = hemisphere(path)
    structures = [image.meta, *(array.meta for array in image.darrays)]
    found = {meta.get("AnatomicalStructurePrimary") for meta in structures}
    if side and not found <= {None, SIDES[side]} and found & set(SIDES.values()):
        wrong = (found & set(SIDES.values())).pop()
        raise ImageError(WRONG_SIDE_MSG.format(path=path, found=wrong, named=SIDES[side]))
    return image


def _gifti(path: str) -> NDArray[Any]:
    arrays = gifti_arrays(path).darrays
    intents = {array.intent for array in arrays}
    if nb.nifti1.intent_codes["NIFTI_INTENT_LABEL"] in intents:
        raise ImageError(LABELS_MSG.format(path=path))
    if nb.nifti1.intent_codes["NIFTI_INTENT_POINTSET"] in intents:
        raise ImageError(MESH_MSG.format(path=path))
    n_maps = sum(1 if array.data.ndim == 1 else array.data.shape[1] for array in arrays)
    if n_maps != 1:
        raise ImageError(SEVERAL_MSG.format(path=path, n=n_maps))
    values: NDArray[Any] = arrays[0].data.ravel()
    return values


def _morphometry_count(path: str) -> int:
    if ending(path) in (".annot", ".label"):
        raise ImageError(LABELS_MSG.format(path=path))
    with Path(path).open("rb") as stream:
        header = stream.read(MORPHOMETRY_HEADER)
    n_vertices = int.from_bytes(header[3:7])
    if header[:3] != MORPHOMETRY_MAGIC:
        raise ValueError("it is not in FreeSurfer's format of thickness, area and curvature")
    if Path(path).stat().st_size != MORPHOMETRY_HEADER + 4 * n_vertices:
        raise ValueError("its size differs from the size in its header")
    return n_vertices
