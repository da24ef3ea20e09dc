"""Components that other programs wrote: matrices W, and folders with one image per component.

Only numbers and images are read. Pickles, which can contain programs, are never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import FileError, ModelError
from opnmf_pipeline.images.matrices import read_matrices

__all__ = ["component_folders", "component_images", "read_weights", "rows_in_c_order"]

NAMES = ("W", "B")
"""Names of the matrix of components: of brainparts, opnmf, opnmfR and cobra-nmf; of its precursor.
"""
IMAGE = re.compile(r"component[_-](\d+)\.nii(\.gz)?")
"""Image of one component: sopnmf counts from 1, cobra-nmf from 0."""
FOLDERS = (".", "component_*", "NMF/component_*")
"""Where sopnmf writes these images, in the folder that the user may mean."""

NOT_WEIGHTS_MSG = (
    "{path}: {name} has shape {shape} and dtype {dtype}; expected a matrix of numbers, one row per "
    "voxel and one column per component"
)
NEGATIVE_MSG = "{path}: W has negative or missing weights, which components do not have"
ROWS_MSG = (
    "{path}: W has {n} rows, but the mask {mask} has {expected} {elements}; give the mask that the "
    "rows were read from"
)


def read_weights(path: Path) -> NDArray[np.float32]:
    """Read the components of another program from a file of matrices.

    Parameters
    ----------
    path : path
        File with a matrix ``W`` (or ``B``), or ``.npy`` with this matrix; see
        :func:`opnmf_pipeline.images.matrices.read_matrices`.

    Returns
    -------
    ndarray of shape (n_rows, n_components), float32

    Raises
    ------
    ModelError
        The file is damaged or a pickle, or has no such matrix, or it has negative values.
    """
    try:
        content = read_matrices(path, NAMES)
    except FileError as error:
        raise ModelError(str(error)) from None
    name = next(name for name in NAMES if name in content)
    weights = content[name]
    if weights.ndim != 2 or weights.dtype.kind not in "fiu":
        raise ModelError(
            NOT_WEIGHTS_MSG.format(path=path, name=name, shape=weights.shape, dtype=weights.dtype)
        )
    if not (weights >= 0).all():
        raise ModelError(NEGATIVE_MSG.format(path=path))
    return weights.astype(np.float32)


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
