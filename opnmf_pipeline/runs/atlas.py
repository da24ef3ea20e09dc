"""The atlas of a run: the one of the settings, or the one for MNI152 space."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.tables import Grid as FeatureGrid
from opnmf_pipeline.stages.anatomy import atlas_of, open_atlas
from opnmf_pipeline.stages.spaces import space_of

__all__ = ["find_atlas", "is_mni152"]

logger = logging.getLogger(__name__)

ELSEWHERE_MSG = (
    "{atlas}: has no region in the field of view of {image}; set report.atlas to an atlas in the "
    "space of the maps"
)
OTHER_KIND_MSG = (
    "report.atlas: {atlas} cannot name places of {image}: one is a volume and the other a surface"
)
NO_IMAGE_MSG = (
    "report.atlas: {atlas} is not a label image (.nii.gz, .dlabel.nii, .label.gii, .annot); a "
    "table with the names of its regions is report.atlas_labels"
)
UNMATCHED_MSG = "%d of %d features have no region in %s, and are not on its maps: %s"
MNI152 = re.compile(r"space-(MNI|MNI152\w*?|MNIColin27)_")
"""Adult brains in MNI152 space; templates of children and the older MNI305 differ by too much."""


def find_atlas(config: PipelineConfig, image: str | Path, entities: str) -> Atlas | None:
    """Return the atlas whose regions describe the components; require that it can be read.

    Parameters
    ----------
    config : PipelineConfig
        ``report.atlas`` and ``report.atlas_labels`` are used.
    image : path
        One of the images.
    entities : str
        BIDS entities of the maps, such as ``space-MNI152_res-3mm_``. If they name no space, the
        header and the grid of the image decide.

    Returns
    -------
    Atlas or None
        None if the settings name no atlas and the maps are not known to be in MNI152 space.

    Raises
    ------
    ImageError
        The atlas is not a label image, has labels without a name, or lies elsewhere.
    FileError
        Its labels cannot be found or read.
    """
    if config.report.atlas is None:
        images = space_of(image).images
        if "space-" in entities:
            known = is_mni152(entities)
        else:
            known = images.standard_space(image) is not None
        return images.ATLAS if known else None
    given, images = config.report.atlas, space_of(image).images
    grid = images.analysis_grid(image, config.mask.image, config.matrix)
    try:
        same_kind = images is space_of(given).images
    except ImageError as error:
        raise ImageError(NO_IMAGE_MSG.format(atlas=given)) from error
    if grid.in_space and not same_kind:
        raise ImageError(OTHER_KIND_MSG.format(atlas=given, image=image))
    atlas = atlas_of(given, config.report.atlas_labels)
    _, regions = open_atlas(atlas)
    labels = grid.read_labels(given, regions)
    if not labels.any():
        raise ImageError(ELSEWHERE_MSG.format(atlas=given, image=image))
    if isinstance(grid, FeatureGrid) and not labels.all():
        names = np.array(grid.names)[labels == 0]
        logger.warning(UNMATCHED_MSG, len(names), len(labels), given, ", ".join(names))
    return atlas


def is_mni152(entities: str) -> bool:
    """Tell whether maps are in the MNI152 space of adults.

    Examples
    --------
    >>> [is_mni152(f"space-{name}_") for name in ("MNI152NLin6Asym", "MNIInfant", "T1w")]
    [True, False, False]
    """
    return MNI152.match(entities) is not None
