"""Stage ``change``: from two sessions of each subject to their difference, or its rate per year."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import row_blocks
from opnmf_pipeline.config import ChangeConfig, MatrixConfig
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import file_digest, written_whole
from opnmf_pipeline.images.matrix import FEWEST_OBSERVED, read_matrix
from opnmf_pipeline.images.pairs import Pairs, find_pairs
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.splits import with_covariates
from opnmf_pipeline.stages.stage import MATRIX_DIR, Call, Stage
from opnmf_pipeline.tables import write_table

__all__ = ["CHANGE_MATRIX", "change_matrix"]

NEGATIVE_MSG = (
    "{n} of {total} changes are negative ({share:.2%}), which cannot be factorized; set "
    "matrix.negative: shift (subtract the smallest change) or clip (set them to 0)"
)
UNUSABLE_MSG = (
    "the changes of {n} of {total} subject(s) cannot be factorized:\n{named}\n"
    "{remedy}, or leave these subjects out"
)
REMEDY = "fix the images of these subjects"
LOSS_REMEDY = (
    "exchange from_session and to_session in matrix.change, so that loss is positive, or set "
    "matrix.negative: shift"
)
RARE_MSG = (
    "{n} of {total} places of the mask have a change in fewer than half of the subjects, because "
    "their values are missing at one of the sessions; exclude these places with mask.image"
)


class _Counts(NamedTuple):
    """What the changes are, before negative ones are replaced."""

    n_negative: int
    smallest: float
    observed: NDArray[np.intp]
    """Number of changes of each subject that are not missing."""
    other: NDArray[np.intp]
    """Number of those that are not 0."""
    positive: NDArray[np.intp]
    n_rare: int
    """Number of voxels whose change is missing in more than half of the subjects."""


def change_matrix(
    matrix_file: Path,
    cohort_file: Path,
    out_dir: Path,
    options: ChangeConfig,
    negative: str = "error",
) -> tuple[Path, Path]:
    """Write the matrix of changes, one column per subject: ``to_session`` minus ``from_session``.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`, with one column per
        session. A value that was subtracted from the whole matrix cancels.
    cohort_file : path
        Table with ``participant_id``, ``session_id`` and the column ``per_year`` (TSV).
    out_dir : path
        Existing folder that gets ``matrix.npy``, (n_voxels, n_subjects), and
        ``matrix.json``, in the form of :func:`opnmf_pipeline.stages.matrix.build_matrix`, and
        ``cohort.tsv``. Values missing at one session are NaN.
    options : ChangeConfig
        Sessions, the column of years, and what to do with missing sessions.
    negative : {'error', 'clip', 'shift'}
        What to do with negative changes, as ``matrix.negative``.

    Returns
    -------
    matrix_file : path
        The new ``matrix.json``. Its key ``Change`` holds the settings, the subjects that were left
        out, the years between the sessions, and the number of negative changes.
    cohort_file : path
        Table with one row per subject, and the columns of ``from_session``.

    Raises
    ------
    CohortError
        See :func:`opnmf_pipeline.images.pairs.find_pairs`.
    ImageError
        Changes are negative, and ``negative`` is ``error``. Or a subject has no change anywhere, or
        too many values are missing.
    """
    X, sidecar = read_matrix(matrix_file)
    cohort = with_covariates(sidecar["Participants"], cohort_file)
    pairs = find_pairs(cohort, options)
    with written_whole(out_dir / sidecar["Matrix"]) as partial:
        shape = (len(X), len(pairs.subjects))
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=X.dtype, shape=shape)
        allocate(partial)
        counts = _fill(out, X, pairs)
        _require_usable(counts, pairs, len(X), negative)
        for rows in row_blocks(*out.shape) if counts.n_negative else ():
            if negative == "shift":
                out[rows] -= np.float32(counts.smallest)
            else:
                np.maximum(out[rows], 0, out=out[rows])
        out.flush()
    content = {
        **sidecar,
        "Participants": pairs.subjects,
        "Shift": counts.smallest if negative == "shift" else 0.0,
        "Change": {
            "Settings": options.settings(),
            "Dropped": pairs.dropped,
            "Years": None if pairs.years is None else pairs.years.tolist(),
            "Negative": negative,
            "NumberOfNegativeValues": counts.n_negative,
            "ShareOfNegativeValues": counts.n_negative / out.size,
        },
        "SHA256": file_digest(out_dir / sidecar["Matrix"]),
    }
    out_file = out_dir / MATRIX_FILE
    out_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_table(pairs.people(cohort), out_dir / "cohort.tsv")
    return out_file, out_dir / "cohort.tsv"


def _fill(out: NDArray[np.floating], X: NDArray[np.floating], pairs: Pairs) -> _Counts:
    """Write the changes, and count them."""
    n_subjects = out.shape[1]
    years = np.ones(n_subjects) if pairs.years is None else pairs.years
    observed, other, positive = (np.zeros(n_subjects, dtype=np.intp) for _ in range(3))
    n_negative, smallest, n_rare = 0, 0.0, 0
    for rows in row_blocks(*X.shape):
        block = np.asarray(X[rows], dtype=np.float64)
        change = ((block[:, pairs.end] - block[:, pairs.start]) / years).astype(out.dtype)
        out[rows] = change
        known = ~np.isnan(change)
        observed += known.sum(axis=0)
        other += (known & (change != 0)).sum(axis=0)
        positive += (change > 0).sum(axis=0)
        n_negative += int(np.count_nonzero(change < 0))
        smallest = min(smallest, float(np.fmin.reduce(change, axis=None)))
        n_rare += int(np.count_nonzero(2 * known.sum(axis=1) < n_subjects))
    return _Counts(n_negative, smallest, observed, other, positive, n_rare)


def _require_usable(counts: _Counts, pairs: Pairs, n_voxels: int, negative: str) -> None:
    n_subjects = len(pairs.subjects)
    total = n_voxels * n_subjects
    if counts.n_negative and negative == "error":
        share = counts.n_negative / total
        raise ImageError(NEGATIVE_MSG.format(n=counts.n_negative, total=total, share=share))
    if counts.n_rare:
        raise ImageError(RARE_MSG.format(n=counts.n_rare, total=n_voxels))
    bad, remedy = [], REMEDY
    for subject, observed, other, positive in zip(
        pairs.subjects, counts.observed, counts.other, counts.positive, strict=True
    ):
        if observed < FEWEST_OBSERVED * n_voxels:
            bad.append(f"{subject}: {n_voxels - observed} of {n_voxels} changes are missing")
        elif not other:
            bad.append(f"{subject}: both sessions have the same values")
        elif not positive and negative == "clip":
            bad.append(f"{subject}: no change is positive, and negative: clip sets all to 0")
            remedy = LOSS_REMEDY
    if bad:
        named = {"n": len(bad), "total": n_subjects, "named": listed(bad), "remedy": remedy}
        raise ImageError(UNUSABLE_MSG.format(**named))


def _run(call: Call) -> dict[str, Path]:
    matrix_file, cohort_file = change_matrix(
        call.path("matrix_dir") / MATRIX_FILE,
        call.path("cohort_file"),
        call.folder,
        call.section(ChangeConfig),
        call.section(MatrixConfig).negative,
    )
    return {"matrix_dir": matrix_file.parent, "cohort_file": cohort_file}


CHANGE_MATRIX = Stage(
    name="ChangeMatrix",
    summary="Replace the sessions of each subject in the matrix with the change between two.",
    run=_run,
    folder="matrix",
    inputs={"matrix_dir": MATRIX_DIR, "cohort_file": COHORT_FILE},
    outputs={"matrix_dir": MATRIX_DIR, "cohort_file": COHORT_FILE},
    settings={
        ChangeConfig: (),
        MatrixConfig: tuple(set(MatrixConfig.model_fields) - {"negative"}),
    },
    large=("matrix.npy",),
)
