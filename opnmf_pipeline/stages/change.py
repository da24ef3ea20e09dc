"""Stage ``change``: from two sessions of each subject to their difference, or its rate per year."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import row_blocks
from opnmf_pipeline.config import ChangeConfig
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import CohortError, ImageError
from opnmf_pipeline.files import file_digest, written_whole
from opnmf_pipeline.images.cohort import identifiers
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.splits import with_covariates
from opnmf_pipeline.stages.stage import MATRIX_DIR, PARTICIPANTS, Call, Stage
from opnmf_pipeline.tables import write_table

__all__ = ["CHANGE_MATRIX", "change_matrix"]

logger = logging.getLogger(__name__)

DAYS_PER_YEAR = 365.25
NO_SESSION_MSG = (
    "{n} of {total} subject(s) have no change:\n{named}\n"
    "add what is missing, or set on_missing: drop to leave these subjects out"
)
NO_COLUMN_MSG = "per_year: the table of subjects has no column {column!r}; it has: {columns}"
NOT_YEARS_MSG = (
    "per_year: column {column!r} has the value {value!r}; it must have ages in years, or dates "
    "such as 2020-01-31"
)
ORDER_MSG = (
    "per_year: {to} must be later than {start} in all subjects, or earlier in all; in column "
    "{column!r} it is not for {n} subject(s):\n{named}\ncorrect these values"
)
NEGATIVE_MSG = (
    "{n} of {total} changes are negative ({share:.2%}), which cannot be factorized; set "
    "negative: shift (subtract the smallest change) or clip (set them to 0)"
)


def change_matrix(
    matrix_file: Path, cohort_file: Path, out_dir: Path, options: ChangeConfig
) -> tuple[Path, Path]:
    """Write the matrix of changes, one column per subject: later session minus earlier session.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`, with one column per
        session. A value that was subtracted from the whole matrix cancels.
    cohort_file : path
        Table with ``participant_id``, ``session_id`` and the column ``per_year`` (TSV).
    out_dir : path
        Existing folder that gets ``matrix.npy``, (n_voxels, n_subjects), float32, and
        ``matrix.json``, in the form of :func:`opnmf_pipeline.stages.matrix.build_matrix`, and
        ``cohort.tsv``. Values missing at one session are NaN.
    options : ChangeConfig
        Sessions, the column of years, and what to do with missing sessions and negative changes.

    Returns
    -------
    matrix_file : path
        The new ``matrix.json``. Its key ``Change`` holds the settings, the subjects that were left
        out, the years between the sessions, and the number of negative changes.
    cohort_file : path
        Table with one row per subject, and the columns of its earlier session.

    Raises
    ------
    CohortError
        A subject lacks a session or a value of ``per_year``, and ``on_missing`` is ``error``; no
        subject is left; or the later session is not later.
    ImageError
        Changes are negative, and ``negative`` is ``error``.
    """
    X, sidecar = read_matrix(matrix_file)
    pairs, people, dropped = _pairs(sidecar["Participants"], cohort_file, options)
    years = pairs["years"].to_numpy()
    with written_whole(out_dir / sidecar["Matrix"]) as partial:
        shape = (len(X), len(pairs))
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float32, shape=shape)
        allocate(partial)
        n_negative, smallest = 0, 0.0
        for rows in row_blocks(*X.shape):
            block = np.asarray(X[rows], dtype=np.float64)
            out[rows] = (block[:, pairs["to"]] - block[:, pairs["from"]]) / years
            n_negative += int(np.count_nonzero(out[rows] < 0))
            smallest = min(smallest, float(np.fmin.reduce(out[rows], axis=None)))
        if n_negative and options.negative == "error":
            share = n_negative / out.size
            raise ImageError(NEGATIVE_MSG.format(n=n_negative, total=out.size, share=share))
        for rows in row_blocks(*out.shape) if n_negative else ():
            _without_negative(out[rows], smallest, options)
        out.flush()
    content = {
        **sidecar,
        "Participants": people["participant_id"].tolist(),
        "Shift": smallest if options.negative == "shift" else 0.0,
        "Change": {
            "Settings": options.model_dump(mode="json", exclude_none=True),
            "Dropped": dropped,
            "Years": years.tolist() if options.per_year else None,
            "NumberOfNegativeValues": n_negative,
        },
        "SHA256": file_digest(out_dir / sidecar["Matrix"]),
    }
    out_file = out_dir / MATRIX_FILE
    out_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_table(people, out_dir / "cohort.tsv")
    return out_file, out_dir / "cohort.tsv"


def _without_negative(values: NDArray[np.float32], smallest: float, options: ChangeConfig) -> None:
    if options.negative == "shift":
        values -= np.float32(smallest)
    else:
        np.maximum(values, 0, out=values)


def _pairs(
    names: list[str], cohort_file: Path, options: ChangeConfig
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the columns and years of each pair, its subject, and the subjects without a pair."""
    rows = identifiers(names)
    if "session_id" not in rows:
        rows["session_id"] = None
    table = with_covariates(names, cohort_file)
    rows["column"] = range(len(rows))
    rows["time"] = _times(table, options.per_year) if options.per_year else 0.0
    ids = pd.Index(sorted(rows["participant_id"].unique()), name="participant_id")
    sessions = {"from": options.from_session, "to": options.to_session}
    why = pd.Series("", ids)
    found = {}
    for end, session in sessions.items():
        there = rows[rows["session_id"] == session].set_index("participant_id").reindex(ids)
        why[there["column"].isna()] += f" no {session}"
        why[there["column"].notna() & there["time"].isna()] += (
            f" no {options.per_year} at {session}"
        )
        found[end] = there
    bad = [f"{subject}:{text}" for subject, text in why.items() if text]
    if bad and (options.on_missing == "error" or len(bad) == len(ids)):
        raise CohortError(NO_SESSION_MSG.format(n=len(bad), total=len(ids), named=listed(bad)))
    if bad:
        logger.warning("%d subject(s) without a change are left out: %s", len(bad), listed(bad))
    kept = ids[why == ""]
    pairs = pd.DataFrame(
        {end: there.loc[kept, "column"].astype(int) for end, there in found.items()}
    )
    pairs["years"] = found["to"].loc[kept, "time"] - found["from"].loc[kept, "time"]
    if options.per_year is None:
        pairs["years"] = 1.0
    _require_order(pairs, options)
    pairs["years"] = pairs["years"].abs()
    people = table.iloc[pairs["from"]].drop(columns=["session_id", "image"], errors="ignore")
    return pairs, people, ids[why != ""].tolist()


def _require_order(pairs: pd.DataFrame, options: ChangeConfig) -> None:
    """Require that the order of the sessions is the same in all subjects.

    It may be reversed, so that loss is positive.
    """
    years = pairs["years"] * np.sign(pairs["years"].median())
    wrong = pairs.index[~(years > 0)].tolist()
    if wrong:
        message = ORDER_MSG.format(
            to=options.to_session,
            start=options.from_session,
            column=options.per_year,
            n=len(wrong),
            named=listed(wrong),
        )
        raise CohortError(message)


def _times(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return ages or dates in years; NaN where there is no value."""
    if column not in table:
        columns = ", ".join(map(str, table.columns))
        raise CohortError(NO_COLUMN_MSG.format(column=column, columns=columns))
    text = table[column]
    years = pd.to_numeric(text, errors="coerce")
    if years.notna().sum() < text.notna().sum():
        dates = pd.to_datetime(text, errors="coerce", format="%Y-%m-%d")
        if (wrong := text[text.notna() & dates.isna()]).size:
            raise CohortError(NOT_YEARS_MSG.format(column=column, value=wrong.iloc[0]))
        years = (dates - pd.Timestamp(1970, 1, 1)) / pd.Timedelta(days=DAYS_PER_YEAR)
    return years.to_numpy(dtype=np.float64)


def _run(call: Call) -> dict[str, Any]:
    matrix_file, cohort_file = change_matrix(
        call.path("matrix_dir") / MATRIX_FILE,
        call.path("cohort_file"),
        call.folder,
        call.section(ChangeConfig),
    )
    names = read_matrix(matrix_file)[1]["Participants"]
    return {"matrix_dir": matrix_file.parent, "cohort_file": cohort_file, "participants": names}


CHANGE_MATRIX = Stage(
    name="ChangeMatrix",
    summary="Replace the sessions of each subject in the matrix with the change between two.",
    run=_run,
    folder="matrix",
    inputs={"matrix_dir": MATRIX_DIR, "cohort_file": COHORT_FILE},
    outputs={"matrix_dir": MATRIX_DIR, "cohort_file": COHORT_FILE, "participants": PARTICIPANTS},
    settings={ChangeConfig: ()},
    large=("matrix.npy",),
)
