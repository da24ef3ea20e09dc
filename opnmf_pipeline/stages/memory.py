"""Memory that a stage needs, from the size of its inputs; engines request it from a scheduler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.spaces import open_mask

__all__ = ["BASE_BYTES", "GB", "base_memory", "fit_bytes", "fit_memory", "maps_memory"]

GB = 2**30
"""Bytes in one GB of the settings; Nipype and Slurm use the same unit."""
BASE_BYTES = 300 * 2**20
"""Memory of Python and the libraries before any data are read."""
COPIES_OF_W = 4
COPIES_OF_MAPS = 2


def fit_bytes(n_voxels: int, n_subjects: int, n_components: int, dtype: str) -> int:
    """Return the most memory that a fit needs, in bytes, with all pages of its matrix.

    Parameters
    ----------
    n_voxels, n_subjects, n_components : int
        Shapes of X, (n_voxels, n_subjects), and W, (n_voxels, n_components).
    dtype : {'float32', 'float64'}
        Precision of W; the matrix is float32.
    """
    W_bytes = np.dtype(dtype).itemsize * n_voxels * n_components
    return BASE_BYTES + 4 * n_voxels * n_subjects + COPIES_OF_W * W_bytes


def base_memory(inputs: Mapping[str, Any]) -> int:
    """Return the memory of a stage that holds few data, in bytes."""
    return BASE_BYTES


def fit_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory that a stage needs to read the matrix, in bytes.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``matrix_dir`` exists.
    """
    X, _ = read_matrix(Path(inputs["matrix_dir"]) / "matrix.json")
    k, dtype = inputs.get("n_components", 1), inputs.get("dtype", "float32")
    return fit_bytes(len(X), X.shape[1], k, dtype)


def maps_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory that the maps of a factorization need, in bytes.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``factorization_dir`` and ``mask_file`` exist.
    """
    W = np.load(Path(inputs["factorization_dir"]) / "W.npy", mmap_mode="r")
    n_grid = math.prod(open_mask(Path(inputs["mask_file"])).grid.shape)
    return BASE_BYTES + COPIES_OF_MAPS * int(W.itemsize * n_grid * W.shape[1])
