"""Files of volumes: their names, their values, and the errors when one cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.analyze import AnalyzeImage
from nibabel.arrayproxy import ArrayProxy
from nibabel.imageclasses import all_image_classes
from nibabel.openers import ImageOpener
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import why_missing
from opnmf_pipeline.images.volumes.header import (
    affine_problem,
    header_problem,
    is_nifti,
    sform_is_void,
    size_problem,
)

__all__ = [
    "ENDINGS",
    "copies",
    "image_files",
    "is_image",
    "load",
    "open_image",
    "read_all",
    "read_values",
    "set_space",
]

ENDINGS: Mapping[str, str] = {"image": ".nii.gz", "labels": ".nii.gz"}
COMPRESSIONS = (".gz", ".bz2", ".zst")
CHUNK_BYTES = 2**20
UNREADABLE_MSG = "{path}: cannot be read as an image ({reason}); check the file or copy it again"
NOT_3D_MSG = "{path}: has shape {shape}, expected one 3D volume; split it or select another file"
SURFACE_MSG = (
    "{path}: has one value for each of {n} vertices of a surface, but its name does not tell the "
    "hemisphere; rename it, such as lh.{name} or rh.{name}"
)


def is_image(path: str | Path) -> bool:
    """Tell whether a file name has the suffix of a volume format that nibabel reads.

    Examples
    --------
    >>> [is_image(name) for name in ("a.nii.gz", "a.img", "a.mgz", "a.func.gii", "a.tsv")]
    [True, True, True, False, False]
    """
    name = Path(path).name.lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    return Path(name).suffix in _suffixes()


@cache
def _suffixes() -> frozenset[str]:
    kinds = [kind for kind in all_image_classes if issubclass(kind, SpatialImage)]
    return frozenset(suffix for kind in kinds for suffix in kind.valid_exts)


def load(path: str | Path) -> Any:
    """Open an image of any number of dimensions without reading its voxels.

    Raises
    ------
    ImageError
        The file is missing or is not an image, or its header contradicts itself or the size of the
        file.
    """
    if not Path(path).exists():
        raise ImageError(f"{path}: {why_missing(path)}")
    try:
        return _opened(str(path))
    except Exception as error:  # a damaged header can raise many kinds of errors
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None


def _opened(path: str) -> Any:
    """Do what ``nibabel.load`` does, and check the header as it is stored."""
    sniff = None
    for kind in all_image_classes:
        is_kind, sniff = kind.path_maybe_image(path, sniff)
        if is_kind:
            break
    else:
        with ImageOpener(path) as stream:  # raises what the loop does not: permission, compression
            stream.read(CHUNK_BYTES)
        raise ValueError("it is empty, or not in a format that nibabel reads")
    if not issubclass(kind, AnalyzeImage):
        image = kind.from_filename(path)
        if isinstance(image, SpatialImage):
            _require(affine_problem(image.affine))
        return image
    assert sniff is not None
    block = sniff[0][: kind.header_class.template_dtype.itemsize]
    header = kind.header_class(block, check=False)
    _require(header_problem(header))
    if is_nifti(header):
        return _nifti(kind, header, path)
    image = kind.from_filename(path)
    _require(affine_problem(image.affine), size_problem(image.dataobj))
    return image


def _nifti(kind: Any, header: Any, path: str) -> Any:
    """Return the image of a header without its extensions, which nibabel reads at any size."""
    header.check_fix()
    if sform_is_void(header):
        header["sform_code"] = 0
    affine, files = header.get_best_affine(), kind.filespec_to_file_map(path)
    stored = ArrayProxy(files["image"].filename, header)
    _require(affine_problem(affine), size_problem(stored))
    return kind(stored, affine, header, file_map=files)


def _require(*problems: str) -> None:
    for problem in problems:
        if problem:
            raise ValueError(problem)


def open_image(path: str | Path) -> Any:
    """Open a 3D image without reading its voxels.

    Parameters
    ----------
    path : path
        3D image (a 4D image with one volume counts as 3D) in a format that nibabel reads.

    Returns
    -------
    nibabel image
        Its shape is 3D, or 3D followed by ones.

    Raises
    ------
    ImageError
        The file is missing, is not an image, or has more than one volume.
    """
    image = load(path)
    if isinstance(image, nb.freesurfer.MGHImage) and max(image.shape[1:]) == 1:
        raise ImageError(SURFACE_MSG.format(path=path, n=image.shape[0], name=Path(path).name))
    shape = tuple(getattr(image, "shape", ()))  # a surface has none
    if len(shape) < 3 or any(size != 1 for size in shape[3:]):
        raise ImageError(NOT_3D_MSG.format(path=path, shape=shape))
    return image


def image_files(path: str | Path) -> list[str]:
    """Return the files of an image: one, or two for formats with separate header and values.

    Raises
    ------
    ImageError
        The file is missing or is not a 3D image.
    """
    files = {holder.filename for holder in open_image(path).file_map.values()}
    # Formats name additional files that may be absent, such as the .mat of SPM
    return sorted(str(file) for file in files if file is not None and Path(file).exists())


def copies(path: Path) -> dict[str, Path]:
    """Return an empty mapping: a map of volumes is one file."""
    return {}


def read_values(image: Any, path: str | Path) -> NDArray[np.float32]:
    """Read the voxels of an image that :func:`open_image` opened.

    Returns
    -------
    ndarray of shape ``image.shape[:3]``, float32

    Raises
    ------
    ImageError
        The file is damaged; see :func:`read_all`.
    """
    values: NDArray[np.float32] = read_all(image, path, np.float32)
    return values.reshape(image.shape[:3])


def read_all(image: Any, path: str | Path, dtype: Any = None) -> NDArray[Any]:
    """Read all volumes of an image, and its file to the end.

    The checksum of a compressed file comes after its last voxel, where nibabel stops.

    Parameters
    ----------
    image : nibabel image
        Image of :func:`load`, or one in memory.
    path : path
        Its file, for messages.
    dtype : dtype, optional
        Default: the dtype of the image.

    Returns
    -------
    ndarray of shape ``image.shape``

    Raises
    ------
    ImageError
        The file ends early, has more bytes than its header describes, or its compression is
        damaged.
    """
    try:
        values = _stored_values(image, dtype)
    except Exception as error:  # zlib, EOF, OS and value errors all mean a damaged file
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None
    return values


def _stored_values(image: Any, dtype: Any) -> NDArray[Any]:
    stored = image.dataobj
    if type(stored) is not ArrayProxy:  # in memory, or in a format with its own way of scaling
        return np.asarray(stored, dtype=dtype)
    with ImageOpener(stored.file_like) as stream:
        spec = (stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter)
        # Not mapped: if another process shortens a mapped file, this process is killed
        values = np.asarray(ArrayProxy(stream, spec, mmap=False), dtype=dtype)
        if stream.read(1) and isinstance(image, AnalyzeImage):
            raise ValueError("it has more bytes than its header describes")
        while stream.read(CHUNK_BYTES):
            pass
    return values


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def set_space(image: Any, code: int) -> None:
    """Set both affine codes, so that every viewer uses the affine; set the unit to mm."""
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    image.header.set_xyzt_units(xyz="mm")
