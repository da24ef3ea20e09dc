"""What the workers of a cluster do: they read rows of X, work on them and hand on their sums.

Everything here runs in a worker; `distributed` decides what runs where.
"""

import io
import pickle
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from distributed import get_worker

from opnmf_pipeline import __version__
from opnmf_pipeline.decomposition.compilation import row_solver
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, added

NOTHING = np.empty((0, 0))
"""The rows of a pass that makes none."""


class File(NamedTuple):
    """Where X is on disk: the arguments of ``numpy.memmap``."""

    path: str
    dtype: np.dtype
    mode: Literal["r"]
    offset: int
    shape: tuple[int, int]


class Done(NamedTuple):
    """What a worker has of a part: what it found there, and the rows that it made or read."""

    found: Any
    rows: Array


class Facts(NamedTuple):
    """What a function that is sent to the workers may ask of X."""

    shape: tuple[int, int]
    dtype: np.dtype


class _Part:
    """Some rows of W, by their numbers in W."""

    def __init__(self, first: int, array: Array) -> None:
        self.first = first
        self.array = array
        self.dtype = array.dtype

    def __getitem__(self, rows: slice) -> Array:
        return self.array[rows.start - self.first : rows.stop - self.first]

    def __setitem__(self, rows: slice, values: Array) -> None:
        self.array[rows.start - self.first : rows.stop - self.first] = values


class _Unpickler(pickle.Unpickler):
    """Unpickle a function, with a part of the data."""

    def __init__(self, file: io.BytesIO, parts: Sequence[_Part]) -> None:
        super().__init__(file)
        self.parts = parts

    def persistent_load(self, pid: Any) -> Any:
        return self.parts[pid] if isinstance(pid, int) else pid


def read(file: File, part: slice, dtype: np.dtype) -> Done:
    """Read some rows from a file."""
    X: Array = np.memmap(*file)
    return Done(None, np.array(X[part], dtype=dtype))


def passed(
    order: bytes, part: slice, scale: float, writes: bool, X_part: Done, *sources: Done
) -> Done:
    """Work on one part."""
    arrays = [source.rows for source in sources]
    if writes:  # what Dask holds must not change: it may be used again
        arrays = [array.copy() for array in arrays]
    parts = [_Part(part.start, array) for array in arrays]
    method, (function, *arguments) = _Unpickler(io.BytesIO(order), parts).load()

    def numbered(rows: slice, X_b: Array) -> Any:
        return function(slice(part.start + rows.start, part.start + rows.start + len(X_b)), X_b)

    with RowBlocks(X_part.rows, X_part.rows.dtype, get_worker().state.nthreads) as X:
        X.scale = scale
        match method:
            case "rows":
                return Done(None, X.rows(function, *arguments))
            case "map":
                return Done(list(X.map(numbered)), NOTHING)
        return Done(X.sum(numbered), arrays[0] if writes else NOTHING)


def called(order: bytes, item: Any) -> Any:
    """Call a function with one item."""
    return pickle.loads(order)(item)  # noqa: S301 - made by this program


def changed(order: bytes, part: Done) -> Done:
    """Change the rows of a part."""
    return Done(None, pickle.loads(order)(part.rows))  # noqa: S301 - made by this program


def found(part: Done) -> Any:
    """Leave out the rows, which stay where they are."""
    return part.found


def taken(part: Done, rows: Array, columns: Any) -> Array:
    """Return some rows and columns, to be fetched."""
    wanted: Array = np.ascontiguousarray(part.rows[rows][:, columns])
    return wanted


def summed(first: Any, second: Any) -> Any:
    """Add what was found in two parts."""
    return added([first, second])


def software() -> str:
    """Return what must be the same on all machines."""
    compiled = "with" if row_solver(np.dtype("float32")) is not None else "without"
    return f"opnmf-pipeline {__version__} {compiled} numba"
