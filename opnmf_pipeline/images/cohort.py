"""The cohort: one row per subject (and session), with the path of its image and covariates."""

from __future__ import annotations

import glob
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.files import is_utf8, why_missing
from opnmf_pipeline.images.bids import find_images, wanted_subjects
from opnmf_pipeline.images.patterns import propose_pattern
from opnmf_pipeline.images.surfaces.names import first_file, other_file
from opnmf_pipeline.tables import as_typed, read_table

__all__ = [
    "COVARIATE_SUFFIX",
    "IDENTIFIERS",
    "MEASURE",
    "by_row",
    "find_cohort",
    "identifiers",
    "read_cohort",
    "read_measures",
    "row_names",
]

logger = logging.getLogger(__name__)

MEASURE = "measure_id"
"""Column of the measure of an image, if a table has one row for each measure of a subject."""
IDENTIFIERS = ("participant_id", "session_id", MEASURE)
"""Columns that identify a row; the last two exist only if there are sessions or measures."""

PREFIX = "sub-"
N_NAMED, N_COLUMNS = 5, 20
TWO_IMAGES_MSG = (
    "{n} {what}(s) have more than one matching image:\n{named}\n"
    "use stricter filters (inputs.filters, --bids-filter-file, inputs.glob) to select one image "
    "per {what}"
)
NO_IMAGE_MSG = (
    "{n} of {total} subjects have no image: {named}{without_row}\n"
    "set inputs.on_missing: drop to leave these subjects out, or add their images"
)
NO_ROW_MSG = "{n} subject(s) have an image but no row in the table of participants: {named}{hint}"
ALIKE_MSG = " (row {row} may be {subject}: spreadsheets remove leading zeros)"
ID = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*")
LONGEST_ID = 200
ID_MSG = (
    "{column} {name!r} cannot be part of a file name: it must not start with a dot, must not "
    f"contain slashes, backslashes or control characters, and has at most {LONGEST_ID} bytes"
)
NO_ID_IN_PATH_MSG = "inputs.pattern: {pattern!r} finds {which}; {proposal}"
PROPOSAL_MSG = (
    "this line in the section `inputs` gives each image an id of its own ({ids}):\n"
    "  pattern: '{pattern}'"
)
NO_PROPOSAL_MSG = (
    "set a regular expression with a group (?P<participant_id>...) that is different for each "
    "subject, or use inputs.table"
)
BARE_MSG = "%d participant_id value(s) get the prefix sub-, as BIDS requires: %s becomes %s"
SESSION_MSG = (
    "participant_id {name!r} contains a session; the column participant_id must contain only the "
    "subject ({subject})"
)
UNEVEN_MSG = (
    "%d subject(s) have many more sessions than the others, such as %s (%d sessions); each session "
    "is one column of the matrix, so these subjects have more weight"
)
NO_ID_MSG = "{table}: {n} row(s) have no participant_id; add it or remove these rows"
ONE_HEMISPHERE_MSG = (
    "{n} of {total} subjects have the surface of one hemisphere only, such as {first}: {other} "
    "does not exist; add these files, or set inputs.on_missing: drop to leave these subjects out: "
    "{named}"
)
FILTERED_MSG = (
    "inputs.filters: {key}: {value} selects one hemisphere, but both are analysed together; remove "
    "this filter (to analyse one hemisphere, set mask.image to a mask that is zero in the other)"
)
NO_CONTENT_MSG = (
    "the images of {n} of {total} subjects have no content, such as {first}: {why}; or set "
    "inputs.on_missing: drop to leave these subjects out: {named}"
)
EMPTY_MSG = "{table}: has no subjects; the table needs one row per subject"
QUOTED_MSG = (
    "{table}: {n} {column} value(s) contain quotation marks, such as {name}; write the table "
    "without quotation marks (in R: quote = FALSE), or as a CSV file"
)
TWICE_MSG = "{table}: {n} duplicate {column} value(s): {named}; keep one row for each"
SHARED_MSG = (
    "{table}: column {column!r}: {n} file(s) are given for several rows, such as {path} for "
    "{named}; give each row an image of its own"
)
NO_PATH_MSG = (
    "{table}: none of the paths in column {column!r} is a file (first: {path}); "
    "relative paths start at the folder of the table"
)
NO_FILE_MSG = (
    "inputs.glob: no file matches {pattern} (in a pattern, *, ? and [ have a special meaning; "
    "write [[] for the character [)"
)
HEMISPHERE = ("hemi", "hemisphere")
"""Names of the BIDS entity of the hemisphere."""
COVARIATE_SUFFIX = "_covariate"
"""Added to the name of a covariate that equals the name of our own column, such as ``image``."""
SESSION_MARK, MEASURE_MARK = "_ses-", "_measure-"
LISTED = "\tlisted"
"""Marks rows of the table of participants; no column of a TSV file has a name with a tab."""
NO_ID_COLUMN_MSG = (
    "{table}: has no column {column!r}; set inputs.id_column to the column with the subjects; the "
    "columns are {columns}"
)
NO_COLUMN_MSG = (
    "{table}: has no column {column!r}; set inputs.path_column to the column with the paths of the "
    "images, or, if the table has values and no paths, set inputs.features in place of "
    "inputs.table; the columns are {columns}"
)


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
        A subject (or session) has no image or several images, a table cannot be read or has
        duplicate rows, an identifier cannot be part of a file name, or no image was found.
    """
    if options.table is not None:
        cohort = _from_table(options.table, options.path_column, options.id_column)
    elif options.bids is not None:
        cohort = _from_bids(options)
    else:
        cohort = _from_glob(options)
    people = options.participants
    if people is not None and options.bids is None and people != options.table:
        cohort = _with_covariates(cohort, people, options.id_column)
    cohort = _with_sessions(cohort)
    _require_names(cohort)
    cohort = _with_whole_images(cohort)
    _refuse_two_images(cohort)
    cohort = _without_content(_without_half_images(cohort, options), options)
    there = cohort["image"].notna()
    missing = sorted(cohort.loc[~there, "participant_id"])
    listed = cohort.pop(LISTED).notna() if LISTED in cohort else True
    unlisted = sorted(set(cohort.loc[there & ~np.array(listed), "participant_id"]))
    without_row = _without_row(unlisted, missing)
    if missing and (options.on_missing == "error" or not there.any()):
        total = cohort["participant_id"].nunique() - len(unlisted)
        raise CohortError(
            NO_IMAGE_MSG.format(
                n=len(missing),
                total=total,
                named=_some(missing),
                without_row=f"\n{without_row}" if without_row else "",
            )
        )
    if without_row:
        logger.warning("%s", without_row)
    identity = _identity(cohort)
    cohort = cohort[there].sort_values(identity, ignore_index=True)
    _warn_of_uneven_sessions(cohort)
    covariates = [name for name in cohort if name not in (*identity, "image")]
    return cohort[[*identity, "image", *covariates]], missing


def row_names(cohort: pd.DataFrame) -> list[str]:
    """Return the name of each row of a cohort: its subject, session and measure, if it has them.

    Examples
    --------
    >>> cohort = pd.DataFrame({"participant_id": ["sub-1", "sub-1"], "session_id": ["ses-1", None]})
    >>> row_names(cohort)
    ['sub-1_ses-1', 'sub-1']
    """
    names: pd.Series[str] = cohort["participant_id"].astype(str)
    if "session_id" in cohort:
        names = names + ("_" + cohort["session_id"]).fillna("")
    if MEASURE in cohort:
        names = names + MEASURE_MARK + cohort[MEASURE].astype(str)
    return names.tolist()


def by_row(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the table with :func:`row_names` as its index and without identifier columns."""
    return cohort.drop(columns=_identity(cohort)).set_axis(row_names(cohort))


