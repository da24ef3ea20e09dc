"""Memory that a stage needs, from the size of its inputs; engines request it from a scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["BASE_BYTES", "GB", "base_memory", "fit_bytes"]

GB = 2**30
"""Bytes in one GB of the settings; Nipype and Slurm use the same unit."""
BASE_BYTES = 300 * 2**20
"""Memory of Python and the libraries before any data are read."""
COPIES_OF_W, COPIES_OF_W_MASKED = 4, 6
"""Arrays of the size of W that a fit holds, and that a fit with missing values holds."""


def fit_bytes(
    n_voxels: int, n_subjects: int, n_components: int, dtype: str, *, masked: bool = False
) -> int:
    """Return the most memory that a fit needs, in bytes, with all pages of its matrix.

    Parameters
    ----------
    n_voxels, n_subjects, n_components : int
        Shapes of X, (n_voxels, n_subjects), and W, (n_voxels, n_components).
    dtype : {'float32', 'float64'}
        Precision of W; the matrix is float32.
    masked : bool
        Whether values may be missing.
    """
    W_bytes = np.dtype(dtype).itemsize * n_voxels * n_components
    n_copies = COPIES_OF_W_MASKED if masked else COPIES_OF_W
    return BASE_BYTES + 4 * n_voxels * n_subjects + n_copies * W_bytes


def base_memory(inputs: Mapping[str, Any]) -> int:
    """Return the memory of a stage that holds few data, in bytes."""
    return BASE_BYTES
