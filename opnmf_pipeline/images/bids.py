"""Images of a BIDS (derivatives) dataset, found by the entities in their names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from opnmf_pipeline.exceptions import CohortError

__all__ = ["common_entity", "find_images"]

IMAGE_EXTENSIONS = (".nii", ".nii.gz")
NO_DATASET_MSG = "inputs.bids: {root}: {reason}; name the root of a BIDS dataset"
FILTER_KEY_MSG = "inputs.filters: unknown entity {key!r}{hint}; use one of {allowed}"
NO_MATCH_MSG = "inputs.bids: no image in {root} matches the filters ({filters}); there are: {there}"


def find_images(root: Path, filters: Mapping[str, str | list[str]]) -> pd.DataFrame:
    """List the images of a BIDS dataset that match entity filters.

    Parameters
    ----------
    root : path
        Root of the dataset.
    filters : mapping
        Entity (short as in file names, or long as pybids spells it) to the value or values
        wanted. Without ``extension`` the NIfTI files are meant.

    Returns
    -------
    DataFrame
        One row per image: ``participant_id`` (with ``sub-``) and ``image`` (absolute path).

    Raises
    ------
    CohortError
        There is no dataset, an entity is unknown, or nothing matches.
    """
    index = _index(root)
    wanted = {_column(key): _values(value) for key, value in filters.items()}
    wanted.setdefault("ext", list(IMAGE_EXTENSIONS))
    keep = pd.Series(True, index=index.index)
    for column, values in wanted.items():
        # bids2table reads run-01 as the number 1
        numbers = [int(value) for value in values if value.isdecimal()]
        keep &= index[column].map(str).isin(values) | index[column].isin(numbers)
    if not keep.any():
        there = "; ".join(
            f"{column}: {', '.join(sorted(set(index[column].dropna().astype(str)))) or 'none'}"
            for column in wanted
        )
        named = ", ".join(f"{key}: {', '.join(values)}" for key, values in wanted.items())
        raise CohortError(NO_MATCH_MSG.format(root=root, filters=named, there=there))
    found = index[keep]
    return pd.DataFrame(
        {
            "participant_id": "sub-" + found["sub"].astype(str),
            "image": [str(root / path) for path in found["path"]],
        }
    )


def _index(root: Path) -> pd.DataFrame:
    import bids2table

    if not root.is_dir():
        raise CohortError(NO_DATASET_MSG.format(root=root, reason="no such folder"))
    if not any(root.glob("sub-*/")):
        raise CohortError(NO_DATASET_MSG.format(root=root, reason="no sub-* folder in it"))
    with TemporaryDirectory() as folder:
        # bids2table takes no root with a dot in its name, such as fmriprep-24.1
        link = Path(folder) / "dataset"
        link.symlink_to(root.resolve())
        table = bids2table.index_dataset(link).select(["path", *_entity_names().values()])
    index = pd.DataFrame(table.to_pylist(), columns=table.column_names, dtype=object)
    return index[index["sub"].notna()]


def _column(key: str) -> str:
    names = _entity_names()
    column = names.get(key, key)
    if column not in names.values():
        near = difflib.get_close_matches(key, names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise CohortError(FILTER_KEY_MSG.format(key=key, hint=hint, allowed=", ".join(names)))
    return column


def _entity_names() -> dict[str, str]:
    """Map the long name of each entity to the short one that stands in file names."""
    import bids2table

    return {
        field.metadata[b"entity"].decode(): field.name
        for field in bids2table.get_arrow_schema()
        if b"entity" in (field.metadata or {})
    }


def _values(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in value]


def common_entity(paths: list[str], entity: str) -> str | None:
    """Return the value of an entity that all file names share, or None.

    Examples
    --------
    >>> common_entity(["sub-1_space-MNI152_T1w.nii", "sub-2_space-MNI152_T1w.nii"], "space")
    'MNI152'
    >>> common_entity(["sub-1_T1w.nii", "sub-2_space-MNI152_T1w.nii"], "space")
    """
    import bids2table

    values = {bids2table.parse_bids_entities(Path(path).name).get(entity) for path in paths}
    return values.pop() if len(values) == 1 else None