def identifiers(rows: Sequence[str]) -> pd.DataFrame:
    """Return the columns that identify rows, from their names: the inverse of :func:`row_names`.

    Examples
    --------
    >>> identifiers(["sub-1_ses-1", "sub-1_ses-2"])
      participant_id session_id
    0          sub-1      ses-1
    1          sub-1      ses-2
    >>> identifiers(["sub-1_measure-thickness"])
      participant_id measure_id
    0          sub-1  thickness
    """
    of_measures = [row.partition(MEASURE_MARK) for row in rows]
    parts = [row.partition(SESSION_MARK) for row, _, _ in of_measures]
    table = pd.DataFrame({"participant_id": [subject for subject, _, _ in parts]})
    if any(mark for _, mark, _ in parts):
        table["session_id"] = [f"ses-{label}" if mark else None for _, mark, label in parts]
    if any(mark for _, mark, _ in of_measures):
        table[MEASURE] = [measure or None for _, _, measure in of_measures]
    return table


def read_cohort(path: str | Path) -> pd.DataFrame:
    """Read a table of subjects; all columns are text, as in the table."""
    return read_table(path)


def read_measures(path: str | Path) -> pd.DataFrame:
    """Read a table of subjects whose columns, except those with identifiers, are measures."""
    return as_typed(read_table(path), text=(*IDENTIFIERS, "nearest"))


