"""Stage ``quality``: quality of the images of the cohort, without any components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.images.cohort import identifiers
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.spaces import mask_of, named_files
from opnmf_pipeline.stages.stage import MASK_FILE, MATRIX_DIR, Call, Field, Kind, Stage
from opnmf_pipeline.tables import write_table

__all__ = ["ASSESS_COHORT", "QUALITY_FILES", "assess_cohort"]

QUALITY_FILES = {
    "mean": "mean{image}",
    "sd": "sd{image}",
    "coverage": "coverage{image}",
    "observed": "observed{image}",
    "subjects": "subjects.tsv",
    "subjects_json": "subjects.json",
}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``. ``observed``
exists only with ``matrix.nan: masked``."""

BLOCK_BYTES = 64 * 2**20
"""The matrix is read in blocks of rows that take this much memory in float64."""
SAMPLE_BYTES = 512 * 2**20
"""Subjects are compared on all rows, or on evenly spaced rows if the matrix is larger than this."""
BLOCK_SUBJECTS = 1024
ROUNDING = 1e-6
"""An image whose values differ by less than this share of their mean is constant."""

SUBJECT_COLUMNS = {
    "participant_id": "Subject",
    "session_id": "Session of the subject",
    "measure_id": "Measure that the image shows",
    "norm": "Euclidean norm of the subject's column of the matrix",
    "mean": "Mean of the subject's values in the mask, in the units of the data",
    "coverage": "Share of the mask where the subject's image has a value that is not zero; of a "
    "change between two sessions, any value",
    "missing": "Share of the mask where the subject's value is missing (NaN)",
    "nearest": "The other subject whose image has the highest correlation with this image",
    "correlation": "Pearson correlation of these two images in the mask; n/a if all values of the "
    "image are equal",
}


def assess_cohort(
    matrix_file: Path, mask_file: Path, out_dir: Path, raw_file: Path | None = None
) -> Path:
    """Measure the quality of the images: per voxel over subjects, and per subject over voxels.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    mask_file : path
        The mask that its rows came from.
    out_dir : path
        Existing folder that gets

        * ``mean`` and ``sd``, maps of the mean and standard deviation over the subjects, in the
          units of the data, float32;
        * ``coverage``, a map of the share of the subjects whose image is not zero, float32;
        * ``observed``, a map of the share of the subjects whose value is not missing, float32 (with
          ``matrix.nan: masked``);
        * ``subjects.tsv`` and ``.json``: one row per subject with ``norm``, ``mean``,
          ``coverage``, ``missing`` (with ``matrix.nan: masked``), and the ``nearest`` other subject
          with its ``correlation``.
    raw_file : path, optional
        ``matrix.json`` of the same images before several measures were scaled: a value that is zero
        there is no data.

    Returns
    -------
    path
        ``out_dir``.
    """
    X, sidecar = read_matrix(matrix_file)
    raw, of_raw = (X, sidecar) if raw_file is None else read_matrix(raw_file)
    # A change of 0 is a value, as any other: nothing equals NaN
    zero = np.nan if "Change" in sidecar else -of_raw["Shift"]
    voxels, subjects = _moments(X, raw, raw.dtype.type(np.float32(zero)))
    voxels["mean"] += sidecar["Shift"]
    subjects["mean"] += sidecar["Shift"]
    if not MatrixConfig(**sidecar["Preprocessing"]).masked:
        del voxels["observed"], subjects["missing"]
    mask, files = mask_of(mask_file, matrix_file), named_files(QUALITY_FILES, mask_file)
    for name, values in voxels.items():
        mask.write(values.astype(np.float32), out_dir / files[name])
    participants = np.array(sidecar["Participants"])
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        nearest, correlation = _nearest(X)
    table = pd.concat([identifiers(sidecar["Participants"]), pd.DataFrame(subjects)], axis=1)
    table["nearest"] = participants[nearest]
    table["correlation"] = correlation
    write_table(table, out_dir / QUALITY_FILES["subjects"])
    described = {str(name): {"Description": SUBJECT_COLUMNS[str(name)]} for name in table}
    (out_dir / QUALITY_FILES["subjects_json"]).write_text(json_text(described), encoding="utf-8")
    return out_dir


