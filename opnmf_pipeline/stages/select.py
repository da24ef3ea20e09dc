"""Stage ``select``: fits of halves of the cohort, to see which components reproduce."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import DecompositionConfig, SelectionConfig
from opnmf_pipeline.decomposition.splits import split_halves
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.decompose import decompose

__all__ = ["fit_half"]


def fit_half(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    split: int,
    half: int,
    options: DecompositionConfig,
    selection: SelectionConfig,
    *,
    n_procs: int | None = None,
    callback: Callable[[Any], None] | None = None,
) -> Path:
    """Factorize one half of one halving of the cohort.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets what :func:`opnmf_pipeline.stages.decompose.decompose` writes.
    n_components : int
        Number of components, at most half of the subjects.
    split : int
        Number of the halving, from 0.
    half : int
        0 or 1.
    options : DecompositionConfig
        How the half is factorized.
    selection : SelectionConfig
        Seed of the halvings.
    n_procs : int, optional
        Largest number of BLAS threads.
    callback : callable, optional
        Takes each iteration of the fit.

    Returns
    -------
    path
        ``factorization.json``.
    """
    n_subjects = read_matrix(matrix_file)[0].shape[1]
    subjects = split_halves(n_subjects, split + 1, selection.random_state)[split][half]
    return decompose(
        matrix_file,
        out_dir,
        n_components,
        options,
        subjects=subjects.tolist(),
        label={"Split": split, "Half": half},
        n_procs=n_procs,
        callback=callback,
    )
