"""Files of volumes: their names, their values, and the errors when one cannot be read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError

__all__ = [
    "SUFFIX",
    "image_files",
    "is_image",
    "load",
    "open_image",
    "read_values",
    "set_space",
]

SUFFIX = ".nii.gz"
COMPRESSIONS = (".gz", ".bz2", ".zst")
UNREADABLE_MSG = "{path}: cannot be read as an image ({reason}); check the file or copy it again"
NOT_3D_MSG = "{path}: has shape {shape}, expected one 3D volume; split it or select another file"


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
    from nibabel.imageclasses import all_image_classes
    from nibabel.spatialimages import SpatialImage

    kinds = [kind for kind in all_image_classes if issubclass(kind, SpatialImage)]
    return frozenset(suffix for kind in kinds for suffix in kind.valid_exts)


def load(path: str | Path) -> Any:
    """Open an image of any number of dimensions without reading its voxels.

    Raises
    ------
    ImageError
        The file is missing or is not an image.
    """
    try:
        return nb.load(path)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file; check the path") from None
    except Exception as error:  # a damaged header can raise many kinds of errors
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None


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


def read_values(image: Any, path: str | Path) -> NDArray[np.float32]:
    """Read the voxels of an image that :func:`open_image` opened.

    Returns
    -------
    ndarray of shape ``image.shape[:3]``, float32

    Raises
    ------
    ImageError
        The file ends early or its compression is damaged.
    """
    try:
        values = image.get_fdata(dtype=np.float32, caching="unchanged")
        return np.asarray(values).reshape(image.shape[:3])
    except Exception as error:  # zlib, EOF, OS and value errors all mean a damaged file
        raise ImageError(UNREADABLE_MSG.format(path=path, reason=_first_line(error))) from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def set_space(image: Any, code: int) -> None:
    """Set both affine codes, so that every viewer uses the affine; set the unit to mm."""
    image.set_sform(image.affine, code)
    image.set_qform(image.affine, code)
    image.header.set_xyzt_units(xyz="mm")
