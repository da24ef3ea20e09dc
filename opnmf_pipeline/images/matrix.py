"""The voxel-by-subject matrix on disk, written in batches of subjects with bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.volumes import Grid, open_image, read_volume

__all__ = [
    "bad_values",
    "problem",
    "read_matrix",
    "subject_columns",
    "write_matrix",
    "write_sidecar",
]

BATCH_BYTES = 256 * 2**20
N_NAMED = 5
BAD_VALUES_MSG = (
    "{n} subject(s) have values in the mask that the factorization cannot take:\n{named}\n{remedy}"
)
NAN_REMEDY = "set matrix.nan: zero, or mend the images"
NEGATIVE_REMEDY = "set matrix.negative: clip (to 0) or shift (by the smallest value), or mend them"
ZERO_MSG = "{name}: is zero everywhere in the mask; drop this subject or mend the image"


def subject_columns(
    paths: Sequence[str | Path],
    mask: NDArray[np.bool_],
    grid: Grid,
    options: MatrixConfig,
    n_procs: int,
) -> Iterable[NDArray[np.float32]]:
    """Yield the values of each image in the mask, in order.

    Parameters
    ----------
    paths : sequence of path
        One image per subject.
    mask : ndarray of shape ``grid.shape``, bool
    grid : Grid
        Grid that images are brought to.
    options : MatrixConfig
        Preprocessing.
    n_procs : int
        Largest number of processes.

    Yields
    ------
    ndarray of shape (n_voxels,), float32
    """
    read = partial(_masked_values, mask=mask, grid=grid, options=options)
    return map_images(read, paths, n_procs)


def _masked_values(
    path: str | Path, mask: NDArray[np.bool_], grid: Grid, options: MatrixConfig
) -> NDArray[np.float32]:
    return read_volume(path, grid, options)[mask]


def write_matrix(
    path: Path,
    columns: Iterable[NDArray[np.float32]],
    names: Sequence[str],
    n_voxels: int,
    options: MatrixConfig,
) -> float:
    """Write one column per subject to a ``.npy`` file in C order.

    Parameters
    ----------
    path : path
        The file appears only once it is whole.
    columns : iterable of ndarray of shape (n_voxels,), float32
        Values of each subject; a batch of at most 256 MB is held at a time.
    names : sequence of str
        Subject and image of each column, for messages.
    n_voxels : int
        Number of rows.
    options : MatrixConfig
        ``negative`` says whether negative values are an error or shift the matrix.

    Returns
    -------
    float
        What was subtracted from every value (0 unless ``negative`` is ``shift``).

    Raises
    ------
    ImageError
        Values are NaN, infinite or negative, or an image is zero everywhere; names the subjects.
    """
    partial_path = path.with_name(f".{path.name}.partial")
    shape = (n_voxels, len(names))
    matrix = np.lib.format.open_memmap(partial_path, mode="w+", dtype=np.float32, shape=shape)
    try:
        smallest = _fill(matrix, columns, names, options)
        shift = min(smallest, 0.0) if options.negative == "shift" else 0.0
        if shift:
            step = max(1, BATCH_BYTES // (4 * len(names)))
            for first in range(0, n_voxels, step):
                matrix[first : first + step] -= np.float32(shift)
        matrix.flush()
        partial_path.replace(path)
    finally:
        partial_path.unlink(missing_ok=True)
    return shift


def _fill(
    matrix: NDArray[np.float32],
    columns: Iterable[NDArray[np.float32]],
    names: Sequence[str],
    options: MatrixConfig,
) -> float:
    n_voxels, n_subjects = matrix.shape
    size = min(n_subjects, max(1, BATCH_BYTES // (4 * n_voxels)))
    batch = np.empty((size, n_voxels), dtype=np.float32)
    smallest, bad = np.inf, []
    for number, (name, column) in enumerate(zip(names, columns, strict=True)):
        if found := problem(column, options):
            bad.append(f"  {name}: {found}")
        smallest = min(smallest, float(column.min()))
        if not column.any():
            raise ImageError(ZERO_MSG.format(name=name))
        filled = number % size + 1
        batch[filled - 1] = column
        if filled == size or number == n_subjects - 1:
            matrix[:, number + 1 - filled : number + 1] = batch[:filled].T
    if bad:
        raise ImageError(bad_values(bad))
    return smallest


def problem(column: NDArray[np.float32], options: MatrixConfig) -> str:
    """Say what a factorization cannot take in the values of one subject, or nothing."""
    n_nan = int(np.count_nonzero(~np.isfinite(column)))
    n_negative = int(np.count_nonzero(column < 0)) if options.negative == "error" else 0
    counts = [f"{n_nan} NaN or infinite"] * bool(n_nan)
    counts += [f"{n_negative} negative"] * bool(n_negative)
    return f"{' and '.join(counts)} of {column.size} voxels" if counts else ""


def bad_values(bad: list[str]) -> str:
    """Return the message about subjects with such values, one line each."""
    text = "\n".join(bad)
    remedies = [NAN_REMEDY] * ("NaN" in text) + [NEGATIVE_REMEDY] * ("negative" in text)
    named = "\n".join(bad[:N_NAMED] + ["  ..."] * (len(bad) > N_NAMED))
    return BAD_VALUES_MSG.format(n=len(bad), named=named, remedy="; ".join(remedies))


def write_sidecar(
    path: Path,
    matrix_file: Path,
    mask_file: Path,
    participants: Sequence[str],
    shift: float,
    options: Any,
) -> None:
    """Write the side-car that stands for a matrix: its grid, subjects, preprocessing, checksum."""
    mask = open_image(mask_file)
    with matrix_file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    sidecar = {
        "Description": "Voxels in the mask (rows, C order of the grid) by subjects (columns)",
        "GridShape": list(mask.shape),
        "Affine": mask.affine.tolist(),
        "Matrix": matrix_file.name,
        "Participants": list(participants),
        "Preprocessing": options.model_dump(exclude_none=True),
        "Shift": shift,
        "SHA256": checksum,
    }
    path.write_text(json.dumps(sidecar, indent=1) + "\n")


def read_matrix(path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Open a matrix without reading it.

    Parameters
    ----------
    path : path
        The side-car (``matrix.json``); the values stand beside it.

    Returns
    -------
    matrix : memmap of shape (n_voxels, n_subjects), float32
        Read-only.
    sidecar : dict
        Content of the side-car.
    """
    sidecar = json.loads(path.read_text())
    matrix: NDArray[np.float32] = np.load(path.with_name(sidecar["Matrix"]), mmap_mode="r")
    return matrix, sidecar
