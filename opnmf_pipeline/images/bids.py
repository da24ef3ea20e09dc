"""Find the images of a BIDS (derivatives) dataset by the entities in their file names.

Without an ``extension`` in the filters, only volumes (NIfTI) are found. Surfaces need one, such as
``.shape.gii`` or ``.dscalar.nii``.
"""

from __future__ import annotations

import difflib
import functools
import glob
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from opnmf_pipeline.exceptions import CohortError, FileError
from opnmf_pipeline.files import is_utf8, read_object, written_whole

__all__ = [
    "OF_THE_ROW",
    "check_dataset",
    "common_entities",
    "common_entity",
    "entities_of",
    "find_images",
    "mixed_entities",
    "space_in_name",
    "wanted_subjects",
]

IMAGE_EXTENSIONS = (".nii", ".nii.gz")
ANY = "*"
SUBJECTS_AT_A_TIME = 1000
PREFIX = "prefix"
"""Filter for the prefix of file names of SPM and CAT12, such as ``mwp1sub-01_T1w.nii``."""
EXTRA = "extra_entities"
"""Column of the index with entities that are not in the BIDS schema, such as ``param``."""
INDEX_FILE = "opnmf-index.parquet"
ROOT_KEY = b"opnmf_pipeline_root"
SPACE = re.compile(r"(?:^|_)(?:space|tpl)-([A-Za-z0-9+]+)")
N_NAMED = 5
OF_THE_ROW = ("sub", "subject", "ses", "session")
"""Entities that identify the subject and the session of an image."""
ALIKE = ("space", "cohort", "res", "den", "label", "desc")
"""Entities that say what an image shows and where: one value is expected in a cohort."""

NOT_UTF8_MSG = "inputs.bids: {root}: the file name {name!r} is not UTF-8; rename it"
NO_DATASET_MSG = "inputs.bids: {root}: {reason}; give the root of a BIDS dataset"
DERIVATIVES_HINT = " (the images may be in one of its derivatives: {folders})"
FILTER_KEY_MSG = "inputs.filters: unknown entity {key!r}{hint}; use one of {allowed}"
NO_MATCH_MSG = (
    "inputs.bids: no image in {root} matches the filters ({filters}); the dataset has: {there}"
)
NO_SUBJECT_MSG = (
    "inputs.bids: {root} has no folder of the subjects {asked}; check the labels; it has: {there}"
)
GONE_MSG = (
    "{file}: the index lists {n} image(s) that no longer exist, such as {first}; delete the index "
    "file, and the next run rebuilds it"
)
NO_PARQUET_MSG = (
    "inputs.database_dir: {file}: cannot be used ({reason}); delete it or choose another folder"
)


def find_images(
    root: Path,
    filters: Mapping[str, str | Sequence[str | None]],
    database_dir: Path | None = None,
) -> pd.DataFrame:
    """List the images of a BIDS dataset that match entity filters.

    Parameters
    ----------
    root : path
        Root of the dataset.
    filters : mapping
        Entity (the short name of file names, or the long name of pybids) to the accepted value or
        values. None accepts file names without the entity; ``"*"`` accepts any value. The default
        of ``extension`` is NIfTI. ``prefix`` is the text before ``sub-`` in file names such as
        ``mwp1sub-01_T1w.nii``.
    database_dir : path, optional
        Folder that stores the index. An existing index is used if it belongs to this dataset and
        has the same subjects.

    Returns
    -------
    DataFrame
        One row per image: ``participant_id`` (with ``sub-``), ``session_id`` (with ``ses-``; None
        for a file name without a session) and ``image`` (absolute path). The table has no column
        ``session_id`` if no file name has a session.

    Raises
    ------
    CohortError
        There is no dataset, an entity is unknown, no image matches, or the index is out of date.
    """
    wanted = {_column(key): _values(key, value) for key, value in filters.items()}
    wanted.setdefault("ext", list(IMAGE_EXTENSIONS))
    prefixes = wanted.pop(PREFIX, None)
    index = _index(root, wanted, prefixes, database_dir)
    keep = pd.Series(True, index=index.index)
    for column, values in wanted.items():
        keep &= _matches(index[column], values)
    if not keep.any():
        raise CohortError(_no_match(root, index, wanted))
    found = index[keep]
    images = [str(root / path) for path in found["path"]]
    if database_dir is not None and (gone := [path for path in images if _is_gone(path)]):
        file = database_dir / INDEX_FILE
        raise CohortError(GONE_MSG.format(file=file, n=len(gone), first=gone[0]))
    cohort = pd.DataFrame({"participant_id": ("sub-" + found["sub"]).tolist(), "image": images})
    if found["ses"].notna().any():
        sessions = [None if value is None else f"ses-{value}" for value in found["ses"]]
        cohort.insert(1, "session_id", pd.Series(sessions, dtype=object))
    return cohort


