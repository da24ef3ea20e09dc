"""Stage ``permuted``: fits of null data, with the voxels shuffled within each subject."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import DecompositionConfig
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.selection.ranks import permuted
from opnmf_pipeline.stages.decompose import estimator, matrix_for
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.stage import MATRIX_DIR, N_COMPONENTS, Call, Field, Kind, Stage

__all__ = ["FIT_PERMUTED", "PERMUTED_FILE", "fit_permuted"]

PERMUTED_FILE = "permuted.json"
"""Name of the file with the result of the fit."""


def fit_permuted(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    seed: int,
    options: DecompositionConfig,
    *,
    n_procs: int | None = None,
) -> Path:
    """Factorize the matrix with the voxels shuffled within each subject.

    Shuffling keeps the distribution of each subject's values and removes the covariance between
    voxels. The shuffled matrix is held in memory and not saved.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets ``permuted.json``.
    n_components : int
        Number of components, at most min(n_voxels, n_subjects).
    seed : int
        Seed of the shuffling; use the same for every number of components, so that their errors
        can be compared.
    options : DecompositionConfig
        Settings of the fit.
    n_procs : int, optional
        Largest number of BLAS threads.

    Returns
    -------
    path
        ``permuted.json``: number of components, seed, error, iterations.
    """
    matrix, sidecar = matrix_for(matrix_file, n_components)
    X = permuted(matrix, seed)
    with threadpool_limits(n_procs), warnings.catch_warnings():
        # The error of a fit that has not converged is an upper bound, which is enough here
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = estimator(n_components, options, sidecar).fit(X)
    found = {
        "n_components": n_components,
        "seed": seed,
        "error": float(model.reconstruction_err_),
        "n_iter": int(model.n_iter_),
        "converged": bool(model.converged_),
    }
    out_file = out_dir / PERMUTED_FILE
    out_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return out_file


def _run(call: Call) -> dict[str, Path]:
    permuted_file = fit_permuted(
        call.path("matrix_dir") / MATRIX_FILE,
        call.folder,
        call["n_components"],
        call["seed"],
        call.section(DecompositionConfig, n_components=call["n_components"]),
        n_procs=call.n_procs,
    )
    return {"permuted_file": permuted_file}


FIT_PERMUTED = Stage(
    name="FitPermuted",
    summary="Factorize the matrix with the voxels shuffled within each subject.",
    run=_run,
    folder="permuted",
    inputs={
        "matrix_dir": MATRIX_DIR,
        "n_components": N_COMPONENTS,
        "seed": Field(Kind.NUMBER, "seed of the shuffling"),
    },
    outputs={"permuted_file": Field(Kind.JSON, "error of the fit (JSON)")},
    settings={DecompositionConfig: ("n_components",)},
    memory=fit_memory,
)
