"""The cohort: one row per subject, with the path of its image and its covariates."""

from __future__ import annotations

import glob
import re
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.bids import find_images

__all__ = ["find_cohort", "read_cohort", "write_cohort"]

N_NAMED = 5
TWO_IMAGES_MSG = (
    "{n} subject(s) have more than one matching image:\n{named}\n"
    "narrow the choice down (inputs.filters, inputs.glob) to one image per subject"
)
NO_IMAGE_MSG = (
    "{n} of {total} subjects have no image: {named}\n"
    "set inputs.on_missing: drop to go on without them, or add their images"
)
NO_ID_MSG = "{table}: {n} row(s) have no participant_id; fill it in or remove them"
EMPTY_MSG = "{table}: has no subjects; it needs one row for each"
TWICE_MSG = "{table}: {n} participant_id value(s) stand more than once: {named}; keep one row each"
NO_PATH_MSG = (
    "{table}: none of the paths in column {column!r} is a file (first: {path}); "
    "relative paths start at the folder of the table"
)
COVARIATE_SUFFIX = "_covariate"
"""Added to a covariate that is called ``image``, as the column of paths is."""
NO_COLUMN_MSG = "{table}: has no column {column!r}, only {columns}"


def find_cohort(options: InputsConfig) -> tuple[pd.DataFrame, list[str]]:
    """Pair every subject with its image.

    Parameters
    ----------
    options : InputsConfig
        Names a BIDS dataset, a table, or a glob pattern.

    Returns
    -------
    cohort : DataFrame
        Columns ``participant_id``, ``image`` (absolute path) and the covariates; sorted by
        ``participant_id``.
    dropped : list of str
        Subjects without an image that ``on_missing: drop`` left out.

    Raises
    ------
    CohortError
        A subject has two images or none, an id stands twice in a table, or nothing was found.
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
    missing = sorted(cohort.loc[cohort["image"].isna(), "participant_id"])
    if missing and (options.on_missing == "error" or len(missing) == len(cohort)):
        raise CohortError(
            NO_IMAGE_MSG.format(n=len(missing), total=len(cohort), named=_some(missing))
        )
    cohort = cohort.dropna(subset="image").sort_values("participant_id", ignore_index=True)
    covariates = [name for name in cohort if name not in ("participant_id", "image")]
    return cohort[["participant_id", "image", *covariates]], missing


def read_cohort(path: str | Path) -> pd.DataFrame:
    """Read a ``cohort.tsv`` that :func:`write_cohort` wrote."""
    return _parsed(path, "\t")


def write_cohort(cohort: pd.DataFrame, path: str | Path) -> None:
    """Write a table of subjects as TSV, with ``n/a`` for what is not known (BIDS)."""
    cohort.to_csv(path, sep="\t", index=False, na_rep="n/a")


def _from_bids(options: InputsConfig) -> pd.DataFrame:
    root = options.bids
    assert root is not None
    found = find_images(root, options.filters)
    table = options.participants or root / "participants.tsv"
    if options.participants is None and not table.exists():
        folders = [folder.name for folder in root.glob("sub-*") if folder.is_dir()]
        return found.merge(pd.DataFrame({"participant_id": folders}, dtype=str), how="outer")
    return _with_covariates(found, table)


def _from_table(table: Path, path_column: str) -> pd.DataFrame:
    cohort = _read_table(table)
    _refuse_twice(cohort, table)
    if path_column not in cohort:
        raise CohortError(
            NO_COLUMN_MSG.format(table=table, column=path_column, columns=_columns(cohort))
        )
    paths = [table.parent / str(path) for path in cohort.pop(path_column).fillna("")]
    cohort = cohort.rename(columns={"image": "image" + COVARIATE_SUFFIX})
    cohort["image"] = [str(path) if path.is_file() else None for path in paths]
    if cohort["image"].isna().all():
        raise CohortError(NO_PATH_MSG.format(table=table, column=path_column, path=paths[0]))
    return cohort


def _from_glob(options: InputsConfig) -> pd.DataFrame:
    # An absolute pattern, which Path.glob does not take
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
            f"inputs.pattern: {options.pattern!r} finds no participant_id in {_some(lost)}"
        )
    return pd.DataFrame({"participant_id": ids, "image": paths})


def _with_covariates(found: pd.DataFrame, participants: Path) -> pd.DataFrame:
    table = _read_table(participants)
    if found["participant_id"].str.startswith("sub-").all():
        # BIDS allows both spellings in the table
        table["participant_id"] = "sub-" + table["participant_id"].str.removeprefix("sub-")
    _refuse_twice(table, participants)
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
    if "participant_id" in table:
        # Read apart, since a subject may be called 001 or NA
        ids = pd.read_csv(
            path, sep=sep, usecols=["participant_id"], dtype=str, keep_default_na=False
        )
        table["participant_id"] = ids["participant_id"].str.strip()
    return table


def _refuse_twice(table: pd.DataFrame, path: Path) -> None:
    ids = table["participant_id"]
    twice = ids[ids.duplicated()].unique().tolist()
    if twice:
        raise CohortError(TWICE_MSG.format(table=path, n=len(twice), named=_some(twice)))


def _refuse_two_images(cohort: pd.DataFrame) -> None:
    twice = cohort[cohort["participant_id"].duplicated(keep=False)]
    if twice.empty:
        return
    groups = list(twice.groupby("participant_id")["image"])
    named = "\n".join(f"  {subject}: {', '.join(images)}" for subject, images in groups[:N_NAMED])
    raise CohortError(TWO_IMAGES_MSG.format(n=len(groups), named=named))


def _columns(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def _some(names: list[str]) -> str:
    rest = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {rest} more" if rest > 0 else "")
