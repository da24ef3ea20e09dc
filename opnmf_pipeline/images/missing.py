"""Masks of single images that say which places are missing: lesions, or a field of view."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import InputsConfig, MasksConfig, MatrixConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.files import file_digest, read_object, written_whole
from opnmf_pipeline.images.cohort import find_cohort, row_names
from opnmf_pipeline.images.space import Grid, ImageMask
from opnmf_pipeline.tables import read_table

__all__ = ["NO_MASKS", "Masks", "find_masks", "read_image", "read_masks", "write_masks"]

logger = logging.getLogger(__name__)

Masks = Mapping[str, ImageMask]
"""Masks of single images, by the path of the image."""

NO_MASKS: Masks = {}
NO_FILE_MSG = (
    "inputs.masks: {table}: {n} path(s) in the column {column!r} do not exist, such as {first}; "
    "fix the paths, or leave the cells of subjects without a mask empty"
)
NOT_FOUND_MSG = "inputs.masks: {error}"
OF_NOBODY_MSG = (
    "inputs.masks: none of the {n} masks belongs to a subject of the cohort; they belong to {named}"
)
COUNT_MSG = "masks: %d of %d images have a mask of their own, whose %s voxels are missing"
N_NAMED = 5


def find_masks(inputs: InputsConfig, cohort: pd.DataFrame) -> dict[str, ImageMask]:
    """Find the masks of single images that the settings name.

    Parameters
    ----------
    inputs : InputsConfig
        ``masks`` says where they are; they are paired with subjects as images are.
    cohort : DataFrame
        Table of :func:`opnmf_pipeline.images.cohort.find_cohort`.

    Returns
    -------
    dict of str to ImageMask
        By the path of the image. Images without a mask are absent.

    Raises
    ------
    CohortError
        There is no mask, a subject has several masks, or a path in a table does not exist.
    """
    options = inputs.masks
    if options is None:
        return {}
    try:
        found, _ = find_cohort(_as_inputs(inputs, options))
    except CohortError as error:
        raise CohortError(NOT_FOUND_MSG.format(error=error)) from None
    masks = dict(zip(row_names(found), found["image"], strict=True))
    zero = options.missing == "zero"
    paired = {
        image: ImageMask(masks.get(row) or masks[subject], zero)
        for row, subject, image in zip(
            row_names(cohort), cohort["participant_id"], cohort["image"], strict=True
        )
        if row in masks or subject in masks  # a mask without a session holds for all sessions
    }
    if not paired:
        named = ", ".join(list(masks)[:N_NAMED])
        raise CohortError(OF_NOBODY_MSG.format(n=len(masks), named=named))
    logger.info(COUNT_MSG, len(paired), len(cohort), options.missing)
    return paired


def _as_inputs(inputs: InputsConfig, options: MasksConfig) -> InputsConfig:
    """Return settings with which masks are found as images are; subjects may have none."""
    if options.glob is not None:
        return InputsConfig(glob=options.glob, pattern=inputs.pattern)
    if options.column is not None and inputs.table is not None:
        _require_files(inputs.table, options.column)
        return InputsConfig(
            table=inputs.table,
            path_column=options.column,
            id_column=inputs.id_column,
            on_missing="drop",
        )
    root = options.bids or inputs.bids
    return InputsConfig(bids=root, filters=options.filters, on_missing="drop")


def _require_files(table: Path, column: str) -> None:
    """Refuse paths of a table that do not exist: their subjects would count as without a lesion."""
    cells = read_table(table).get(column, pd.Series(dtype=str)).fillna("")
    gone = [cell for cell in cells if cell and not (table.parent / cell).exists()]
    if gone:
        raise CohortError(
            NO_FILE_MSG.format(table=table, n=len(gone), column=column, first=gone[0])
        )


def write_masks(masks: Masks, path: Path) -> Path:
    """Write masks and the SHA-256 of their files, so that a changed mask is another file."""
    entries = {
        image: {"Mask": mask.path, "ZeroIsMissing": mask.zero, "SHA256": file_digest(mask.path)}
        for image, mask in masks.items()
    }
    with written_whole(path) as partial:
        partial.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return path


def read_masks(path: Path | None) -> dict[str, ImageMask]:
    """Read masks that :func:`write_masks` wrote; without a file there are none."""
    if path is None:
        return {}
    entries = read_object(path).items()
    return {image: ImageMask(each["Mask"], each["ZeroIsMissing"]) for image, each in entries}


def read_image(
    path: str | Path, grid: Grid, options: MatrixConfig, masks: Masks
) -> NDArray[np.float32]:
    """Return the preprocessed values of an image, NaN where its mask says that they are missing."""
    return grid.read(path, options, masks.get(str(path)))