def _from_bids(options: InputsConfig) -> pd.DataFrame:
    root = options.bids
    assert root is not None
    for key, values in options.filters.items():
        if key in HEMISPHERE and len(values) == 1 and values[0] in ("L", "R"):
            raise CohortError(FILTERED_MSG.format(key=key, value=values[0]))
    found = find_images(root, options.filters, options.database_dir)
    named = wanted_subjects(options.filters)
    table = options.participants or root / "participants.tsv"
    if options.participants is None and not table.exists():
        folders = [folder.name for folder in root.glob("sub-*") if folder.is_dir()]
        expected = pd.DataFrame({"participant_id": named or folders}, dtype=str)
        return found.merge(expected, how="outer")
    return _with_covariates(found, table, options.id_column, named)


def _from_table(table: Path, path_column: str, id_column: str) -> pd.DataFrame:
    cohort = _read_table(table, id_column)
    _refuse_twice(cohort, table, _identity(cohort))
    if path_column not in cohort:
        raise CohortError(
            NO_COLUMN_MSG.format(table=table, column=path_column, columns=_columns(cohort))
        )
    cohort = _with_prefix(cohort)
    paths = [table.parent / path for path in cohort.pop(path_column).fillna("")]
    cohort = cohort.rename(columns={"image": "image" + COVARIATE_SUFFIX})
    cohort["image"] = [str(path) if path.is_file() or path.is_symlink() else None for path in paths]
    if cohort["image"].isna().all():
        raise CohortError(NO_PATH_MSG.format(table=table, column=path_column, path=paths[0]))
    _refuse_shared(cohort, table, path_column)
    return cohort


def _from_glob(options: InputsConfig) -> pd.DataFrame:
    # Path.glob does not accept an absolute pattern
    paths = sorted(glob.glob(str(options.glob), recursive=True))  # noqa: PTH207
    for path in paths:
        if not is_utf8(path):
            raise CohortError(f"inputs.glob: {path!r}: the name is not UTF-8; rename it")
    if not paths:
        raise CohortError(NO_FILE_MSG.format(pattern=options.glob))
    try:
        matches = [re.search(options.pattern, path) for path in paths]
        ids = [match["participant_id"] if match else None for match in matches]
    except (re.error, IndexError):
        raise CohortError(
            f"inputs.pattern: {options.pattern!r} must be a regular expression with a group "
            "(?P<participant_id>...)"
        ) from None
    lost = [path for path, subject in zip(paths, ids, strict=True) if subject is None]
    if lost or (len(paths) > 2 and len(set(ids)) == 1):
        which = f"no participant_id in {_some(lost)}" if lost else f"{ids[0]!r} in all paths"
        proposal = _proposal(str(options.glob), paths)
        raise CohortError(
            NO_ID_IN_PATH_MSG.format(pattern=options.pattern, which=which, proposal=proposal)
        )
    return _with_prefix(pd.DataFrame({"participant_id": ids, "image": paths}))


