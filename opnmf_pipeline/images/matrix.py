"""The matrix on disk, one column per subject, written in batches with bounded memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import FileError, ImageError
from opnmf_pipeline.files import written_whole
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.rounding import Rounding
from opnmf_pipeline.images.space import Grid, Mask, Words

__all__ = [
    "FEWEST_OBSERVED",
    "bad_values",
    "problem",
    "read_matrix",
    "rows_digest",
    "subject_columns",
    "write_matrix",
    "write_sidecar",
]

BATCH_BYTES = 256 * 2**20
FEWEST_OBSERVED = 0.1
"""A subject needs observed values in at least this share of the mask."""
NO_MATRIX_MSG = (
    "{folder}: is no folder of a matrix, because it has no {name}; connect matrix_dir of "
    "BuildMatrix, or of a node that changes its matrix"
)
BAD_VALUES_MSG = (
    "{n} subject(s) have values in the mask that cannot be factorized:\n{named}\n{remedy}"
)
NAN_REMEDY = (
    "set matrix.nan: zero (set them to 0) or matrix.nan: masked (fit the components to the other "
    "values), or fix the {data}"
)
MISSING_REMEDY = (
    f"leave out the subjects without values in at least {FEWEST_OBSERVED:.0%} of the mask, or fix "
    "their {data}"
)
ZERO_REMEDY = (
    "set inputs.on_empty: drop to leave out the subjects whose {data} are zero in the mask, or fix "
    "the {data}"
)


def subject_columns(
    paths: Sequence[str | Path], mask: Mask, options: MatrixConfig, n_procs: int
) -> Iterable[NDArray[np.float32]]:
    """Yield the preprocessed values of each image in the mask, in order.

    Parameters
    ----------
    paths : sequence of path
        One image per subject.
    mask : Mask
        Rows of the matrix, and the grid that images are resampled to.
    options : MatrixConfig
        Preprocessing.
    n_procs : int
        Largest number of processes.

    Yields
    ------
    ndarray of shape (n_rows,), float32
    """
    read = partial(_masked_values, inside=mask.inside, grid=mask.grid, options=options)
    return map_images(read, paths, n_procs)


def _masked_values(
    path: str | Path, inside: NDArray[np.bool_], grid: Grid, options: MatrixConfig
) -> NDArray[np.float32]:
    return grid.read(path, options)[inside]


def write_matrix(
    path: Path,
    columns: Iterable[NDArray[np.float32]],
    names: Sequence[str],
    mask: Mask,
    options: MatrixConfig,
) -> tuple[float, float]:
    """Write one column per subject to a ``.npy`` file in C order.

    Parameters
    ----------
    path : path
        File to write, (n_rows, n_subjects). It appears only when it is complete.
    columns : iterable of ndarray of shape (n_rows,), float32
        Values of each subject; a batch of at most 256 MB is in memory at a time.
    names : sequence of str
        Subject and image of each column, for messages.
    mask : Mask
        The rows.
    options : MatrixConfig
        ``negative`` decides whether negative values are an error or shift the matrix. ``dtype``
        is that of the file.

    Returns
    -------
    shift : float
        Value that was subtracted from all values: the smallest value if ``negative`` is ``shift``
        and this value is negative, or else 0.
    rounding : float
        Norm of what rounding to ``dtype`` changed, as a share of the norm of the values.

    Raises
    ------
    ImageError
        Values are NaN, infinite or negative, or an image is zero everywhere; names the subjects.
        Or the values do not fit ``dtype``.
    """
    shape = (int(np.count_nonzero(mask.inside)), len(names))
    with written_whole(path) as partial_path:
        matrix = np.lib.format.open_memmap(
            partial_path, mode="w+", dtype=options.dtype, shape=shape
        )
        allocate(partial_path)
        shift, rounding = _fill(matrix, columns, names, mask.grid, options)
        matrix.flush()
    return shift, rounding


def _fill(
    matrix: NDArray[np.floating],
    columns: Iterable[NDArray[np.float32]],
    names: Sequence[str],
    grid: Grid,
    options: MatrixConfig,
) -> tuple[float, float]:
    n_rows, n_subjects = matrix.shape
    size = min(n_subjects, max(1, BATCH_BYTES // (4 * n_rows)))
    batch = np.empty((size, n_rows), dtype=options.dtype)
    step = max(1, BATCH_BYTES // (matrix.itemsize * n_subjects))
    chunks = [slice(first, first + step) for first in range(0, n_rows, step)]
    smallest, bad, rounding = np.inf, [], Rounding(options.dtype)
    for number, (name, column) in enumerate(zip(names, columns, strict=True)):
        if found := problem(column, grid.elements, options):
            bad.append(f"{name}: {found}")
        stored = rounding.rounded(column, name)
        smallest = min(smallest, float(np.fmin.reduce(stored)))  # of observed values
        filled = number % size + 1
        batch[filled - 1] = stored
        if filled == size or number == n_subjects - 1:
            for rows in chunks:
                _by_subject(matrix[rows])[number + 1 - filled : number + 1] = batch[:filled, rows]
    if bad:
        raise ImageError(bad_values(bad, grid.words))
    rounding.require_small()
    del batch
    shift = min(smallest, 0.0) if options.negative == "shift" else 0.0
    for rows in chunks:
        matrix[rows] = (_by_subject(matrix[rows]) - matrix.dtype.type(shift)).T
    return shift, rounding.error


def _by_subject(chunk: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the memory of some rows as an array of one row per subject.

    A batch is first written in this order, in long pieces. A piece for each row of the matrix would
    be shorter than a page of the file; with a file larger than the memory, each page would be read
    and written several times.
    """
    return chunk.reshape(chunk.shape[::-1])


