"""Where the components of a fit are: their peaks, and the regions of an atlas that they overlap."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import FileError, ImageError
from opnmf_pipeline.images.atlas import Atlas, labels_beside, read_regions
from opnmf_pipeline.images.space import AtlasImage, Mask
from opnmf_pipeline.selection.anatomy import (
    OUTSIDE,
    hemisphere_peaks,
    propose_names,
    region_overlaps,
)
from opnmf_pipeline.stages.spaces import space_of

__all__ = ["CENTRES", "REGION_COLUMNS", "atlas_of", "describe_places", "locate", "open_atlas"]

N_NAMED = 8
UNNAMED_MSG = (
    "{image}: has labels without a name in {labels}: {named}; add a line for each, or set "
    "report.atlas_labels to the labels of this atlas"
)
NAMED_MSG = (
    "report.atlas_labels: {image} contains the names of its regions; remove report.atlas_labels"
)

CENTRES = ("peak_x", "peak_y", "peak_z")
"""Columns of the label table of a table that is shown on an atlas."""
REGION_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "component": {"Description": "Number of the component"},
    "index": {"Description": "Label of the region in the atlas; 0 means outside the atlas"},
    "region": {"Description": "Name of the region"},
    "structure": {"Description": "Larger structure of the region"},
    "percent_of_component": {
        "Description": "Share of the weight of the component that is in the region",
        "Units": "percent",
    },
    "percent_of_region": {
        "Description": "Share of the region, as far as it is in the mask, in which the component "
        "has the largest weight",
        "Units": "percent",
    },
}

CENTRE = "Coordinate {axis} of the centre of the region with the largest weight"
NAME = {
    "Description": "Name of the component after the regions of the atlas that have most of its "
    "weight; it describes a place, not a function"
}


def atlas_of(image: Path, labels: Path | None = None) -> Atlas:
    """Return an atlas; its table of names is next to the image if it is not given.

    Raises
    ------
    ImageError
        The image is not a label image.
    FileError
        The image does not contain names, and no table is next to it.
    """
    if labels is None and space_of(image).images.open_atlas(image).names is None:
        labels = labels_beside(image)
    return Atlas(image, labels)


def open_atlas(atlas: Atlas) -> tuple[AtlasImage, pd.DataFrame]:
    """Open an atlas; require that all its regions have a name.

    Parameters
    ----------
    atlas : Atlas
        Label image and table.

    Returns
    -------
    image : AtlasImage
        Where the regions are.
    regions : DataFrame
        ``name`` and possibly ``structure``, by the index of the region.

    Raises
    ------
    ImageError
        The image is not a label image, or it has labels without a name.
    FileError
        The table cannot be read, or there are two sources of names.
    """
    image = space_of(atlas.image).images.open_atlas(atlas.image)
    if image.names is None:
        regions = read_regions(atlas.labels or labels_beside(atlas.image))
        _require_names(image.labels, regions, atlas)
    elif atlas.labels is not None:
        raise FileError(NAMED_MSG.format(image=atlas.image))
    else:
        regions = image.names
    return image, regions


def _require_names(labels: NDArray[np.int64], regions: pd.DataFrame, atlas: Atlas) -> None:
    unnamed = [str(label) for label in np.unique(labels[labels != 0]) if label not in regions.index]
    if unnamed:
        named = ", ".join(unnamed[:N_NAMED] + ["..."] * (len(unnamed) > N_NAMED))
        names = {"image": atlas.image, "labels": atlas.labels}
        raise ImageError(UNNAMED_MSG.format(named=named, **names))


def locate(
    mask: Mask, W: NDArray[np.floating], labels: NDArray[np.int16], atlas: Atlas | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Describe where each component is.

    Parameters
    ----------
    mask : Mask
        Mask of the analysis.
    W : ndarray of shape (n_rows, n_components), non-negative
    labels : ndarray of shape (n_rows,), int16
        Winner-takes-all labels.
    atlas : Atlas or None
        Atlas in the space of the mask.

    Returns
    -------
    places : DataFrame
        One row per component, in their order: ``peak_left_x``, ... (mm) and, with an atlas, the
        region of each peak and ``proposed_name``.
    regions : DataFrame
        Columns of :data:`REGION_COLUMNS`; no rows without an atlas.

    Raises
    ------
    ImageError
        The atlas is not a label image, or it has labels without a name.
    FileError
        The names of its regions cannot be read.
    """
    peaks = hemisphere_peaks(W, mask.hemispheres)
    positions = mask.positions()
    places = pd.DataFrame(index=range(W.shape[1]))
    for side, rows in peaks.items():
        if positions is None:
            break
        found = np.where(rows[:, np.newaxis] >= 0, np.round(positions[rows], 3), np.nan)
        for axis, values in zip("xyz", found.T, strict=True):
            places[f"peak_{side}_{axis}"] = values
    if atlas is None:
        return places, pd.DataFrame(columns=list(REGION_COLUMNS))
    _, known = open_atlas(atlas)
    at_rows = mask.grid.read_labels(atlas.image, known)[mask.inside]
    overlaps = region_overlaps(W, labels, at_rows)
    for column in reversed(known.columns):
        name = "region" if column == "name" else column
        overlaps.insert(2, name, overlaps["index"].map(known[column]))
    overlaps["region"] = overlaps["region"].fillna(OUTSIDE)
    for side, rows in peaks.items():
        at_peaks = np.where(rows >= 0, at_rows[rows], 0)
        places[f"peak_{side}_region"] = pd.Series(at_peaks).map(known["name"])
    places["proposed_name"] = propose_names(overlaps, W.shape[1])
    return places, overlaps


def describe_places(places: pd.DataFrame) -> dict[str, Mapping[str, str]]:
    """Return the description and the units of each column of the places of components."""
    described: dict[str, Mapping[str, str]] = {}
    for column in map(str, places):
        if column == "proposed_name":
            described[column] = NAME
            continue
        if column in CENTRES:
            text = CENTRE.format(axis=column[-1])
            described[column] = {"Description": text, "Units": "mm"}
            continue
        _, side, what = column.split("_")
        peak = f"the largest weight in the {side} hemisphere"
        described[column] = (
            {"Description": f"Region of {peak}; n/a outside the atlas"}
            if what == "region"
            else {"Description": f"Coordinate {what} of {peak}", "Units": "mm"}
        )
    return described