def _proposal(pattern: str, paths: list[str]) -> str:
    """Return the end of an error message: a pattern to copy, or what a pattern needs."""
    images = sorted({first_file(path) for path in paths})  # both hemispheres are one image
    proposed = propose_pattern(pattern, images)
    if proposed is None or not all(re.search(proposed, path) for path in paths):
        return NO_PROPOSAL_MSG
    found = [match["participant_id"] for path in images if (match := re.search(proposed, path))]
    quoted = proposed.replace("'", "''")
    return PROPOSAL_MSG.format(pattern=quoted, ids=_some(found))


def _with_prefix(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return a cohort whose subjects have the prefix ``sub-``, and tell which prefix is new."""
    _require_names(cohort)
    ids = cohort["participant_id"]
    bare = ids[~ids.str.startswith(PREFIX)]
    if not bare.empty:
        logger.warning(BARE_MSG, len(bare), bare.iloc[0], PREFIX + bare.iloc[0])
    return cohort.assign(participant_id=PREFIX + ids.str.removeprefix(PREFIX))


def _with_covariates(
    found: pd.DataFrame, participants: Path, id_column: str, named: list[str] | None = None
) -> pd.DataFrame:
    table = _read_table(participants, id_column)
    # BIDS allows both spellings in the table
    table["participant_id"] = PREFIX + table["participant_id"].str.removeprefix(PREFIX)
    if "session_id" not in found:
        table = table.rename(columns={"session_id": "session_id" + COVARIATE_SUFFIX})
    keys = _identity(table)
    _refuse_twice(table, participants, keys)
    table[LISTED] = True
    if named is not None:
        asked = pd.DataFrame({"participant_id": named}, dtype=str)
        table = asked.merge(table, how="left", on="participant_id")
    return found.merge(table, how="outer", on=keys, suffixes=("", COVARIATE_SUFFIX))


def _read_table(path: Path, id_column: str) -> pd.DataFrame:
    table = read_table(path)
    if id_column not in table:
        columns = _columns(table)
        raise CohortError(NO_ID_COLUMN_MSG.format(table=path, column=id_column, columns=columns))
    if id_column != IDENTIFIERS[0]:
        table = table.rename(columns={IDENTIFIERS[0]: IDENTIFIERS[0] + COVARIATE_SUFFIX})
        table = table.rename(columns={id_column: IDENTIFIERS[0]})
    if table.empty:
        raise CohortError(EMPTY_MSG.format(table=path))
    for name in _identity(table):
        table[name] = table[name].str.strip()
        quoted = table[name][table[name].str.contains('"', na=False)]
        if not quoted.empty:
            named = {"column": name, "n": len(quoted), "name": quoted.iloc[0]}
            raise CohortError(QUOTED_MSG.format(table=path, **named))
    if "session_id" in table:
        # the spelling of file names, for both spellings in the table
        labels = table["session_id"].fillna("").str.removeprefix("ses-")
        table["session_id"] = ("ses-" + labels).where(labels != "", None)
    if n_nameless := int(table["participant_id"].fillna("").eq("").sum()):
        raise CohortError(NO_ID_MSG.format(table=path, n=n_nameless))
    return table


def _identity(table: pd.DataFrame) -> list[str]:
    """Return the columns that identify a row of a table."""
    return [name for name in IDENTIFIERS if name in table]


def _with_sessions(cohort: pd.DataFrame) -> pd.DataFrame:
    """Move sessions in identifiers, such as ``sub-01_ses-1``, to the column ``session_id``."""
    ids = cohort["participant_id"]
    marked = ids.str.contains(SESSION_MARK, regex=False)
    if not marked.any():
        return cohort
    if "session_id" in cohort or not marked.all():
        name = ids[marked].iloc[0]
        raise CohortError(SESSION_MSG.format(name=name, subject=name.partition(SESSION_MARK)[0]))
    columns = identifiers(ids.tolist()).set_axis(cohort.index)
    return pd.concat([columns, cohort.drop(columns="participant_id")], axis=1)


def _require_names(cohort: pd.DataFrame) -> None:
    for column in _identity(cohort):
        for name in cohort[column].dropna():
            if not ID.fullmatch(name) or len(os.fsencode(name)) > LONGEST_ID:
                raise CohortError(ID_MSG.format(column=column, name=name))


def _without_row(subjects: list[str], missing: list[str]) -> str:
    """Say which subjects have an image but no row; name a row that may have lost its zeros."""
    if not subjects:
        return ""
    short = {_without_zeros(subject): subject for subject in subjects}
    pairs = [(row, short[key]) for row in missing if (key := _without_zeros(row)) in short]
    hint = ALIKE_MSG.format(row=pairs[0][0], subject=pairs[0][1]) if pairs else ""
    return NO_ROW_MSG.format(n=len(subjects), named=_some(subjects), hint=hint)


def _without_zeros(subject: str) -> str:
    return subject.removeprefix("sub-").lstrip("0")


def _warn_of_uneven_sessions(cohort: pd.DataFrame) -> None:
    numbers = cohort["participant_id"].value_counts()
    many = numbers[numbers > 2 * numbers.median()]
    if not many.empty:
        logger.warning(UNEVEN_MSG, len(many), many.index[0], many.iloc[0])


def _refuse_twice(table: pd.DataFrame, path: Path, columns: list[str]) -> None:
    rows = table[table.duplicated(columns)].drop_duplicates(columns)
    if not rows.empty:
        named = _some([" ".join(map(str, row)) for row in rows[columns].itertuples(index=False)])
        column = " with ".join(columns)
        raise CohortError(TWICE_MSG.format(table=path, n=len(rows), column=column, named=named))


def _refuse_shared(cohort: pd.DataFrame, table: Path, column: str) -> None:
    """Refuse a table that gives one file for several rows."""
    there = cohort.dropna(subset="image")
    files = there["image"].map(os.path.abspath)  # Path.resolve would follow links
    by_file = pd.Series(row_names(there), there.index).groupby(files)
    shared = [(path, names.tolist()) for path, names in by_file if len(names) > 1]
    if shared:
        path, names = shared[0]
        named = {"n": len(shared), "path": path, "named": _some(names)}
        raise CohortError(SHARED_MSG.format(table=table, column=column, **named))


def _refuse_two_images(cohort: pd.DataFrame) -> None:
    twice = cohort[cohort.duplicated(_identity(cohort), keep=False)]
    if twice.empty:
        return
    images = twice["image"].groupby(pd.Series(row_names(twice), twice.index))
    named = "\n".join(f"  {row}: {', '.join(paths)}" for row, paths in list(images)[:N_NAMED])
    what = "session" if "session_id" in cohort else "subject"
    raise CohortError(TWO_IMAGES_MSG.format(n=images.ngroups, named=named, what=what))


def _with_whole_images(cohort: pd.DataFrame) -> pd.DataFrame:
    """Return the cohort with one row for the two files of a left and a right hemisphere."""
    first = [first_file(path) if isinstance(path, str) else path for path in cohort["image"]]
    return cohort.assign(image=first).drop_duplicates([*_identity(cohort), "image"])


def _without_half_images(cohort: pd.DataFrame, options: InputsConfig) -> pd.DataFrame:
    """Refuse surfaces of one hemisphere, or return the cohort without these images."""
    others = [other_file(path) if isinstance(path, str) else None for path in cohort["image"]]
    half = [other is not None and not os.path.lexists(other) for other in others]
    if not any(half):
        return cohort
    rows = cohort[half]
    if options.on_missing == "error" or len(rows) == len(cohort):
        raise CohortError(
            ONE_HEMISPHERE_MSG.format(
                n=len(rows),
                total=len(cohort),
                first=rows["image"].iloc[0],
                other=others[half.index(True)],
                named=_some(sorted(rows["participant_id"])),
            )
        )
    cohort.loc[half, "image"] = None
    return cohort


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
    return _some([str(column) for column in table.columns], N_COLUMNS)


def _some(names: list[str], most: int = N_NAMED) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
