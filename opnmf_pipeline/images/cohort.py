"""The cohort: one row per subject (and session), with the path of its image and covariates."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.files import why_missing
from opnmf_pipeline.images.bids import find_images, wanted_subjects

__all__ = ["by_row", "find_cohort", "identifiers", "read_cohort", "row_names", "write_cohort"]

IDENTIFIERS = ("participant_id", "session_id")
"""Columns that identify a row; ``session_id`` exists only if there are sessions."""

N_NAMED = 5
TWO_IMAGES_MSG = (
    "{n} {what}(s) have more than one matching image:\n{named}\n"
    "use stricter filters (inputs.filters, --bids-filter-file, inputs.glob) to select one image "
    "per {what}"
)
NO_IMAGE_MSG = (
    "{n} of {total} subjects have no image: {named}\n"
    "set inputs.on_missing: drop to leave these subjects out, or add their images"
)
NO_ID_MSG = "{table}: {n} row(s) have no participant_id; add it or remove these rows"
NO_CONTENT_MSG = (
    "the images of {n} of {total} subjects have no content, such as {first}: {why}; or set "
    "inputs.on_missing: drop to leave these subjects out: {named}"
)
EMPTY_MSG = "{table}: has no subjects; the table needs one row per subject"
TWICE_MSG = "{table}: {n} duplicate {column} value(s): {named}; keep one row for each"
NO_PATH_MSG = (
    "{table}: none of the paths in column {column!r} is a file (first: {path}); "
    "relative paths start at the folder of the table"
)
COVARIATE_SUFFIX = "_covariate"
"""Added to the name of a covariate that equals the name of our own column, such as ``image``."""
SESSION_MARK = "_ses-"
NO_COLUMN_MSG = "{table}: has no column {column!r}; its columns are {columns}"


def find_cohort(options: InputsConfig) -> tuple[pd.DataFrame, list[str]]:
    """Find the image of each subject, or of each session of each subject.

    Parameters
    ----------
    options : InputsConfig
        Settings with a BIDS dataset, a table, or a glob pattern.

    Returns
    -------
    cohort : DataFrame
        Columns ``participant_id``, ``session_id`` (if there are sessions), ``image`` (absolute
        path) and the covariates; sorted by subject and session.
    dropped : list of str
        Subjects without an image, which ``on_missing: drop`` left out.

    Raises
    ------
    CohortError
        A subject (or session) has no image or several images, a table has duplicate rows, or no
        image was found.
    """
    if options.table is not None:
        cohort = _from_table(options.table, options.path_column)
    elif options.bids is not None:
        cohort = _from_bids(options)
    else:
        cohort = _from_glob(options)
        if options.participants is not None:
            cohort = _with_covariates(cohort, options.participants)
    _refuse_two_images(cohort)
    cohort = _without_content(cohort, options)
    missing = sorted(cohort.loc[cohort["image"].isna(), "participant_id"])
    if missing and (options.on_missing == "error" or len(missing) == len(cohort)):
        raise CohortError(
            NO_IMAGE_MSG.format(n=len(missing), total=len(cohort), named=_some(missing))
        )
    identity = _identity(cohort)
    cohort = cohort.dropna(subset="image").sort_values(identity, ignore_index=True)
    covariates = [name for name in cohort if name not in (*identity, "image")]
    return cohort[[*identity, "image", *covariates]], missing


def row_names(cohort: pd.DataFrame) -> list[str]:
    """Return the name of each row of a cohort: its subject and its session, if it has one.

    Examples
    --------
    >>> cohort = pd.DataFrame({"participant_id": ["sub-1", "sub-1"], "session_id": ["ses-1", None]})
    >>> row_names(cohort)
    ['sub-1_ses-1', 'sub-1']
    """
    names: pd.Series[str] = cohort["participant_id"].astype(str)
    if "session_id" in cohort:
        names = names + ("_" + cohort["session_id"]).fillna("")
    return names.tolist()


def by_row(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the table with :func:`row_names` as its index and without identifier columns."""
    return cohort.drop(columns=_identity(cohort)).set_axis(row_names(cohort))


def identifiers(rows: Sequence[str]) -> pd.DataFrame:
    """Return the columns ``participant_id`` and, if there are sessions, ``session_id`` of rows.

    Examples
    --------
    >>> identifiers(["sub-1_ses-1", "sub-1_ses-2"])
      participant_id session_id
    0          sub-1      ses-1
    1          sub-1      ses-2
    """
    parts = [row.partition(SESSION_MARK) for row in rows]
    table = pd.DataFrame({"participant_id": [subject for subject, _, _ in parts]})
    if any(mark for _, mark, _ in parts):
        table["session_id"] = [f"ses-{label}" if mark else None for _, mark, label in parts]
    return table


def read_cohort(path: str | Path) -> pd.DataFrame:
    """Read a ``cohort.tsv`` that :func:`write_cohort` wrote."""
    cohort = _parsed(path, "\t")
    if "session_id" in cohort:
        cohort["session_id"] = cohort["session_id"].replace("n/a", None)
    return cohort


def write_cohort(cohort: pd.DataFrame, path: str | Path) -> None:
    """Write a table of subjects as TSV, with ``n/a`` for missing values (BIDS)."""
    cohort.to_csv(path, sep="\t", index=False, na_rep="n/a")


def _from_bids(options: InputsConfig) -> pd.DataFrame:
    root = options.bids
    assert root is not None
    found = find_images(root, options.filters, options.database_dir)
    named = wanted_subjects(options.filters)
    table = options.participants or root / "participants.tsv"
    if options.participants is None and not table.exists():
        folders = [folder.name for folder in root.glob("sub-*") if folder.is_dir()]
        expected = pd.DataFrame({"participant_id": named or folders}, dtype=str)
        return found.merge(expected, how="outer")
    return _with_covariates(found, table, named)


