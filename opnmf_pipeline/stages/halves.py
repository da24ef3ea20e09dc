"""Stage ``halves``: fits of both parts of a split, and how far they agree."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import DecompositionConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import RowBlocks, moments, residual_norm
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.images.maps import winner_takes_all
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.selection.reproducibility import (
    label_agreement,
    matched_inner_products,
    stability_coefficient,
)
from opnmf_pipeline.stages.decompose import estimator
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.splits import SPLIT_FILE
from opnmf_pipeline.stages.stage import MATRIX_DIR, N_COMPONENTS, Call, Field, Kind, Stage

__all__ = ["FIT_HALVES", "HALVES_FILE", "SPLIT_COLUMNS", "fit_halves"]

HALVES_FILE = "halves.json"
"""Name of the file that stands for the comparison."""

SPLIT_COLUMNS = {
    "n_components": "Number of components, k",
    "split": "Number of the split",
    "left_out": "Subjects of the second part, where it is not a random half",
    "n_first": "Subjects of the first part",
    "n_second": "Subjects of the second part",
    "half_error": "Error of the fits of the parts, ‖X - WWᵀX‖ over all their subjects",
    "half_explained_variance": "The same as explained variance",
    "out_of_sample_error": "‖X - WWᵀX‖ with W from the subjects of the other part: for halves over "
    "all subjects, for a left out group over its subjects",
    "out_of_sample_explained_variance": "1 - (out-of-sample error / ‖X‖ of the same subjects)²",
    "inner_product": "Mean cosine of matched components of the two parts",
    "inner_product_median": "Median cosine of matched components",
    "label_ari": "Adjusted Rand index of the winner-takes-all maps; 0 by chance",
    "label_ami": "Adjusted mutual information of these maps; 0 by chance",
    "label_nmi": "Normalised mutual information of these maps; not 0 by chance",
    "variation_of_information": "Variation of information between these maps, in bits; 0 if equal",
    "label_dice": "Mean Dice coefficient of their matched parts",
    "stability": "Stability coefficient, mean over voxels",
    "stability_median": "Stability coefficient, median over voxels",
    "stability_voxel_sd": "Stability coefficient, standard deviation over voxels",
    "n_iter": "Iterations of both fits",
    "converged": "Whether both fits met their tolerance",
}
"""What is known of one split and one number of components."""


def fit_halves(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    split_file: Path,
    options: DecompositionConfig,
    *,
    n_procs: int | None = None,
) -> Path:
    """Factorize both parts of a split and compare what was found.

    Both fits start as that of the whole cohort does, and from nothing that the other has seen.
    Their components are not kept.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets ``halves.json``.
    n_components : int
        Number of components, at most the subjects of the smaller part.
    split_file : path
        One file of :func:`opnmf_pipeline.stages.splits.make_splits`.
    options : DecompositionConfig
        How each part is factorized.
    n_procs : int, optional
        Largest number of BLAS threads.

    Returns
    -------
    path
        ``halves.json``, with the keys of ``SPLIT_COLUMNS``.
    """
    X, sidecar = read_matrix(matrix_file)
    split = json.loads(split_file.read_text(encoding="utf-8"))
    column = {name: number for number, name in enumerate(sidecar["Participants"])}
    parts = [
        np.ascontiguousarray(X[:, [column[name] for name in half]]) for half in split["Halves"]
    ]
    with threadpool_limits(n_procs), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is a column of the table
        a, b = (estimator(n_components, options).fit(part) for part in parts)
    measures = {
        "n_components": n_components,
        "split": split["Split"],
        "left_out": split["LeftOut"],
        "n_first": parts[0].shape[1],
        "n_second": parts[1].shape[1],
        **_errors(a, b, parts, one_way=split["LeftOut"] is not None),
        **agreement(a.coef_, b.coef_),
        "n_iter": int(a.n_iter_ + b.n_iter_),
        "converged": bool(a.converged_ and b.converged_),
    }
    out_file = out_dir / HALVES_FILE
    out_file.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
    return out_file


def _errors(
    a: OPNMF, b: OPNMF, parts: list[NDArray[np.float32]], *, one_way: bool
) -> dict[str, float]:
    """Return errors in and out of sample; one way: only from the first part to the second."""
    norms = [float(np.linalg.norm(np.linalg.norm(part, axis=1))) for part in parts]
    inside = math.hypot(a.reconstruction_err_, b.reconstruction_err_)
    outside = projection_error(parts[1], a.coef_)
    seen = norms[1]
    if not one_way:
        outside = math.hypot(outside, projection_error(parts[0], b.coef_))
        seen = math.hypot(*norms)
    return {
        "half_error": float(inside),
        "half_explained_variance": float(1 - (inside / math.hypot(*norms)) ** 2),
        "out_of_sample_error": float(outside),
        "out_of_sample_explained_variance": float(1 - (outside / seen) ** 2),
    }


def projection_error(X: NDArray[np.floating], W: NDArray[np.floating]) -> float:
    """Return ‖X - WWᵀX‖_F of subjects that W does not come from.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
    W : ndarray of shape (n_voxels, n_components)
    """
    with RowBlocks(X, str(W.dtype)) as blocks:
        H = moments(blocks, W).M.T.astype(W.dtype)
        return residual_norm(blocks, W, H)


def agreement(W_a: NDArray[np.floating], W_b: NDArray[np.floating]) -> dict[str, float]:
    """Return every measure of the agreement of two factorizations.

    Parameters
    ----------
    W_a, W_b : ndarray of shape (n_voxels, n_components)
    """
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        matched = matched_inner_products(W_a, W_b)
        labels = label_agreement(winner_takes_all(W_a), winner_takes_all(W_b), W_a.shape[1])
        stability = stability_coefficient(W_a, W_b)
    known = stability[~np.isnan(stability)]
    found: Mapping[str, Any] = {
        "inner_product": matched.mean(),
        "inner_product_median": np.median(matched),
        "label_ari": labels["ari"],
        "label_ami": labels["ami"],
        "label_nmi": labels["nmi"],
        "variation_of_information": labels["variation_of_information"],
        "label_dice": labels["dice"],
        "stability": known.mean() if known.size else np.nan,
        "stability_median": np.median(known) if known.size else np.nan,
        "stability_voxel_sd": known.std() if known.size else np.nan,
    }
    return {name: float(value) for name, value in found.items()}


def _run(call: Call) -> dict[str, Path]:
    halves_file = fit_halves(
        call.path("matrix_dir") / MATRIX_FILE,
        call.folder,
        call["n_components"],
        call.path("split_file"),
        call.section(DecompositionConfig, n_components=call["n_components"]),
        n_procs=call.n_procs,
    )
    return {"halves_file": halves_file}


FIT_HALVES = Stage(
    name="FitHalves",
    summary="Factorize both parts of one split of the cohort, and compare what was found.",
    run=_run,
    folder="halves",
    inputs={"matrix_dir": MATRIX_DIR, "n_components": N_COMPONENTS, "split_file": SPLIT_FILE},
    outputs={
        "halves_file": Field(Kind.JSON, "errors and agreement of the fits of both parts (JSON)")
    },
    settings={DecompositionConfig: ("n_components",)},
)
