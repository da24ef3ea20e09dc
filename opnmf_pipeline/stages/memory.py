"""Memory that a stage takes, from the size of what it reads: what a scheduler is asked for."""

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
"""Bytes in what the settings call GB, as Nipype and Slurm count."""
BASE_BYTES = 300 * 2**20
"""What Python and the libraries take before any data."""
COPIES_OF_W = 4
COPIES_OF_MAPS = 2


def fit_bytes(n_voxels: int, n_subjects: int, n_components: int, dtype: str) -> int:
    """Return the most memory that a fit takes, the pages of its matrix included."""
    W_bytes = np.dtype(dtype).itemsize * n_voxels * n_components
    return BASE_BYTES + 4 * n_voxels * n_subjects + COPIES_OF_W * W_bytes


def base_memory(inputs: Mapping[str, Any]) -> int:
    """Return what a stage takes that holds few data."""
    return BASE_BYTES


def fit_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory in bytes that a stage takes that reads the matrix.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``matrix_dir`` exists.
    """
    X, _ = read_matrix(Path(inputs["matrix_dir"]) / "matrix.json")
    k, dtype = inputs.get("n_components", 1), inputs.get("dtype", "float32")
    return fit_bytes(len(X), X.shape[1], k, dtype)


def maps_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory in bytes that the maps of a factorization take.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``factorization_dir`` and ``mask_file`` exist.
    """
    W = np.load(Path(inputs["factorization_dir"]) / "W.npy", mmap_mode="r")
    n_grid = math.prod(open_mask(Path(inputs["mask_file"])).grid.shape)
    return BASE_BYTES + COPIES_OF_MAPS * int(W.itemsize * n_grid * W.shape[1])
