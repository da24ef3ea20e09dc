"""The cohort of several measures: one row per subject, with the image of each measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.cohort import IDENTIFIERS, MEASURE, find_cohort, row_names
from opnmf_pipeline.images.problems import listed

__all__ = ["find_measures", "image_column", "images_of", "long_cohort", "without_images"]

IMAGE = "image_"
LACKS_MSG = (
    "{n} of {total} {what}s lack a measure:\n{named}\n"
    "set inputs.on_missing: drop to leave them out, or add their images"
)
SESSIONS_MSG = (
    "inputs.measures: the images of {first} have sessions, and those of {second} do not; the "
    "measures of a subject must have the same sessions"
)


def image_column(name: str) -> str:
    """Return the column of a cohort with the images of a measure."""
    return IMAGE + name


def images_of(cohort: pd.DataFrame, name: str) -> list[str]:
    """Return the image of a measure of each subject of a cohort."""
    images: list[str] = cohort[image_column(name)].tolist()
    return images


def without_images(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Return a cohort without the columns of its images."""
    return table.drop(columns=["image", *map(image_column, names)], errors="ignore")


def find_measures(options: InputsConfig) -> tuple[pd.DataFrame, list[str]]:
    """Find the image of every measure of each subject, or of each session of each subject.

    Parameters
    ----------
    options : InputsConfig
        Settings with ``measures``.

    Returns
    -------
    cohort : DataFrame
        Columns ``participant_id``, ``session_id`` (if there are sessions), ``image_NAME`` for each
        measure (absolute path), and the covariates of all measures; of a covariate that several
        measures have, the first one counts.
    dropped : list of str
        Subjects or sessions without one of the measures, which ``on_missing: drop`` left out.

    Raises
    ------
    CohortError
        A subject lacks a measure, only some measures have sessions, or a measure has an error that
        :func:`opnmf_pipeline.images.cohort.find_cohort` describes.
    """
    found: dict[str, pd.DataFrame] = {}
    everyone: set[str] = set()
    for name in options.names:
        one = options.of_measure(name).model_copy(update={"on_missing": "drop"})
        try:
            cohort, dropped = find_cohort(one)
        except CohortError as error:
            raise CohortError(f"inputs.measures: {name}: {error}") from None
        found[name] = cohort.set_axis(row_names(cohort))
        # A subject without any session is known by its name only
        everyone |= {*found[name].index, *(set(dropped) - set(cohort["participant_id"]))}
    _require_sessions(found)
    lacking = {
        row: [name for name, cohort in found.items() if row not in cohort.index]
        for row in sorted(everyone)
    }
    bad = [f"{row}: no {' and no '.join(names)}" for row, names in lacking.items() if names]
    if bad and (options.on_missing == "error" or len(bad) == len(lacking)):
        what = "session" if _has_sessions(found) else "subject"
        named = listed(bad)
        raise CohortError(LACKS_MSG.format(n=len(bad), total=len(lacking), what=what, named=named))
    rows = [row for row, names in lacking.items() if not names]
    return _joined(found, rows), [row for row, names in lacking.items() if names]


def _has_sessions(found: dict[str, pd.DataFrame]) -> bool:
    return any("session_id" in cohort for cohort in found.values())


def _require_sessions(found: dict[str, pd.DataFrame]) -> None:
    with_sessions = [name for name, cohort in found.items() if "session_id" in cohort]
    without = [name for name in found if name not in with_sessions]
    if with_sessions and without:
        raise CohortError(SESSIONS_MSG.format(first=with_sessions[0], second=without[0]))


def _joined(found: dict[str, pd.DataFrame], rows: Sequence[str]) -> pd.DataFrame:
    """Return the given rows of all measures, next to each other."""
    there = {name: cohort.reindex(list(rows)) for name, cohort in found.items()}
    first = next(iter(there.values()))
    columns = {name: first[name] for name in IDENTIFIERS if name in first}
    columns |= {image_column(name): cohort["image"] for name, cohort in there.items()}
    for cohort in there.values():
        columns |= {
            str(name): cohort[name] for name in cohort if name != "image" and name not in columns
        }
    return pd.DataFrame(columns).reset_index(drop=True)


def long_cohort(cohort: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return one row per subject and measure: all subjects of the first measure come first.

    Parameters
    ----------
    cohort : DataFrame
        Result of :func:`find_measures`.
    names : sequence of str
        Names of the measures.

    Returns
    -------
    DataFrame
        ``participant_id``, ``session_id`` (if there are sessions), ``measure_id``, ``image``, and
        the covariates.
    """
    covariates = without_images(cohort, names)
    n_first = sum(name in covariates for name in IDENTIFIERS)
    tables = []
    for name in names:
        table = covariates.copy()
        table.insert(n_first, MEASURE, name)
        table.insert(n_first + 1, "image", cohort[image_column(name)])
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
