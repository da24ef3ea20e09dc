"""Components that other programs wrote: matrices W, and folders with one image per component.

Only numbers and images are read. Pickles, which can contain programs, are never opened.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ModelError

__all__ = ["component_folders", "component_images", "is_matrix", "read_weights", "rows_in_c_order"]

MATRICES = (".mat", ".npz", ".npy")
NAMES = ("W", "B")
"""Names of the matrix of components: of brainparts, opnmf, opnmfR and cobra-nmf; of its precursor.
"""
IMAGE = re.compile(r"component[_-](\d+)\.nii(\.gz)?")
"""Image of one component: sopnmf counts from 1, cobra-nmf from 0."""
FOLDERS = (".", "component_*", "NMF/component_*")
"""Where sopnmf writes these images, in the folder that the user may mean."""

UNREADABLE_MSG = "{path}: cannot be read as a file of components ({reason})"
PICKLE_MSG = (
    "{path}: contains Python objects (a pickle), which can run programs, and is not opened; save "
    "the matrix W alone: numpy.savez(file, W=W)"
)
NO_HDF5_MSG = (
    "{path}: reading MATLAB v7.3 needs the package h5py; install it with "
    "`pip install opnmf-pipeline[hdf5]`, or save the file in MATLAB with save(..., '-v7')"
)
NO_W_MSG = "{path}: has no matrix named {names}, only {there}; save the components as W"
NOT_WEIGHTS_MSG = (
    "{path}: {name} has shape {shape} and dtype {dtype}; expected a matrix of numbers, one row per "
    "voxel and one column per component"
)
NEGATIVE_MSG = "{path}: W has negative or missing weights, which components do not have"
ROWS_MSG = (
    "{path}: W has {n} rows, but the mask {mask} has {expected} {elements}; give the mask that the "
    "rows were read from"
)


def is_matrix(path: Path) -> bool:
    """Tell by its ending whether a file contains matrices."""
    return path.suffix.lower() in MATRICES


def read_weights(path: Path) -> NDArray[np.float32]:
    """Read the components of another program from a file of matrices.

    Parameters
    ----------
    path : path
        MATLAB file or ``.npz`` with a matrix ``W`` (or ``B``), or ``.npy`` with this matrix.

    Returns
    -------
    ndarray of shape (n_rows, n_components), float32

    Raises
    ------
    ModelError
        The file is damaged or a pickle, or has no such matrix, or it has negative values.
    """
    try:
        content = _content(path)
    except ModelError:
        raise
    except Exception as error:  # NumPy, SciPy and h5py raise errors of many kinds
        if "allow_pickle" in str(error):
            raise ModelError(PICKLE_MSG.format(path=path)) from None
        raise ModelError(UNREADABLE_MSG.format(path=path, reason=error)) from None
    found = [name for name in NAMES if name in content]
    if not found:
        there = ", ".join(sorted(content)) or "nothing"
        raise ModelError(NO_W_MSG.format(path=path, names=" or ".join(NAMES), there=there))
    weights = content[found[0]]
    if weights.ndim != 2 or weights.dtype.kind not in "fiu":
        raise ModelError(
            NOT_WEIGHTS_MSG.format(
                path=path, name=found[0], shape=weights.shape, dtype=weights.dtype
            )
        )
    if not (weights >= 0).all():
        raise ModelError(NEGATIVE_MSG.format(path=path))
    return weights.astype(np.float32)


def _content(path: Path) -> Mapping[str, NDArray[Any]]:
    """Return the matrices of a file by name; ``.npy`` has one, which is called W."""
    if path.suffix.lower() == ".mat":
        from scipy.io import loadmat

        try:
            content: dict[str, Any] = loadmat(path, variable_names=NAMES)
        except NotImplementedError:  # version 7.3 is HDF5
            return _of_hdf5(path)
        if not set(NAMES) & set(content):
            from scipy.io import whosmat

            return {name: np.empty(0) for name, *_ in whosmat(path)}
        return {name: content[name] for name in NAMES if name in content}
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return {"W": loaded}
    with loaded:
        there = [name for name in NAMES if name in loaded.files]
        return {name: loaded[name] if there else np.empty(0) for name in there or loaded.files}


def _of_hdf5(path: Path) -> dict[str, NDArray[Any]]:
    if importlib.util.find_spec("h5py") is None:
        raise ModelError(NO_HDF5_MSG.format(path=path))
    import h5py

    with h5py.File(path) as file:
        # HDF5 has the axes of MATLAB in reverse order
        return {
            name: np.asarray(item).T
            for name, item in file.items()
            if isinstance(item, h5py.Dataset) and not name.startswith("#")
        }


def rows_in_c_order(
    weights: NDArray[np.float32], inside: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], bool]:
    """Return rows in the C order of a mask: MATLAB numbers voxels along the first axis first.

    A matrix does not tell its order. In the wrong one, voxels that are neighbours have unrelated
    weights. So the order with the larger similarity of neighbours along the last axis is taken.

    Parameters
    ----------
    weights : ndarray of shape (n_rows, n_components), float32
    inside : ndarray of bool
        The mask, with ``n_rows`` places.

    Returns
    -------
    weights : ndarray of shape (n_rows, n_components), float32
    turned : bool
        Whether the rows were in the order of MATLAB.
    """
    if inside.ndim < 2:  # vertices have one order
        return weights, False
    numbers = np.zeros(inside.T.shape, dtype=np.int64)
    numbers[inside.T] = np.arange(len(weights))
    turned = weights[numbers.T[inside]]
    return max(((weights, False), (turned, True)), key=lambda one: _likeness(one[0], inside))


def _likeness(weights: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the mean cosine of the weights of neighbours along all axes."""
    rows = np.full(inside.shape, -1)
    rows[inside] = np.arange(len(weights))
    unit = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-30)
    cosines = []
    for axis in range(inside.ndim):
        turned = np.moveaxis(rows, axis, 0)
        first, second = turned[:-1].ravel(), turned[1:].ravel()
        both = (first >= 0) & (second >= 0)
        cosines.append((unit[first[both]] * unit[second[both]]).sum(axis=1))
    return float(np.concatenate(cosines).mean())


def component_images(folder: Path) -> list[Path]:
    """Return the images of single components in a folder, by their numbers."""
    numbered = {
        int(match[1]): path for path in folder.iterdir() if (match := IMAGE.fullmatch(path.name))
    }
    return [path for _, path in sorted(numbered.items())]


def component_folders(root: Path) -> Iterator[Path]:
    """Yield the folders with images of components, of one or several numbers of components."""
    for pattern in FOLDERS:
        folders = [root] if pattern == "." else sorted(root.glob(pattern))
        yield from (one for one in folders if one.is_dir() and component_images(one))
