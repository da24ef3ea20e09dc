"""Stage ``select``: how well each number of components reproduces in halves of the cohort."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import DecompositionConfig, SelectionConfig
from opnmf_pipeline.decomposition.selection import matched_inner_products, split_halves
from opnmf_pipeline.images.maps import winner_takes_all
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.decompose import estimator

__all__ = ["split_half_reproducibility"]


def split_half_reproducibility(
    matrix_file: Path,
    out_file: Path,
    n_components: int,
    options: DecompositionConfig,
    selection: SelectionConfig,
    *,
    n_procs: int | None = None,
    track: Track = silent,
) -> Path:
    """Fit both halves of repeated halvings and compare the components.

    Parameters
    ----------
    matrix_file : path
        Matrix of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_file : path
        JSON to write: ``inner_product`` (mean cosine of matched components) and ``label_ari``
        (adjusted Rand index of the winner-takes-all labels), one value per halving.
    n_components : int
        Number of components, at most half of the subjects.
    options : DecompositionConfig
        How each half is factorized.
    selection : SelectionConfig
        Number of halvings and their seed.
    n_procs : int, optional
        Largest number of BLAS threads.
    track : callable
        Shows progress.

    Returns
    -------
    path
        ``out_file``.
    """
    X, _ = read_matrix(matrix_file)
    splits = split_halves(X.shape[1], selection.n_splits, selection.random_state)
    inner_products, label_aris = [], []
    for halves in track(splits, f"k = {n_components}, split halves", len(splits)):
        with threadpool_limits(n_procs):
            # A copy per half: a column subset of a C-ordered matrix has no contiguous rows.
            fits = [
                estimator(n_components, options).fit_transform(np.ascontiguousarray(X[:, half]))
                for half in halves
            ]
        inner_products.append(float(matched_inner_products(*fits).mean()))
        label_aris.append(float(adjusted_rand_score(*map(winner_takes_all, fits))))
    result = {"inner_product": inner_products, "label_ari": label_aris}
    out_file.write_text(json.dumps(result, indent=1) + "\n")
    return out_file
