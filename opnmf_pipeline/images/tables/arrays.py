"""Matrices without names, as MATLAB codes take them: NumPy, MATLAB and HDF5."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import CohortError, TableError

__all__ = ["is_array", "read_array"]

WAY_MSG = (
    "inputs.features_as: must be set for {path}, a matrix of {shape} values without names; rows "
    "(one row per feature, such as voxels by subjects in MATLAB) or columns (one row per subject)"
)
UNREADABLE_MSG = "{path}: cannot be read as a matrix ({reason})"
NO_HDF5_MSG = (
    "{path}: reading HDF5 and MATLAB v7.3 needs the package h5py; install it with "
    "`pip install opnmf-pipeline[hdf5]`, or save the matrix as .npy, or in MATLAB with "
    "save(..., '-v7')"
)
WHICH_MSG = (
    "{path}: contains {n} matrices of numbers{found}; save the matrix of the features alone in a "
    "file"
)
SHAPE_MSG = "{path}: has {n} dimensions, expected two: features and subjects"
KIND_MSG = "{path}: contains no real numbers (dtype {dtype})"


def is_array(path: Path) -> bool:
    """Tell by its ending whether a file is a matrix without names."""
    return path.suffix.lower() in READERS


def read_array(path: Path, features_as: str | None) -> NDArray[Any]:
    """Read a matrix of values.

    Parameters
    ----------
    path : path
        ``.npy``, or a ``.mat`` or ``.h5`` file with one matrix.
    features_as : {'columns', 'rows'} or None
        Which axis has the features; None is an error, because the numbers do not tell it.

    Returns
    -------
    ndarray of shape (n_features, n_subjects), in the dtype of the file

    Raises
    ------
    CohortError
        The file cannot be read, does not contain one matrix, or ``features_as`` is None.
    """
    try:
        values = READERS[path.suffix.lower()](path)
    except CohortError:
        raise
    except Exception as error:  # SciPy and h5py raise errors of many kinds for damaged files
        raise TableError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    if values.ndim != 2:
        raise TableError(SHAPE_MSG.format(path=path, n=values.ndim))
    if values.dtype.kind not in "fiub":
        raise TableError(KIND_MSG.format(path=path, dtype=values.dtype))
    if features_as is None:
        shape = " x ".join(map(str, values.shape))
        raise CohortError(WAY_MSG.format(path=path, shape=shape))
    return values if features_as == "rows" else values.T


def _of_numpy(path: Path) -> NDArray[Any]:
    values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return values


def _of_matlab(path: Path) -> NDArray[Any]:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except NotImplementedError:  # version 7.3 is HDF5, in the order of axes of MATLAB
        turned: NDArray[Any] = _of_hdf5(path).T
        return turned
    dense = {
        name: value.toarray() if hasattr(value, "toarray") else value
        for name, value in content.items()
        if not name.startswith("__")
    }
    matrix: NDArray[Any] = _the_matrix(path, dense)
    return matrix


def _of_hdf5(path: Path) -> NDArray[Any]:
    if importlib.util.find_spec("h5py") is None:
        raise CohortError(NO_HDF5_MSG.format(path=path))
    import h5py

    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            found[name] = item

    with h5py.File(path) as file:
        file.visititems(note)
        return np.asarray(_the_matrix(path, found))


def _the_matrix(path: Path, content: Mapping[str, Any]) -> Any:
    """Return the only matrix of numbers in a file, which may also have single numbers and texts."""
    matrices = {
        name: value
        for name, value in content.items()
        if getattr(value, "ndim", 0) == 2 and value.dtype.kind in "fiub" and min(value.shape) > 1
    }
    if len(matrices) != 1:
        named = [f"{name} {' x '.join(map(str, value.shape))}" for name, value in matrices.items()]
        found = f" ({', '.join(named)})" if named else ""
        raise CohortError(WHICH_MSG.format(path=path, n=len(matrices), found=found))
    (matrix,) = matrices.values()
    return matrix


READERS: Mapping[str, Callable[[Path], NDArray[Any]]] = {
    ".npy": _of_numpy,
    ".mat": _of_matlab,
    ".h5": _of_hdf5,
    ".hdf5": _of_hdf5,
}
"""How a file with each ending is read."""