def wanted_subjects(filters: Mapping[str, str | Sequence[str | None]]) -> list[str] | None:
    """Return the subjects in the filters, with ``sub-``; None if the filters name no subjects."""
    for key, value in filters.items():
        values = _values(key, value)
        if _column(key) == "sub" and ANY not in values:
            return [f"sub-{item}" for item in values]
    return None


def check_dataset(root: Path) -> None:
    """Check ``dataset_description.json`` of a BIDS dataset.

    Raises
    ------
    CohortError
        The folder does not exist. Or ``dataset_description.json`` is missing, is not JSON, or has
        no ``Name`` or no ``BIDSVersion``.
    """
    if not root.is_dir():
        raise CohortError(NO_DATASET_MSG.format(root=root, reason="no such folder"))
    path = root / "dataset_description.json"
    try:
        description = read_object(path)
        missing = [key for key in ("Name", "BIDSVersion") if key not in description]
        problem = f"{path}: has no {' and no '.join(missing)}" if missing else ""
    except FileError as error:
        problem = str(error)
    if problem:
        raise CohortError(f"{problem}; fix the file, or pass --skip-bids-validation")


def entities_of(path: str | Path) -> dict[str, Any]:
    """Return the entities in the name of a BIDS file; the keys are their short names.

    Examples
    --------
    >>> entities_of("sub-1/ses-2/anat/sub-1_ses-2_space-MNI_T1w.nii.gz")["datatype"]
    'anat'
    """
    import bids2table

    entities: dict[str, Any] = bids2table.parse_bids_entities(str(path))
    folder = Path(path).parent
    if folder.parent.name.startswith(("sub-", "ses-")):
        entities["datatype"] = folder.name  # bids2table finds none where a label has a plus sign
    return entities


def space_in_name(path: str | Path) -> str | None:
    """Return the space in a file name, of an image (``space-``) or of an atlas (``tpl-``).

    Examples
    --------
    >>> space_in_name("tpl-MNI152NLin6Asym_atlas-Schaefer2018_res-02_dseg.nii.gz")
    'MNI152NLin6Asym'
    """
    found = SPACE.search(Path(path).name)
    return found[1] if found else None


def common_entity(paths: Iterable[str], entity: str) -> str | None:
    """Return the value of an entity if all file names have the same value, otherwise None.

    Examples
    --------
    >>> common_entity(["sub-1_space-MNI152_T1w.nii", "sub-2_space-MNI152_T1w.nii"], "space")
    'MNI152'
    >>> common_entity(["sub-1_T1w.nii", "sub-2_space-MNI152_T1w.nii"], "space")
    """
    values = {entities_of(Path(path).name).get(entity) for path in paths}
    return values.pop() if len(values) == 1 else None


def common_entities(paths: Iterable[str]) -> dict[str, str]:
    """Return the entities that say what the images show and where, if all names have the value.

    Examples
    --------
    >>> common_entities(["sub-1_space-MNI152_label-GM_probseg.nii", "sub-2_label-GM_probseg.nii"])
    {'label': 'GM', 'suffix': 'probseg'}
    >>> common_entities(["mwp1sub-1_T1w.nii"])  # a tissue map of CAT12, not a T1-weighted image
    {}
    """
    names = [Path(path).name for path in paths]
    if not all(name.startswith("sub-") for name in names):
        return {}
    found = {entity: common_entity(names, entity) for entity in (*ALIKE, "suffix")}
    return {entity: value for entity, value in found.items() if value is not None}


