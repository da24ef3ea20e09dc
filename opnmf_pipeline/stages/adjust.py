"""Stage ``adjust``: the matrix without the effects of covariates, sites and head size."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.adjustment.adjustment import Adjustment, columns_used
from opnmf_pipeline.adjustment.blocks import row_blocks
from opnmf_pipeline.adjustment.explained import bases_of, explained_by
from opnmf_pipeline.config import GLOBAL, MatrixConfig
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import file_digest, written_whole
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import Factorization
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.parts import PART_SETTINGS, adjusted, people_of, rows_of
from opnmf_pipeline.stages.stage import MATRIX_DIR, Call, Stage

__all__ = ["ADJUSTMENT_FILE", "ADJUST_MATRIX", "adjust_matrix", "explained_loadings"]

ADJUSTMENT_FILE = "adjustment.json"
"""Name of the file with what was learned; its arrays are next to it, with the ending ``.npz``."""

logger = logging.getLogger(__name__)

NEGATIVE_MSG = (
    "the adjustment of the matrix made {n} of {total} values negative ({share:.2%}), which cannot "
    "be factorized; set matrix.negative: clip (to 0) or shift (subtract the smallest value)"
)


def adjust_matrix(
    matrix_file: Path, cohort_file: Path, out_dir: Path, options: MatrixConfig
) -> Path:
    """Write the adjusted matrix, with the adjustment learned from all its subjects.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    cohort_file : path
        Table with ``participant_id`` and the columns that the settings name (TSV).
    out_dir : path
        Existing folder that gets ``matrix.npy`` and ``matrix.json``, in the form of
        :func:`opnmf_pipeline.stages.matrix.build_matrix`, and ``adjustment.json`` and
        ``adjustment.npz``, from which :class:`opnmf_pipeline.adjustment.Adjustment` can be read.
    options : MatrixConfig
        Settings of the adjustment, and ``negative``.

    Returns
    -------
    path
        The new ``matrix.json``. Its key ``Adjustment`` holds the settings, the number of values
        that became negative, and the variance that each column explains before and after. If the
        matrix has several measures, its key ``Measures`` holds their scale.

    Raises
    ------
    ConfigError
        A formula is not allowed, or a column does not exist.
    CohortError
        A subject has no value in a column.
    ImageError
        Adjusted values are negative, and ``negative`` is ``error``.
    """
    X, sidecar = read_matrix(matrix_file)
    people = people_of(sidecar["Participants"], cohort_file)
    columns = columns_used(options, list(map(str, people)))
    with threadpool_limits(1), written_whole(out_dir / sidecar["Matrix"]) as partial:
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=X.dtype, shape=X.shape)
        allocate(partial)
        found = adjusted(X, people, options, sidecar["Shift"], out, rows_of(sidecar))
        people = found.adjustment.with_means(X, people, sidecar["Shift"])
        if found.adjustment.by_global:
            columns.append(GLOBAL)
        bases = bases_of(people, columns)
        shares = [explained_by(values, bases) for values in (X, out)]
        out.flush()
    if found.n_negative and options.negative == "error":
        share = found.n_negative / X.size
        raise ImageError(NEGATIVE_MSG.format(n=found.n_negative, total=X.size, share=share))
    found.adjustment.save(out_dir / ADJUSTMENT_FILE)
    record = {
        "Settings": options.of_adjustment(),
        "Negative": options.negative,
        "NumberOfNegativeValues": found.n_negative,
        "ShareOfNegativeValues": found.n_negative / X.size,
        "MedianR2": {
            name: {
                when: float(np.median(of_columns[name])) if of_columns[name].size else 0.0
                for when, of_columns in zip(("Before", "After"), shares, strict=True)
            }
            for name in columns
        },
    }
    content = {
        **sidecar,
        "Shift": found.shift,
        "SHA256": file_digest(out_dir / sidecar["Matrix"]),
    }
    if options.has_models:
        logger.info("adjusted for %s; negative values: %d", ", ".join(columns), found.n_negative)
        content["Adjustment"] = record
    if options.measures is not None:
        logger.info("measures: scale: %s, shift: %g", options.measures.scale, -found.shift)
        scales = found.adjustment.scales(sidecar["Measures"]["Rows"])
        scale = {"Scale": options.measures.scale, **scales}
        content["Measures"] = {**sidecar["Measures"], **scale}
    out_file = out_dir / MATRIX_FILE
    out_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return out_file


def explained_loadings(
    fit: Factorization, matrix_file: Path, cohort_file: Path
) -> dict[str, dict[str, list[float]]]:
    """Return the share of the variance of each component's loadings that each column explains.

    Parameters
    ----------
    fit : Factorization
        A fit of the adjusted matrix.
    matrix_file : path
        ``matrix.json`` of the matrix before the adjustment.
    cohort_file : path
        Table of its subjects.

    Returns
    -------
    dict of str to dict
        For each column that was used: R² of a linear model of each component, ``Before`` (of WᵀX of
        the matrix before the adjustment, with the W of the fit) and ``After`` (of H).
    """
    X, sidecar = read_matrix(matrix_file)
    people = people_of(sidecar["Participants"], cohort_file)
    columns = list(fit.info["Adjustment"]["MedianR2"])
    if GLOBAL in columns:
        people = Adjustment({}, by_global=True).with_means(X, people, sidecar["Shift"])
    before = np.zeros(fit.H.shape)
    with threadpool_limits(1):
        for rows in row_blocks(*X.shape):
            before += fit.W[rows].T.astype(np.float64) @ X[rows].astype(np.float64)
    bases = bases_of(people, columns)
    found = {
        when: _shares(loadings, bases)
        for when, loadings in (("Before", before), ("After", np.asarray(fit.H)))
    }
    return {name: {when: shares[name] for when, shares in found.items()} for name in columns}


def _shares(
    loadings: NDArray[np.floating], bases: Mapping[str, NDArray[np.float64]]
) -> dict[str, list[float]]:
    """Return R² for each component; 0 if its loadings do not vary."""
    varies = np.ptp(loadings, axis=1) > 0
    found = {}
    for name, shares in explained_by(loadings[varies], bases).items():
        values = np.zeros(len(loadings))
        values[varies] = shares
        found[name] = [float(f"{share:.4g}") for share in values]
    return found


def _run(call: Call) -> dict[str, Path]:
    matrix_file = adjust_matrix(
        call.path("matrix_dir") / MATRIX_FILE,
        call.path("cohort_file"),
        call.folder,
        call.section(MatrixConfig),
    )
    return {"matrix_dir": matrix_file.parent}


ADJUST_MATRIX = Stage(
    name="AdjustMatrix",
    summary="Remove the effects of covariates, sites and head size from the matrix.",
    run=_run,
    folder="matrix",
    inputs={"matrix_dir": MATRIX_DIR, "cohort_file": COHORT_FILE},
    outputs={"matrix_dir": MATRIX_DIR},
    settings=PART_SETTINGS,
    large=("matrix.npy",),
)