def _moments(
    X: NDArray[np.floating], raw: NDArray[np.floating], zero: np.floating
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return mean, sd, coverage and observed of each row, and measures of each column.

    The latter are norm, mean, coverage and missing. ``zero`` is the value of a voxel without data
    in ``raw``. Missing values (NaN) are left out. The matrix is read once.
    """
    n_voxels, n_subjects = X.shape
    mean, sd, coverage, observed = (np.empty(n_voxels) for _ in range(4))
    total, squares, covered, missing = (np.zeros(n_subjects) for _ in range(4))
    step = max(1, BLOCK_BYTES // (8 * n_subjects))
    for first in range(0, n_voxels, step):
        rows = slice(first, first + step)
        block = X[rows].astype(np.float64)
        unknown = np.isnan(block)
        filled = (raw[rows] != zero) & ~unknown
        mean[rows], sd[rows] = np.nanmean(block, axis=1), np.nanstd(block, axis=1)
        coverage[rows], observed[rows] = filled.mean(1), 1 - unknown.mean(1)
        block[unknown] = 0
        total += block.sum(0)
        squares += np.einsum("ij,ij->j", block, block)
        covered += filled.sum(0)
        missing += unknown.sum(0)
    voxels = {"mean": mean, "sd": sd, "coverage": coverage, "observed": observed}
    subjects = {
        "norm": np.sqrt(squares),
        "mean": total / (n_voxels - missing),
        "coverage": covered / n_voxels,
        "missing": missing / n_voxels,
    }
    return voxels, subjects


def _nearest(X: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return, for each column, the other column with the highest correlation, and its value.

    A column whose values are all equal has no correlation (NaN).

    The correlations of all pairs are never in memory at once, and neither are more than
    ``SAMPLE_BYTES`` of the matrix.
    """
    n_voxels, n_subjects = X.shape
    Z = np.array(X[:: -(-4 * n_voxels * n_subjects // SAMPLE_BYTES)], dtype=np.float32)
    mean = np.nanmean(Z, axis=0, dtype=np.float64)
    Z -= mean
    np.nan_to_num(Z, copy=False)  # missing values count as the mean of the subject
    norms = np.sqrt(np.einsum("ij,ij->j", Z, Z, dtype=np.float64))
    constant = norms <= ROUNDING * np.abs(mean) * np.sqrt(len(Z))
    Z /= np.where(norms > 0, norms, 1)
    nearest = np.zeros(n_subjects, dtype=np.intp)
    correlation = np.zeros(n_subjects, dtype=np.float32)
    for first in range(0, n_subjects, BLOCK_SUBJECTS):
        some = np.arange(first, min(first + BLOCK_SUBJECTS, n_subjects))
        table = Z[:, some].T @ Z
        table[np.arange(some.size), some] = -np.inf
        nearest[some] = table.argmax(axis=1)
        correlation[some] = table.max(axis=1)
    correlation[constant | ~np.isfinite(correlation)] = np.nan  # a single subject has no other
    return nearest, correlation


def _run(call: Call) -> dict[str, Path]:
    matrix_file, raw_dir = call.path("matrix_dir") / MATRIX_FILE, call.optional_path("raw_dir")
    raw_file = None if raw_dir is None else raw_dir / MATRIX_FILE
    folder = assess_cohort(matrix_file, call.path("mask_file"), call.folder, raw_file)
    return {"quality_dir": folder}


ASSESS_COHORT = Stage(
    name="AssessCohort",
    summary="Measure the quality of the images: mean, standard deviation, coverage, duplicates.",
    run=_run,
    folder="quality",
    inputs={
        "matrix_dir": MATRIX_DIR,
        "mask_file": MASK_FILE,
        "raw_dir": Field(
            Kind.FOLDER,
            "folder of StackMeasures, if its measures were scaled: zeros there are no data",
            default=None,
        ),
    },
    outputs={"quality_dir": Field(Kind.FOLDER, "folder of AssessCohort")},
    memory=fit_memory,
)
