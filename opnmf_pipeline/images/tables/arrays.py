"""Matrices of features by subjects without names, as MATLAB codes take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from opnmf_pipeline.exceptions import CohortError, FileError, TableError
from opnmf_pipeline.images.matrices import read_matrices

__all__ = ["read_array"]

WAY_MSG = (
    "inputs.features_as: must be set for {path}, a matrix of {shape} values without names; rows "
    "(one row per feature, such as voxels by subjects in MATLAB) or columns (one row per subject)"
)
WHICH_MSG = (
    "{path}: contains {n} matrices of numbers{found}; save the matrix of the features alone in a "
    "file"
)


def read_array(path: Path, features_as: str | None) -> NDArray[Any]:
    """Read a matrix of values.

    Parameters
    ----------
    path : path
        File with one matrix of real numbers, see
        :func:`opnmf_pipeline.images.matrices.read_matrices`.
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
        content = read_matrices(path)
    except FileError as error:
        raise TableError(str(error)) from None
    matrices = {
        name: value
        for name, value in content.items()
        if value.ndim == 2 and value.dtype.kind in "fiub" and min(value.shape) > 1
    }
    if len(matrices) != 1:
        named = [f"{name} {' x '.join(map(str, value.shape))}" for name, value in matrices.items()]
        found = f" ({', '.join(named)})" if named else ""
        raise CohortError(WHICH_MSG.format(path=path, n=len(matrices), found=found))
    (values,) = matrices.values()
    if features_as is None:
        shape = " x ".join(map(str, values.shape))
        raise CohortError(WAY_MSG.format(path=path, shape=shape))
    return values if features_as == "rows" else values.T
