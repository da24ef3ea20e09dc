"""Images as nilearn takes them: paths, images in memory, lists of both, or one 4D image."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes.files import is_image, load, read_all, set_space
from opnmf_pipeline.images.volumes.standard import space_code

__all__ = ["are_images", "file_of", "files_of", "one_or_list"]

MIXED_MSG = (
    "X[0] is {first}, but X[{number}] is {other}: X must be a list of images (paths, or images in "
    "memory) or an array of shape (n_subjects, n_voxels)"
)
PATTERN_MSG = (
    "{pattern}: there is no such file, and a pattern is no image: pass the list of files, "
    "sorted(glob.glob({pattern!r}))"
)
NO_VOXELS_MSG = (
    "{name}: is a {kind} in memory; only images of voxels can be passed in memory; pass the paths "
    "of the files, or for SurfaceImage of nilearn mask=SurfaceMasker(standardize=None)"
)


def are_images(X: Any) -> bool:
    """Tell images from arrays of numbers.

    Raises
    ------
    ValueError
        A list has images and other things.

    Examples
    --------
    >>> [are_images(X) for X in ("all.nii.gz", ["a.nii.gz", "b.nii.gz"], [[0.1, 0.2]])]
    [True, True, False]
    """
    if _is_one(X):
        return True
    # the column names of a table are texts, and no images
    one_dimensional = getattr(X, "ndim", 1) == 1 and hasattr(X, "__len__")
    if not one_dimensional or len(X) == 0:
        return False
    first, *others = X
    for number, other in enumerate(others, start=1):
        if _is_one(other) != _is_one(first):
            names = {"first": _kind(first), "other": _kind(other)}
            raise ValueError(MIXED_MSG.format(number=number, **names))
    return _is_one(first)


def _is_one(X: Any) -> bool:
    # SurfaceImage of nilearn has a mesh; all images of nibabel have a file map
    return isinstance(X, str | PathLike) or hasattr(X, "file_map") or hasattr(X, "mesh")


def _kind(item: Any) -> str:
    return f"{'an image' if _is_one(item) else 'no image'} ({type(item).__name__})"


def one_or_list(images: Any) -> Any:
    """Return a single image as it is, and any sequence of images as a list."""
    return images if _is_one(images) else list(images)


def files_of(images: Any, folder: Path) -> list[str]:
    """Return one file per subject; write the images that are in memory or in a 4D image.

    Parameters
    ----------
    images : path, image, or sequence of these
        One 3D image per subject, or one 4D image with one volume per subject.
    folder : path
        Existing folder for files of images that are in memory. Their names are ``image-0.nii``,
        ``image-1.nii`` and so on, for messages.

    Raises
    ------
    ImageError
        A single image is damaged or missing, or an image in memory is not one of voxels. Or a path
        is a pattern.
    """
    several: Sequence[Any] = [images] if _is_one(images) else images
    for image in several:
        path = str(image) if isinstance(image, str | PathLike) else ""
        if glob.has_magic(path) and not Path(path).exists():
            raise ImageError(PATTERN_MSG.format(pattern=path))
    if len(several) == 1:
        several = _volumes(several[0])
    return [file_of(image, folder / f"image-{number}.nii") for number, image in enumerate(several)]


def _volumes(image: Any) -> Sequence[Any]:
    """Return the volumes of a 4D image; of any other image, the image itself."""
    opened = image
    if isinstance(image, str | PathLike):
        path = Path(image)
        if not is_image(path):  # a surface
            return [image]
        opened = load(path)
    if len(getattr(opened, "shape", ())) != 4 or opened.shape[3] == 1:
        return [image]
    # read once: each slice of a compressed file would decompress all volumes before it
    values = read_all(opened, image, np.float32)
    volumes = [nb.Nifti1Image(volume, opened.affine) for volume in np.moveaxis(values, -1, 0)]
    for volume in volumes:
        set_space(volume, space_code(opened))
    return volumes


def file_of(image: Any, path: Path) -> str:
    """Return the path of one image; write it as float32 to the given one if it is in memory.

    Raises
    ------
    ImageError
        It is in memory, and not an image of voxels.
    """
    if isinstance(image, str | PathLike):
        return str(image)
    if not hasattr(image, "affine"):
        raise ImageError(NO_VOXELS_MSG.format(name=path.stem, kind=type(image).__name__))
    # The header may ask for integers, which would round the values
    written = nb.Nifti1Image(np.asarray(image.dataobj, dtype=np.float32), image.affine)
    set_space(written, space_code(image))
    written.to_filename(path)
    return str(path)
