"""Matrices of numbers without names of rows and columns, in NumPy, MATLAB and HDF5 files.

Pickles, which can contain programs, are never opened.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import FileError

__all__ = ["is_matrix", "read_matrices"]

Matrices = dict[str, NDArray[Any]]

UNREADABLE_MSG = "{path}: cannot be read as a matrix ({reason})"
PICKLE_MSG = (
    "{path}: contains Python objects (a pickle), which can run programs, and is not opened; save "
    "the matrix alone: numpy.savez(file, W=W)"
)
NO_HDF5_MSG = (
    "{path}: reading HDF5 and MATLAB v7.3 needs the package h5py; install it with "
    "`pip install opnmf-pipeline[hdf5]`, or save the matrix as .npy, or in MATLAB with "
    "save(..., '-v7')"
)
MISSING_MSG = "{path}: has no matrix named {names}, only {there}; save the matrix as {first}"


def is_matrix(path: Path) -> bool:
    """Tell by its ending whether a file contains matrices."""
    return path.suffix.lower() in READERS


def read_matrices(path: Path, names: Collection[str] = ()) -> Matrices:
    """Read the matrices of a file.

    Parameters
    ----------
    path : path
        ``.npy``, ``.npz``, ``.mat`` (any version), ``.h5`` or ``.hdf5``.
    names : collection of str
        Only the matrices with these names are read. Default: all.

    Returns
    -------
    dict of str to ndarray
        By name; the only matrix of ``.npy`` has the first of ``names``. Rows and columns are those
        of the program that wrote the file. Texts and single numbers can be among them.

    Raises
    ------
    FileError
        The file is damaged or a pickle, needs a package that is not installed, or has none of the
        ``names``.
    """
    try:
        found, there = READERS[path.suffix.lower()](path, names)
    except FileError:
        raise
    except Exception as error:  # NumPy, SciPy and h5py raise errors of many kinds
        if "Object arrays" in str(error):  # what NumPy says about them
            raise FileError(PICKLE_MSG.format(path=path)) from None
        raise FileError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    if names and not found:
        listed = {"names": " or ".join(names), "first": next(iter(names))}
        there = ", ".join(sorted(there)) or "nothing"
        raise FileError(MISSING_MSG.format(path=path, there=there, **listed))
    return found


Found = tuple[Matrices, Collection[str]]
"""The matrices that were read, and the names of all."""


def _wanted(there: Collection[str], names: Collection[str]) -> list[str]:
    return [name for name in there if not names or name in names]


def _of_numpy(path: Path, names: Collection[str]) -> Found:
    name = next(iter(names), path.stem)
    return {name: np.load(path, mmap_mode="r", allow_pickle=False)}, [name]


def _of_archive(path: Path, names: Collection[str]) -> Found:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in _wanted(file.files, names)}, file.files


def _of_matlab(path: Path, names: Collection[str]) -> Found:
    from scipy.io import loadmat, whosmat

    try:
        there: Collection[str] = [name for name, *_ in whosmat(path)]
    except NotImplementedError:  # version 7.3 is HDF5, in the order of axes of MATLAB
        found, there = _of_hdf5(path, names)
        return {name: value.T for name, value in found.items()}, there
    content = loadmat(path, variable_names=_wanted(there, names))
    found = {
        name: value.toarray() if hasattr(value, "toarray") else value
        for name, value in content.items()
        if not name.startswith("__")
    }
    return found, there


def _of_hdf5(path: Path, names: Collection[str]) -> Found:
    if importlib.util.find_spec("h5py") is None:
        raise FileError(NO_HDF5_MSG.format(path=path))
    import h5py

    there: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            there[name] = item

    with h5py.File(path) as file:
        file.visititems(note)
        return {name: np.asarray(there[name]) for name in _wanted(there, names)}, list(there)


READERS: Mapping[str, Callable[[Path, Collection[str]], Found]] = {
    ".npy": _of_numpy,
    ".npz": _of_archive,
    ".mat": _of_matlab,
    ".h5": _of_hdf5,
    ".hdf5": _of_hdf5,
}
"""How a file with each ending is read."""