def mixed_entities(paths: Iterable[str]) -> str:
    """Name the entities that should be alike in all file names, but are not.

    Examples
    --------
    >>> mixed_entities(["sub-1_space-MNI152_T1w.nii", "sub-2_space-MNI152_T1w.nii"])
    ''
    >>> mixed_entities(["sub-1_space-MNI152_T1w.nii", "sub-2_T1w.nii", "sub-3_T1w.nii"])
    'space: none (2 images), MNI152 (1 image)'
    """
    found = [entities_of(Path(path).name) for path in paths]
    counts = {name: Counter(entities.get(name) for entities in found) for name in ALIKE}
    return "; ".join(
        f"{name}: " + ", ".join(_counted(value, n) for value, n in values.most_common())
        for name, values in counts.items()
        if len(values) > 1
    )


def _counted(value: str | None, n: int) -> str:
    return f"{'none' if value is None else value} ({n} image{'s' * (n > 1)})"


def _is_gone(path: str) -> bool:
    """Tell whether neither a file nor a link is there; a link of git-annex may point to nothing."""
    return not (Path(path).exists() or Path(path).is_symlink())


def _matches(column: pd.Series[Any], values: Sequence[str | None]) -> pd.Series[bool]:
    named = [value for value in values if value is not None]
    # bids2table reads run-01 as the number 1
    numbers = [int(value) for value in named if value.isdecimal()]
    keep = column.map(str).isin(named) & column.notna() | column.isin(numbers)
    if None in values:
        keep |= column.isna()
    return keep | column.notna() if ANY in named else keep


def _no_match(root: Path, index: pd.DataFrame, wanted: Mapping[str, Sequence[str | None]]) -> str:
    there = "; ".join(
        f"{column}: {_some(set(index[column].dropna().astype(str))) or 'none'}" for column in wanted
    )
    named = ", ".join(f"{key}: {_some(map(str, values))}" for key, values in wanted.items())
    return NO_MATCH_MSG.format(root=root, filters=named, there=there) + _derivatives_hint(root)


def _some(values: Iterable[str]) -> str:
    names = sorted(values)
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")


def _derivatives_hint(root: Path) -> str:
    folders = sorted(str(path) for path in root.glob("derivatives/*") if path.is_dir())
    return DERIVATIVES_HINT.format(folders=", ".join(folders[:N_NAMED])) if folders else ""


def _index(
    root: Path,
    wanted: Mapping[str, Sequence[str | None]],
    prefixes: Sequence[str | None] | None,
    database_dir: Path | None,
) -> pd.DataFrame:
    """Return paths, subjects, sessions and the filtered entities of the files of all subjects."""
    if not root.is_dir():
        raise CohortError(NO_DATASET_MSG.format(root=root, reason="no such folder"))
    folders = {path.name for path in root.glob("sub-*/")}
    for name in folders:
        if not is_utf8(name):
            raise CohortError(NOT_UTF8_MSG.format(root=root, name=name))
    if not folders:
        reason = "contains no sub-* folder" + _derivatives_hint(root)
        raise CohortError(NO_DATASET_MSG.format(root=root, reason=reason))
    asked = {f"sub-{subject}" for subject in wanted.get("sub", ()) if subject != ANY}
    named = asked & folders
    if asked and not named and ANY not in wanted["sub"]:
        names = {"asked": _some(asked), "there": _some(folders)}
        raise CohortError(NO_SUBJECT_MSG.format(root=root, **names))
    if prefixes is not None:
        files = _prefixed_files(root, sorted(named or folders), prefixes)
        return pd.DataFrame(files, columns=["path", "sub", "ses", *wanted], dtype=object)
    if database_dir is not None:
        table = _stored_index(root, folders, database_dir)
    else:
        table = _new_index(root, sorted(named or folders))
    columns = {
        name: table[name].to_pylist()
        for name in dict.fromkeys(["path", "sub", "ses", *wanted])
        if name in table.column_names
    }
    if unknown := [name for name in wanted if name not in columns]:
        extra = [dict(items or ()) for items in table[EXTRA].to_pylist()]
        there = sorted({name for items in extra for name in items})
        for name in unknown:
            if name not in there:
                raise CohortError(_unknown_entity(name, [*_entity_names(), PREFIX, *there]))
            columns[name] = [items.get(name) for items in extra]
    index = pd.DataFrame(columns, dtype=object)
    return index[index["sub"].notna()].reset_index(drop=True)


