"""The two sessions of each subject whose difference is its change, from the table of the cohort."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import ChangeConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.problems import listed

__all__ = ["Pairs", "find_pairs"]

logger = logging.getLogger(__name__)

DAYS_PER_YEAR = 365.25
NO_SESSION_MSG = (
    "change.{key}: no image has the session {session}; {known}; a session is the entity `ses` of a "
    "file name, or the column session_id of a table"
)
NO_PAIR_MSG = (
    "{n} of {total} subject(s) have no change:\n{named}\n"
    "add what is missing, or set on_missing: drop to leave these subjects out"
)
LEFT_OUT_MSG = "left out %d of %d subject(s) without a change: %s"
NO_COLUMN_MSG = (
    "per_year: the table of subjects has no column {column!r}; it has: {columns}; add a table with "
    "participant_id, session_id and this column (inputs.participants)"
)
NOT_YEARS_MSG = (
    "per_year: column {column!r} has the value {value!r}; it must have ages in years, or dates "
    "such as 2020-01-31"
)
ORDER_MSG = (
    "per_year: {to} must be later than {start} in all subjects, or earlier in all; in column "
    "{column!r} it is not for {n} subject(s):\n{named}\ncorrect these values"
)


class Pairs(NamedTuple):
    """The two sessions of each subject.

    Attributes
    ----------
    subjects : list of str
        Subjects with both sessions, in ascending order.
    start, end : list of int
        For each of them, the row of ``from_session`` and of ``to_session`` in the table.
    years : ndarray of shape (n_subjects,), float64, or None
        Years between these sessions, positive; None without ``per_year``.
    dropped : list of str
        Subjects without both sessions, which were left out.
    """

    subjects: list[str]
    start: list[int]
    end: list[int]
    years: NDArray[np.float64] | None
    dropped: list[str]

    def people(self, cohort: pd.DataFrame) -> pd.DataFrame:
        """Return one row per subject, with the columns of ``from_session``."""
        unwanted = [name for name in ("session_id", "image") if name in cohort]
        return cohort.iloc[self.start].drop(columns=unwanted).reset_index(drop=True)


def find_pairs(cohort: pd.DataFrame, options: ChangeConfig) -> Pairs:
    """Find both sessions of each subject.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id``, ``session_id`` and the column ``per_year``, one row per image.
    options : ChangeConfig
        The sessions, the column of years, and what to do with subjects without both.

    Raises
    ------
    CohortError
        No image has a session. A subject lacks a session or a value of ``per_year``, and
        ``on_missing`` is ``error``, or no subject is left. ``per_year`` has no ages or dates, or
        the order of the sessions differs between subjects.
    """
    _require_sessions(cohort, options)
    rows = pd.DataFrame({"row": range(len(cohort))}, index=cohort["participant_id"])
    rows["time"] = _times(cohort, options.per_year) if options.per_year else 0.0
    subjects = pd.Index(sorted(rows.index.unique()))
    why, found = pd.Series("", subjects), []
    for session in (options.from_session, options.to_session):
        there = rows[(cohort["session_id"] == session).to_numpy()].reindex(subjects)
        why[there["row"].isna()] += f" no {session}"
        without_time = there["row"].notna() & there["time"].isna()
        why[without_time] += f" no {options.per_year} at {session}"
        found.append(there)
    bad = [f"{subject}:{text}" for subject, text in why.items() if text]
    if bad and (options.on_missing == "error" or len(bad) == len(subjects)):
        raise CohortError(NO_PAIR_MSG.format(n=len(bad), total=len(subjects), named=listed(bad)))
    if bad:
        logger.warning(LEFT_OUT_MSG, len(bad), len(subjects), "; ".join(bad))
    start, end = (there[why == ""] for there in found)
    years = None
    if options.per_year is not None:
        apart = end["time"] - start["time"]
        _require_order(apart, options)
        years = apart.abs().to_numpy()
    return Pairs(
        subjects=start.index.tolist(),
        start=[int(row) for row in start["row"]],
        end=[int(row) for row in end["row"]],
        years=years,
        dropped=subjects[why != ""].tolist(),
    )


def _require_sessions(cohort: pd.DataFrame, options: ChangeConfig) -> None:
    sessions = cohort["session_id"].dropna() if "session_id" in cohort else pd.Series(dtype=str)
    known = ", ".join(sorted(sessions.unique()))
    for key in ("from_session", "to_session"):
        if (session := getattr(options, key)) not in sessions.to_numpy():
            told = f"there are the sessions {known}" if known else "the images have no sessions"
            raise CohortError(NO_SESSION_MSG.format(key=key, session=session, known=told))


def _require_order(years: pd.Series[float], options: ChangeConfig) -> None:
    """Require that the order of the sessions is the same in all subjects.

    It may be reversed, so that loss is positive.
    """
    wrong = years.index[~(years * np.sign(years.median()) > 0)].tolist()
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
