"""Preprocessed values of all images in one file, so that no image is decoded twice.

Each image is stored as a packed bit mask of its non-zero values, followed by these values. A value
counts as zero if all its bits are zero, so that NaN and -0.0 are restored exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import file_digest, written_whole
from opnmf_pipeline.images.rounding import Rounding
from opnmf_pipeline.images.space import Grid, Mask

__all__ = [
    "VALUES_FILE",
    "image_digests",
    "image_paths",
    "keep_values",
    "kept_columns",
    "kept_rounding",
]

VALUES_FILE = "values.json"
"""Name of the file that describes the values."""
OTHER_VALUES_MSG = (
    "{file}: has values of {n} images with the preprocessing {found}; expected {wanted} images on "
    "the grid of the mask with the preprocessing {options}; make the mask again"
)
OTHER_IMAGE_MSG = (
    "{file}: has the values of other images, or in another order: image {number} is {found}, "
    "expected {path}; connect the same list of images to MakeMask and BuildMatrix"
)


def keep_values(
    images: Iterable[NDArray[np.float32]],
    paths: Sequence[str | Path],
    folder: Path,
    grid: Grid,
    options: MatrixConfig,
    files: Callable[[str | Path], list[str]],
) -> Iterator[NDArray[np.float32]]:
    """Yield the values of each image unchanged, and write them to a file.

    Parameters
    ----------
    images : iterable of ndarray of shape ``grid.shape``, float32
        Preprocessed values of each image.
    paths : sequence of path
        The images.
    folder : path
        Existing folder that gets ``values.bin`` and, after the last image, ``values.json``:
        offset and number of non-zero values of each image, the SHA-256 of its files, grid and
        preprocessing.
    grid : Grid
        Grid of the values.
    options : MatrixConfig
        Preprocessing of the values; ``dtype`` is that of the file.
    files : callable
        Returns the files of an image.

    Yields
    ------
    ndarray of shape ``grid.shape``, float32
        In C order.

    Raises
    ------
    ImageError
        ``dtype`` cannot hold the values.
    """
    target = folder / "values.bin"
    entries, rounding = [], Rounding(options.dtype)
    with written_whole(target) as partial, partial.open("wb") as stream:
        for path, image in zip(paths, images, strict=True):
            digests = _digests(path, files)
            ordered = np.ascontiguousarray(image)
            values = rounding.rounded(ordered.ravel(), str(path))
            filled = values.view(f"u{values.itemsize}") != 0
            entry = {"Offset": stream.tell(), "NonZero": int(np.count_nonzero(filled))}
            entries.append({"Image": str(path), **entry, "SHA256": digests})
            stream.write(np.packbits(filled).data)
            stream.write(values[filled].data)
            yield ordered
    rounding.require_small()
    sidecar = {
        "Description": "Prepared values of each image: packed bits, 1 where a value is not zero, "
        f"and these values ({options.dtype}), in C order of the grid",
        **grid.describe(),
        "Values": target.name,
        "Rounding": rounding.error,
        "Preprocessing": options.model_dump(exclude_none=True),
        "Images": entries,
    }
    # This file comes last, so that it exists only with complete values
    with written_whole(folder / VALUES_FILE) as partial:
        partial.write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")


def image_digests(folder: Path) -> list[str]:
    """Return the SHA-256 of the files of each image of :func:`keep_values`, in order."""
    return [entry["SHA256"] for entry in _images(folder)]


def image_paths(folder: Path) -> list[str]:
    """Return the path of each image of :func:`keep_values`, in order."""
    return [entry["Image"] for entry in _images(folder)]


def kept_rounding(folder: Path) -> float:
    """Return what rounding has changed in :func:`keep_values`, as a share of the norm."""
    return float(_sidecar(folder)["Rounding"])


def _images(folder: Path) -> list[dict[str, Any]]:
    images: list[dict[str, Any]] = _sidecar(folder)["Images"]
    return images


def _sidecar(folder: Path) -> dict[str, Any]:
    sidecar: dict[str, Any] = json.loads((folder / VALUES_FILE).read_text(encoding="utf-8"))
    return sidecar


def kept_columns(
    folder: Path,
    paths: Sequence[str | Path],
    mask: Mask,
    options: MatrixConfig,
    files: Callable[[str | Path], list[str]],
) -> Iterator[NDArray[np.float32]]:
    """Yield the values of each image in a mask, in order; one image is in memory at a time.

    Parameters
    ----------
    folder : path
        Folder that :func:`keep_values` wrote.
    paths : sequence of path
        Expected images, in order. An image with another path is read, and must have the same
        content.
    mask : Mask
        Rows of the matrix.
    options : MatrixConfig
        Expected preprocessing of the values.
    files : callable
        Returns the files of an image.

    Yields
    ------
    ndarray of shape (n_rows,), float32

    Raises
    ------
    ImageError
        The images, their order, the preprocessing or the grid is not the expected one.
    """
    sidecar, dtype = _sidecar(folder), np.dtype(options.dtype)
    _require(folder / VALUES_FILE, sidecar, len(paths), mask.grid, options)
    _require_images(folder / VALUES_FILE, sidecar["Images"], paths, files)
    inside = mask.inside.ravel()
    with (folder / sidecar["Values"]).open("rb") as stream:
        for entry in sidecar["Images"]:
            stream.seek(entry["Offset"])
            bits = np.frombuffer(stream.read(-(-inside.size // 8)), dtype=np.uint8)
            filled = np.unpackbits(bits, count=inside.size).view(bool)
            values = np.zeros(inside.size, dtype=np.float32)
            kept = stream.read(dtype.itemsize * entry["NonZero"])
            values[filled] = np.frombuffer(kept, dtype=dtype)
            yield values[inside]


def _require(
    file: Path, sidecar: dict[str, Any], n_images: int, grid: Grid, options: MatrixConfig
) -> None:
    found, wanted = sidecar["Preprocessing"], options.model_dump(exclude_none=True)
    described = grid.describe()
    on_grid = all(sidecar.get(name) == value for name, value in described.items())
    if len(sidecar["Images"]) != n_images or found != wanted or not on_grid:
        raise ImageError(
            OTHER_VALUES_MSG.format(
                file=file, n=len(sidecar["Images"]), found=found, wanted=n_images, options=wanted
            )
        )


def _require_images(
    file: Path,
    entries: Sequence[dict[str, Any]],
    paths: Sequence[str | Path],
    files: Callable[[str | Path], list[str]],
) -> None:
    for number, (entry, path) in enumerate(zip(entries, paths, strict=True), start=1):
        # Images that were moved after the mask was made have other paths, and the same content
        if entry["Image"] != str(path) and entry["SHA256"] != _digests(path, files):
            found = {"number": number, "found": entry["Image"], "path": path}
            raise ImageError(OTHER_IMAGE_MSG.format(file=file, **found))


def _digests(path: str | Path, files: Callable[[str | Path], list[str]]) -> str:
    """Return the SHA-256 of the files of an image."""
    return " ".join(map(file_digest, files(path)))