def _prefixed_files(
    root: Path, subjects: list[str], prefixes: Sequence[str | None]
) -> list[dict[str, Any]]:
    """List files with a prefix before their BIDS names; bids2table does not find these files."""
    return [
        {**entities_of(path.with_name(path.name.removeprefix(prefix))), "path": file}
        for subject in subjects
        for prefix in map(str, prefixes)
        for path in sorted((root / subject).rglob(f"{glob.escape(prefix)}sub-*"))
        if (file := str(path.relative_to(root)))
    ]


def _new_index(root: Path, subjects: Sequence[str]) -> Any:
    """Index the subjects in batches, since bids2table needs much memory for each subject."""
    import bids2table
    import pyarrow

    tables = []
    with TemporaryDirectory() as folder:
        for first in range(0, len(subjects), SUBJECTS_AT_A_TIME):
            # bids2table fails for a root with a dot in its name, such as fmriprep-24.1, it compares
            # each requested subject with each existing subject, and it leaves out folders with a
            # plus sign, which BIDS 1.11 allows
            links = Path(folder) / f"dataset{first}"
            links.mkdir()
            names = {}
            for number, subject in enumerate(subjects[first : first + SUBJECTS_AT_A_TIME]):
                names[f"sub-{number}"] = subject
                (links / f"sub-{number}").symlink_to(root.resolve() / subject)
            try:
                table = bids2table.index_dataset(links)
            except UnicodeEncodeError:
                bad = next(path for path in root.rglob("*") if not is_utf8(path.name))
                raise CohortError(NOT_UTF8_MSG.format(root=root, name=bad.name)) from None
            paths = [_under_its_name(path, names) for path in table["path"].to_pylist()]
            table = table.select(["path", *_entity_names().values(), EXTRA])
            tables.append(table.set_column(0, "path", pyarrow.array(paths, pyarrow.string())))
    return pyarrow.concat_tables(tables)


def _under_its_name(path: str, names: Mapping[str, str]) -> str:
    link, slash, rest = path.partition("/")
    return f"{names[link]}{slash}{rest}"


def _stored_index(root: Path, folders: set[str], database_dir: Path) -> Any:
    """Return the index that is stored in a folder; build it if no stored index is valid."""
    import pyarrow.parquet

    file, key = database_dir / INDEX_FILE, str(root.resolve()).encode()
    try:
        if file.exists():
            table = pyarrow.parquet.read_table(file)
            # A subject without files has no row, so the metadata list the indexed subjects
            found = table.schema.metadata or {}
            known = json.loads(found.get(b"opnmf_pipeline_subjects", "[]"))
            if found.get(ROOT_KEY) == key and set(known) == folders:
                return table
        table = _new_index(root, sorted(folders))
        metadata = {ROOT_KEY: key, b"opnmf_pipeline_subjects": json.dumps(sorted(folders)).encode()}
        database_dir.mkdir(parents=True, exist_ok=True)
        with written_whole(file) as partial:
            pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), partial)
    except (OSError, ValueError) as error:  # ValueError: pyarrow's and json's
        reason = getattr(error, "strerror", None) or error
        raise CohortError(NO_PARQUET_MSG.format(file=file, reason=reason)) from None
    return table


def _column(key: str) -> str:
    """Return the short name of an entity, as used in file names."""
    return _entity_names().get(key, key)


def _unknown_entity(key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return FILTER_KEY_MSG.format(key=key, hint=hint, allowed=", ".join(allowed))


@functools.cache
def _entity_names() -> dict[str, str]:
    """Map the long name of each entity to its short name, as used in file names."""
    import bids2table

    return {
        field.metadata[b"entity"].decode(): field.name
        for field in bids2table.get_arrow_schema()
        if b"entity" in (field.metadata or {})
    }


def _values(key: str, value: str | Sequence[str | None]) -> list[str | None]:
    values = [value] if isinstance(value, str) else value
    prefix = f"{_column(key)}-"
    return [None if item is None else str(item).removeprefix(prefix) for item in values]