def problem(column: NDArray[np.float32], elements: str, options: MatrixConfig) -> str:
    """Describe the values of one subject that cannot be factorized.

    Parameters
    ----------
    column : ndarray of shape (n_rows,), float32
    elements : str
        Name of the rows in the message, such as voxels.
    options : MatrixConfig
        ``negative`` decides whether negative values are an error.

    Returns
    -------
    str
        Empty if all values can be factorized.
    """
    if not np.nan_to_num(column).any():
        return "is zero everywhere in the mask"
    n_nan = int(np.count_nonzero(~np.isfinite(column)))
    if options.masked:
        if column.size - n_nan < FEWEST_OBSERVED * column.size:
            return f"{n_nan} of {column.size} {elements} are missing"
        n_nan = 0
    n_negative = int(np.count_nonzero(column < 0)) if options.negative == "error" else 0
    counts = [f"{n_nan} NaN or infinite"] * bool(n_nan)
    counts += [f"{n_negative} negative"] * bool(n_negative)
    return f"{' and '.join(counts)} of {column.size} {elements}" if counts else ""


def bad_values(bad: list[str], words: Words) -> str:
    """Return the message about subjects with bad values, from one line for each subject."""
    text = "\n".join(bad)
    remedies = [
        remedy.format(data=words.data)
        for word, remedy in (
            ("NaN", NAN_REMEDY),
            ("are missing", MISSING_REMEDY),
            ("negative", words.if_negative),
            ("is zero", ZERO_REMEDY),
        )
        if word in text
    ]
    return BAD_VALUES_MSG.format(n=len(bad), named=listed(bad), remedy="; ".join(remedies))


def write_sidecar(
    path: Path,
    matrix_file: Path,
    mask: Mask,
    participants: Sequence[str],
    shift: float,
    options: Any,
    measures: Mapping[str, Any] | None = None,
    rounding: float = 0.0,
) -> None:
    """Write the sidecar of a matrix: its rows, subjects, preprocessing, shift and checksum.

    ``measures`` says which columns or rows are which of several measures; ``rounding`` is what
    rounding to the dtype of the file changed, as a share of the norm.
    """
    elements = mask.grid.elements.capitalize()
    with matrix_file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    sidecar = {
        "Description": f"{elements} in the mask (rows, C order of the grid) by subjects (columns)",
        **mask.grid.describe(),
        "RowsSHA256": rows_digest(mask),
        "Matrix": matrix_file.name,
        "Participants": list(participants),
        "Preprocessing": options.model_dump(exclude_none=True),
        "Shift": shift,
        **({"Rounding": float(f"{rounding:.3g}")} if rounding else {}),
        **({} if measures is None else {"Measures": dict(measures)}),
        "SHA256": checksum,
    }
    path.write_text(json.dumps(sidecar, indent=1) + "\n")


def rows_digest(mask: Mask) -> str:
    """Return the SHA-256 of the places of a mask and of its grid, which is no digest of a file."""
    grid = json.dumps(mask.grid.describe(), sort_keys=True).encode()
    return hashlib.sha256(grid + np.packbits(mask.inside).tobytes()).hexdigest()


def read_matrix(path: Path) -> tuple[NDArray[np.floating], dict[str, Any]]:
    """Open a matrix as a memory map.

    Parameters
    ----------
    path : path
        The sidecar (``matrix.json``), which names the file of the values in the same folder.

    Returns
    -------
    matrix : memmap of shape (n_rows, n_subjects), float32 or float16
        Read-only. Computations convert its blocks first: float16 is only for storage.
    sidecar : dict
        Content of the sidecar.

    Raises
    ------
    FileError
        The folder has no matrix.
    """
    if not path.exists():
        raise FileError(NO_MATRIX_MSG.format(folder=path.parent, name=path.name))
    sidecar = json.loads(path.read_text())
    matrix: NDArray[np.floating] = np.load(path.with_name(sidecar["Matrix"]), mmap_mode="r")
    return matrix, sidecar
