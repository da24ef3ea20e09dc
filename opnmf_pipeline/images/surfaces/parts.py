"""Parts of atlases of surfaces: labels in CIFTI, GIFTI and FreeSurfer files, and several maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.space import AtlasImage, Parts
from opnmf_pipeline.images.surfaces.labels import ONE_MAP_MSG, read_regions, values_or_labels
from opnmf_pipeline.images.surfaces.mask import Mask
from opnmf_pipeline.images.surfaces.masks import is_cortex

__all__ = ["open_atlas", "read_parts"]

NEGATIVE_MSG = "{path}: has negative values; probabilities and weights are not negative"
EMPTY_MSG = "{path}: no vertex belongs to a part of the cortex; check the file"


def read_parts(path: Path) -> Parts:
    """Read labels, or several maps, of both hemispheres.

    Labels without a name, and those of the medial wall and of unknown places, are no parts. Labels
    of both hemispheres with one number and one name are one part, except in ``.annot`` files, where
    only components are.

    Raises
    ------
    ImageError
        A file is damaged, has negative values, or contains one map of values.
    """
    axis, found = values_or_labels(path)
    if isinstance(found, tuple):
        values, known = found
        labels = [key for key in np.unique(values) if key in known and is_cortex(known[key])]
        weights = np.equal.outer(values, labels).astype(np.float32)
        names: list[str | None] = [known[key] for key in labels]
    else:
        weights = np.nan_to_num(found).astype(np.float32)
        names = [None] * weights.shape[1]
        if weights.shape[1] < 2:
            raise ImageError(ONE_MAP_MSG.format(path=path))
        if (weights < 0).any():
            raise ImageError(NEGATIVE_MSG.format(path=path))
    inside = np.asarray(weights.any(axis=1))
    if not inside.any():
        raise ImageError(EMPTY_MSG.format(path=path))
    return Parts(Mask(axis, inside), weights[inside], names)


def open_atlas(path: Path) -> AtlasImage:
    """Open the labels of both hemispheres; the file contains the names of the regions.

    Raises
    ------
    ImageError
        A file is damaged, or has no labels.
    """
    axis, labels, regions = read_regions(path)
    inside = labels != 0
    return AtlasImage(Mask(axis, inside), labels[inside], regions)