def _from_table(table: Path, path_column: str) -> pd.DataFrame:
    cohort = _read_table(table)
    if "session_id" in cohort:
        # the spelling of file names, for both spellings in the table
        labels = cohort["session_id"].str.removeprefix("ses-")
        cohort["session_id"] = ("ses-" + labels).where(~labels.isin(["", "n/a"]), None)
    _refuse_twice(cohort, table, _identity(cohort))
    if path_column not in cohort:
        raise CohortError(
            NO_COLUMN_MSG.format(table=table, column=path_column, columns=_columns(cohort))
        )
    paths = [table.parent / str(path) for path in cohort.pop(path_column).fillna("")]
    cohort = cohort.rename(columns={"image": "image" + COVARIATE_SUFFIX})
    cohort["image"] = [str(path) if path.is_file() or path.is_symlink() else None for path in paths]
    if cohort["image"].isna().all():
        raise CohortError(NO_PATH_MSG.format(table=table, column=path_column, path=paths[0]))
    return cohort


def _from_glob(options: InputsConfig) -> pd.DataFrame:
    # Path.glob does not accept an absolute pattern
    paths = sorted(glob.glob(str(options.glob), recursive=True))  # noqa: PTH207
    if not paths:
        raise CohortError(f"inputs.glob: no file matches {options.glob}")
    try:
        matches = [re.search(options.pattern, path) for path in paths]
        ids = [match["participant_id"] if match else None for match in matches]
    except (re.error, IndexError):
        raise CohortError(
            f"inputs.pattern: {options.pattern!r} must be a regular expression with a group "
            "(?P<participant_id>...)"
        ) from None
    lost = [path for path, subject in zip(paths, ids, strict=True) if subject is None]
    if lost:
        raise CohortError(
            f"inputs.pattern: {options.pattern!r} finds no participant_id in the paths "
            f"{_some(lost)}"
        )
    return pd.DataFrame({"participant_id": ids, "image": paths})


def _with_covariates(
    found: pd.DataFrame, participants: Path, named: list[str] | None = None
) -> pd.DataFrame:
    table = _read_table(participants)
    if found["participant_id"].str.startswith("sub-").all():
        # BIDS allows both spellings in the table
        table["participant_id"] = "sub-" + table["participant_id"].str.removeprefix("sub-")
    _refuse_twice(table, participants, ["participant_id"])
    if "session_id" not in found:
        table = table.rename(columns={"session_id": "session_id" + COVARIATE_SUFFIX})
    if named is not None:
        asked = pd.DataFrame({"participant_id": named}, dtype=str)
        table = asked.merge(table, how="left", on="participant_id")
    return found.merge(table, how="outer", on="participant_id", suffixes=("", COVARIATE_SUFFIX))


def _read_table(path: Path) -> pd.DataFrame:
    try:
        sep = "," if path.suffix.lower() == ".csv" else "\t"
        table = _parsed(path, sep)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CohortError(f"{path}: cannot be read as a table ({reason})") from None
    if "participant_id" not in table:
        raise CohortError(
            NO_COLUMN_MSG.format(table=path, column="participant_id", columns=_columns(table))
        )
    if table.empty:
        raise CohortError(EMPTY_MSG.format(table=path))
    if n_nameless := int(table["participant_id"].isin(["", "n/a"]).sum()):
        raise CohortError(NO_ID_MSG.format(table=path, n=n_nameless))
    return table


def _parsed(path: str | Path, sep: str) -> pd.DataFrame:
    table = pd.read_csv(path, sep=sep, na_values="n/a", index_col=False)
    # Identifiers are read as text, since a subject may be called 001 or NA
    known = [name for name in IDENTIFIERS if name in table]
    ids = pd.read_csv(path, sep=sep, usecols=known, dtype=str, keep_default_na=False)
    for name in known:
        table[name] = ids[name].str.strip()
    return table


def _identity(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a row."""
    return [name for name in IDENTIFIERS if name in table]


def _refuse_twice(table: pd.DataFrame, path: Path, columns: list[str]) -> None:
    rows = table[table.duplicated(columns)].drop_duplicates(columns)
    if not rows.empty:
        named = _some([" ".join(map(str, row)) for row in rows[columns].itertuples(index=False)])
        column = " with ".join(columns)
        raise CohortError(TWICE_MSG.format(table=path, n=len(rows), column=column, named=named))


def _refuse_two_images(cohort: pd.DataFrame) -> None:
    twice = cohort[cohort.duplicated(_identity(cohort), keep=False)]
    if twice.empty:
        return
    images = twice["image"].groupby(pd.Series(row_names(twice), twice.index))
    named = "\n".join(f"  {row}: {', '.join(paths)}" for row, paths in list(images)[:N_NAMED])
    what = "session" if "session_id" in cohort else "subject"
    raise CohortError(TWO_IMAGES_MSG.format(n=images.ngroups, named=named, what=what))


def _without_content(cohort: pd.DataFrame, options: InputsConfig) -> pd.DataFrame:
    """Refuse images that are links to absent files, or return the cohort without these images."""
    dangling = [isinstance(path, str) and not Path(path).exists() for path in cohort["image"]]
    links = cohort[dangling]
    if links.empty:
        return cohort
    if options.on_missing == "error" or len(links) == len(cohort):
        raise CohortError(
            NO_CONTENT_MSG.format(
                n=len(links),
                total=len(cohort),
                first=links["image"].iloc[0],
                why=why_missing(links["image"].iloc[0]),
                named=_some(sorted(links["participant_id"])),
            )
        )
    cohort.loc[dangling, "image"] = None
    return cohort


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def _some(names: list[str]) -> str:
    rest = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {rest} more" if rest > 0 else "")
