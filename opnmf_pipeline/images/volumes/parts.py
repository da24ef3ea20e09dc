"""Parts of atlases of volumes: label images, and images with one map per volume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import FileError, ImageError
from opnmf_pipeline.images.atlas import labels_beside, read_regions
from opnmf_pipeline.images.bids import space_in_name
from opnmf_pipeline.images.space import Parts
from opnmf_pipeline.images.volumes.files import load, read_all, set_space
from opnmf_pipeline.images.volumes.grid import ALIGNED_CODE
from opnmf_pipeline.images.volumes.mask import Mask
from opnmf_pipeline.images.volumes.standard import (
    MNI_CODE,
    NAME,
    TALAIRACH_CODE,
    space_code,
    template_with_field_of_view,
)

__all__ = ["mask_image", "read_parts"]

DIMENSIONS_MSG = (
    "{path}: has shape {shape}, expected a 3D label image or a 4D image with one map per volume"
)
NEGATIVE_MSG = "{path}: has negative values; labels, probabilities and weights are not negative"
ONE_MAP_MSG = (
    "{path}: has the value {value:g}, which is no label; give a label image (whole numbers), or "
    "several probability maps in one 4D image"
)
EMPTY_MSG = "{path}: is zero everywhere; check the file"


def read_parts(path: Path) -> Parts:
    """Read a label image (3D), or an image with one map per volume (4D).

    The names of labels are those in a table next to the image, if there is one; see
    :func:`opnmf_pipeline.images.atlas.read_regions`.

    Raises
    ------
    ImageError
        The file is damaged, has negative values, or is neither of these.
    FileError
        The table next to the image cannot be read.
    """
    image = load(path)
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) not in (3, 4):
        raise ImageError(DIMENSIONS_MSG.format(path=path, shape=shape))
    values = np.nan_to_num(read_all(image, path))
    if (values < 0).any():
        raise ImageError(NEGATIVE_MSG.format(path=path))
    if not values.any():
        raise ImageError(EMPTY_MSG.format(path=path))
    if len(shape) == 4 and shape[3] > 1:
        inside = values.any(axis=3)
        weights = values[inside].astype(np.float32)
        names: list[str | None] = [None] * shape[3]
    else:
        values = values.reshape(shape[:3])
        inside = values != 0
        rows = values[inside]
        odd = rows[rows != np.rint(rows)]
        if odd.size:
            raise ImageError(ONE_MAP_MSG.format(path=path, value=odd[0]))
        labels = np.unique(rows)
        weights = np.equal.outer(rows, labels).astype(np.float32)
        names = _names(path, labels.astype(int).tolist())
    return Parts(Mask(mask_image(path, image, inside)), weights, names)


def mask_image(path: Path, image: Any, inside: NDArray[np.bool_]) -> Any:
    """Return a mask in the space of an image, which its name, header or field of view tells."""
    mask = nb.Nifti1Image(inside.astype(np.uint8), image.affine)
    named, code = space_in_name(path), space_code(image)
    if named:
        code = MNI_CODE if named.startswith(NAME) else ALIGNED_CODE
    elif code not in (MNI_CODE, TALAIRACH_CODE):
        standard = template_with_field_of_view(image.shape[:3], image.affine)
        code = MNI_CODE if standard else ALIGNED_CODE
    set_space(mask, code)
    return mask


def _names(path: Path, labels: list[int]) -> list[str | None]:
    """Return the names of labels in the table next to an image, else their numbers."""
    try:
        table = labels_beside(path)
    except FileError:
        in_order = labels == list(range(1, len(labels) + 1))
        return [None if in_order else f"label {label}" for label in labels]
    known = read_regions(table)["name"].to_dict()
    return [str(known[label]) if label in known else f"label {label}" for label in labels]
