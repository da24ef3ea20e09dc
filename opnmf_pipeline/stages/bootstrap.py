"""Stage ``bootstrap``: the fit of a bootstrap sample of the subjects."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import DecompositionConfig, MatrixConfig
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.selection.splits import bootstrap_sample
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import estimator, matrix_for
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.parts import PART_SETTINGS, Parts
from opnmf_pipeline.stages.splits import groups_of, with_covariates
from opnmf_pipeline.stages.stage import MATRIX_DIR, N_COMPONENTS, Call, Field, Kind, Stage

__all__ = ["FIT_BOOTSTRAP", "LABELS_FILE", "fit_bootstrap"]

LABELS_FILE = "labels.npy"
"""Name of the file with the winner-takes-all labels, (n_voxels,), int16."""


def fit_bootstrap(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    sample: int,
    options: DecompositionConfig,
    *,
    groups: str | None = None,
    matrix: MatrixConfig | None = None,
    cohort_file: Path | None = None,
    n_procs: int | None = None,
) -> Path:
    """Factorize subjects that are drawn with replacement, from a random start of its own.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets ``labels.npy``.
    n_components : int
        Number of components.
    sample : int
        Number of the sample, from 1. It has the same subjects for every number of components.
    options : DecompositionConfig
        Settings of the fit. The seeds of the sample and of the start follow from ``random_state``
        and ``sample``.
    groups : str, optional
        Column of labels; subjects with the same label are drawn together.
    matrix : MatrixConfig, optional
        Settings of the adjustment, which is learned from the drawn subjects.
    cohort_file : path, optional
        Table with ``participant_id`` and the columns that the settings name (TSV).
    n_procs : int, optional
        Largest number of BLAS threads.

    Returns
    -------
    path
        ``labels.npy``: winner-takes-all labels, (n_voxels,), int16.

    Raises
    ------
    ConfigError
        The table does not have the column.
    """
    X, sidecar = matrix_for(matrix_file, n_components)
    together = groups_of(with_covariates(sidecar["Participants"], cohort_file), groups)
    drawn = bootstrap_sample(X.shape[1], [options.random_state, sample], groups=together)
    with threadpool_limits(n_procs), warnings.catch_warnings():
        # Where such a fit has not converged, voxels are less stable, which the maps show
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = options.from_random_start(sample)
        subjects = Parts.of(X, sidecar, matrix or MatrixConfig(), cohort_file, out_dir)
        drawn_part = subjects.part(drawn.tolist()).values
        model = estimator(n_components, start, sidecar).fit(drawn_part)
    np.save(out_dir / LABELS_FILE, winner_takes_all(model.coef_))
    return out_dir / LABELS_FILE


def _run(call: Call) -> dict[str, Path]:
    labels_file = fit_bootstrap(
        call.path("matrix_dir") / MATRIX_FILE,
        call.folder,
        call["n_components"],
        call["sample"],
        call.section(DecompositionConfig, n_components=call["n_components"]),
        groups=call["groups"],
        matrix=call.section(MatrixConfig, dtype="float32"),  # the input dtype is that of W
        cohort_file=call.optional_path("cohort_file"),
        n_procs=call.n_procs,
    )
    return {"labels_file": labels_file}


FIT_BOOTSTRAP = Stage(
    name="FitBootstrap",
    summary="Factorize a bootstrap sample of the subjects.",
    run=_run,
    folder="bootstrap",
    inputs={
        "matrix_dir": MATRIX_DIR,
        "n_components": N_COMPONENTS,
        "sample": Field(Kind.NUMBER, "number of the sample, from 1", low=1),
        "groups": Field(
            Kind.TEXT, "column of labels; subjects with the same label stay together", default=None
        ),
        "cohort_file": replace(COHORT_FILE, default=None),
    },
    outputs={"labels_file": Field(Kind.FILE, "winner-takes-all labels, (voxels,), int16 (NPY)")},
    settings={DecompositionConfig: ("n_components",), **PART_SETTINGS},
    memory=fit_memory,
)
