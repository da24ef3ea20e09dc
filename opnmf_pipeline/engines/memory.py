"""Memory of a stage, from the size of what it reads: what a scheduler is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nb

from opnmf_pipeline.engines.study import BASE_BYTES, fit_bytes
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, read_factorization
from opnmf_pipeline.stages.matrix import MATRIX_FILE

__all__ = ["stage_bytes"]

COPIES_OF_MAPS = 2


def stage_bytes(inputs: Any) -> int:
    """Return the most memory that a node takes.

    Parameters
    ----------
    inputs : object
        Inputs of a node of either engine, once the nodes before it have finished.
    """
    if hasattr(inputs, "matrix_dir"):
        X, _ = read_matrix(Path(inputs.matrix_dir) / MATRIX_FILE)
        k, dtype = getattr(inputs, "n_components", 1), getattr(inputs, "dtype", "float32")
        return fit_bytes(len(X), X.shape[1], k, dtype)
    if hasattr(inputs, "factorization_dir"):
        W = read_factorization(Path(inputs.factorization_dir) / FACTORIZATION_FILE).W
        n_grid = math.prod(nb.load(inputs.mask_file).shape)
        return BASE_BYTES + COPIES_OF_MAPS * int(W.itemsize * n_grid * W.shape[1])
    return BASE_BYTES
