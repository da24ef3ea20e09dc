"""Stage ``decompose``: from the matrix to one factorization on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import DecompositionConfig, MatrixConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.exceptions import ConfigError, FileError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.logs import library_versions
from opnmf_pipeline.selection.errors import (
    column_norms,
    mean_image,
    n_missing,
    norm,
    relative_errors,
    residual_norms,
)
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.newimages import extent
from opnmf_pipeline.stages.stage import FACTORIZATION_DIR, MATRIX_DIR, N_COMPONENTS, Call, Stage

__all__ = [
    "DECOMPOSE",
    "FACTORIZATION_FILE",
    "W_FILE",
    "Factorization",
    "decompose",
    "estimator",
    "read_factorization",
]

FACTORIZATION_FILE = "factorization.json"
"""Name of the file that describes a fit; stages take its path as the path of the fit."""
W_FILE, H_FILE = "W.npy", "H.npy"
"""Names of the files of W and H beside it."""

OF_MATRIX = ("RowsSHA256", "Rounding", "Adjustment", "Change", "Measures")
"""Parts of the description of a matrix that the description of its fit repeats."""

NO_FIT_MSG = (
    "{folder}: is no folder of a factorization, because it has no {name}; connect "
    "factorization_dir of Decompose"
)
TOO_MANY_MSG = (
    "k = {k}: the mask has only {n} elements (voxels); lower decomposition.n_components or "
    "selection.candidates to at most {n}"
)


class Factorization(NamedTuple):
    """A fit on disk.

    Attributes
    ----------
    W : memmap of shape (n_voxels, n_components), float32 or float64
        Components, one per column.
    H : memmap of shape (n_components, n_subjects), float32 or float64
        Loadings, WᵀX. Missing values of X are filled as :class:`OPNMF` says.
    info : dict
        Settings, versions, error and history of the fit (``factorization.json``).
    """

    W: NDArray[np.floating]
    H: NDArray[np.floating]
    info: dict[str, Any]


def matrix_for(matrix_file: Path, n_components: int) -> tuple[NDArray[np.floating], dict[str, Any]]:
    """Map the matrix for a fit, and read its sidecar.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    n_components : int
        Number of components of the fit.

    Raises
    ------
    ConfigError
        The number of components is larger than the number of rows.
    """
    X, sidecar = read_matrix(matrix_file)
    if n_components > X.shape[0]:
        raise ConfigError(TOO_MANY_MSG.format(k=n_components, n=X.shape[0]))
    return X, sidecar


def estimator(
    n_components: int,
    options: DecompositionConfig,
    sidecar: Mapping[str, Any],
    callback: Callable[[Any], None] | None = None,
    checkpoint: Path | None = None,
    scheduler: str | None = None,
    device: str | None = None,
) -> OPNMF:
    """Return the estimator for a matrix with this sidecar; it is not fitted."""
    return OPNMF(
        n_components,
        solver=options.solver,
        init=options.init,
        n_init=options.n_init,
        tol=options.tol,
        max_iter=options.max_iter,
        random_state=options.random_state,
        missing="masked" if MatrixConfig(**sidecar["Preprocessing"]).masked else "error",
        dtype=options.dtype,
        callback=callback,
        checkpoint=checkpoint,
        scheduler=scheduler,
        device=device,
    )


def decompose(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    options: DecompositionConfig,
    *,
    n_procs: int | None = None,
    callback: Callable[[Any], None] | None = None,
    checkpoint: Path | None = None,
    scheduler: str | None = None,
    device: str | None = None,
) -> Path:
    """Fit the matrix with one number of components.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets ``W.npy``, ``H.npy`` and ``factorization.json``.
    n_components : int
        Number of components, at most min(n_voxels, n_subjects).
    options : DecompositionConfig
        Solver, initialization, tolerance, seed, precision.
    n_procs : int, optional
        Largest number of BLAS threads.
    callback : callable, optional
        Called after each iteration of the fit, with the record of that iteration.
    checkpoint : path, optional
        File from which the fit continues if it was interrupted; deleted when the fit ends.
    scheduler : str, optional
        Address of a Dask scheduler; its workers read the matrix and make the passes.
    device : str, optional
        Device of torch that makes the matrix products, such as ``cuda``.

    Returns
    -------
    path
        ``factorization.json``, which later stages take as the path of the fit.

    Raises
    ------
    ConfigError
        There are more components than voxels.
    ClusterError
        The scheduler or its workers are lost.
    DeviceError
        The device does not exist, or torch is not installed.
    """
    X, sidecar = matrix_for(matrix_file, n_components)
    with threadpool_limits(n_procs):
        model = estimator(
            n_components, options, sidecar, callback, checkpoint, scheduler, device
        ).fit(X)
    np.save(out_dir / W_FILE, model.coef_)
    np.save(out_dir / H_FILE, model.components_)
    W, norms = model.coef_.astype(np.float64), column_norms(X)
    errors = relative_errors(norms, model.components_.T, W.T @ W)
    if model.missing == "masked":  # over observed values, as the norms are
        errors = residual_norms(X, model.coef_, model.components_) / norms
    info = {
        "NumberOfComponents": n_components,
        "NumberOfVoxels": X.shape[0],
        "NumberOfSubjects": X.shape[1],
        "Settings": options.of_each_fit(),
        "Versions": library_versions(),
        "MatrixSHA256": sidecar["SHA256"],
        "SHA256": hashlib.sha256(np.ascontiguousarray(model.coef_).data).hexdigest(),
        "Participants": sidecar["Participants"],
        "Preprocessing": sidecar["Preprocessing"],
        "Shift": sidecar["Shift"],
        **{name: sidecar[name] for name in OF_MATRIX if name in sidecar},
        "Norm": norm(X),
        "NormExtent": extent(norms),
        "NormAboutMean": norm(X, mean_image(X)),
        "ReconstructionError": float(model.reconstruction_err_),
        "RelativeErrors": [float(f"{error:.6g}") for error in errors],
        "LowerBound": float(model.lower_bound_),
        "KKTResidual": float(model.kkt_residual_),
        "Iterations": int(model.n_iter_),
        "PassesOverData": int(model.n_passes_),
        "CompressionLoss": float(f"{model.compression_loss_:.3g}"),
        "Converged": bool(model.converged_),
        "History": {
            "objective": [float(f"{record.objective:.9g}") for record in model.history_],
            "change": [float(f"{record.change:.4g}") for record in model.history_],
        },
    }
    if model.missing == "masked":
        info["MissingValues"] = n_missing(X)
        info["MeanLoadings"] = model.mean_loadings_.tolist()
    out_file = out_dir / FACTORIZATION_FILE
    out_file.write_text(json.dumps(info, indent=1) + "\n")
    return out_file


def read_factorization(path: Path) -> Factorization:
    """Read ``factorization.json``, and map ``W.npy`` and ``H.npy`` from the same folder.

    Raises
    ------
    FileError
        The folder has no factorization.
    """
    if not path.exists():
        raise FileError(NO_FIT_MSG.format(folder=path.parent, name=path.name))
    return Factorization(
        np.load(path.with_name(W_FILE), mmap_mode="r"),
        np.load(path.with_name(H_FILE), mmap_mode="r"),
        json.loads(path.read_text()),
    )


def _run(call: Call) -> dict[str, Path]:
    factorization_file = decompose(
        call.path("matrix_dir") / MATRIX_FILE,
        call.folder,
        call["n_components"],
        call.section(DecompositionConfig, n_components=call["n_components"]),
        n_procs=call.n_procs,
        callback=call.callback,
        checkpoint=call.checkpoint,
        scheduler=call.scheduler,
        device=call.device,
    )
    return {"factorization_dir": factorization_file.parent}


DECOMPOSE = Stage(
    name="Decompose",
    summary="Factorize the matrix with one number of components.",
    run=_run,
    folder="factorization",
    inputs={"matrix_dir": MATRIX_DIR, "n_components": N_COMPONENTS},
    outputs={"factorization_dir": FACTORIZATION_DIR},
    settings={DecompositionConfig: ("n_components",)},
    large=(W_FILE, H_FILE),
    memory=fit_memory,
    free=("max_iter",),
)
