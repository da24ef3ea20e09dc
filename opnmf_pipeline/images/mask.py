"""The mask of the analysis: five methods that select voxels (or other elements) from a cohort."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MaskConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.space import Grid

__all__ = ["describe_mask", "group_mask"]

logger = logging.getLogger(__name__)

EMPTY_MSG = "the mask is empty: {why}; {remedy}"
MOST_MISSING = 0.5
"""Elements that are missing in a larger share of the subjects are outside the mask."""
LOST_MSG = "mask: without %d %s that are missing (NaN) in more than %g%% of the subjects"
RULES = {
    "mean": "mean over the subjects > {threshold:g}",
    "coverage": "values > {threshold:g} in at least {subjects} subjects",
    "template": "{template} > {threshold:g}",
    "image": "non-zero values in {image}",
    "all": "a value other than zero in at least one subject",
}


def describe_mask(options: MaskConfig, grid: Grid, *, only_brain: bool) -> str:
    """Return what the voxels of a mask have in common, for messages.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> volumes = SimpleNamespace(template="the template", brain="the MNI152 brain mask")
    >>> describe_mask(MaskConfig(), volumes, only_brain=True)
    'mean over the subjects > 0.2, within the MNI152 brain mask'
    >>> sparse = MaskConfig(method="coverage", threshold=0, n_subjects=5)
    >>> describe_mask(sparse, volumes, only_brain=False)
    'values > 0 in at least 5 subjects'
    """
    rule = RULES[options.method].format(
        threshold=options.threshold,
        subjects=options.n_subjects or f"{options.coverage:.0%} of the",
        template=grid.template,
        image=options.image,
    )
    return f"{rule}, within {grid.brain}" if only_brain else rule


def group_mask(
    images: Iterable[NDArray[np.float32]],
    grid: Grid,
    options: MaskConfig,
    *,
    only_brain: bool = False,
    masked: bool = False,
) -> NDArray[np.bool_]:
    """Return the elements that the method selects and that are not zero in at least one subject.

    Parameters
    ----------
    images : iterable of ndarray of shape ``grid.shape``
        Values of one image per subject. Only one image is in memory at a time.
    grid : Grid
        Grid of the images.
    options : MaskConfig
        Method, threshold (in the units of the images) and coverage.
    only_brain : bool
        Exclude elements outside the brain of the template.
    masked : bool
        Whether NaN is a missing value: means and fractions are then over the subjects that have a
        value, and elements that are missing in more than half of the subjects are outside.
        Otherwise, NaN counts as zero.

    Returns
    -------
    ndarray of shape ``grid.shape``, bool
        True inside the mask. Elements that are zero in all subjects are outside.

    Raises
    ------
    ImageError
        The mask is empty.
    """
    total = np.zeros(grid.shape, dtype=np.float64)
    votes = np.zeros(grid.shape, dtype=np.int64)
    anywhere = np.zeros(grid.shape, dtype=bool)
    n_missing = np.zeros(grid.shape, dtype=np.int64)
    n_images = 0
    for image in images:
        if masked:
            n_missing += np.isnan(image)
        values = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        total += values
        votes += values > options.threshold
        anywhere |= values != 0
        n_images += 1
    data = grid.words.data
    remedy = f"lower mask.threshold (now {options.threshold:g}) or check the {data}"
    n_observed = n_images - n_missing
    match options.method:
        case "mean":
            selected = total > options.threshold * n_observed
            best = (total / np.maximum(n_observed, 1)).max()
            why = f"the mean over {n_images} subjects is at most {best:.3g}"
        case "coverage":
            needed = options.n_subjects or options.coverage * n_observed
            selected, best = votes >= needed, votes.max()
            why = (
                f"at most {best} of {n_images} subjects exceed the threshold in one {grid.element}"
            )
            if options.n_subjects:
                remedy = f"lower mask.n_subjects (now {options.n_subjects}) or check the {data}"
        case "template":
            selected = grid.read_template() > options.threshold
            why = f"all {data} are zero where {grid.template} is above the threshold"
        case "image":
            selected = grid.read_mask(options.image)  # type: ignore[arg-type]
            why = f"all {data} are zero where {options.image} is not zero"
            remedy = "check that mask and images are in the same space"
        case "all":
            selected = np.ones(grid.shape, dtype=bool)
            why, remedy = f"all {data} are zero everywhere", f"check the {data}"
    mask: NDArray[np.bool_] = selected & anywhere
    if lost := int(np.count_nonzero(mask & (n_missing > MOST_MISSING * n_images))):
        logger.info(LOST_MSG, lost, grid.elements, 100 * MOST_MISSING)
        mask &= n_missing <= MOST_MISSING * n_images
        why = f"all selected {grid.elements} are missing in most subjects"
        remedy = f"check the {data} for NaN"
    if only_brain and mask.any():
        mask &= grid.read_brain()
        why = f"all selected {grid.elements} are outside {grid.brain}"
        remedy = "check that the images are in the space of this mask, or set mask.within: none"
    if not mask.any():
        raise ImageError(EMPTY_MSG.format(why=why, remedy=remedy))
    return mask
