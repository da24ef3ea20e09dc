"""The mask of the analysis: four methods that select voxels (or other elements) from a cohort."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MaskConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.space import Grid

__all__ = ["group_mask"]

EMPTY_MSG = "the mask is empty: {why}; {remedy}"


def group_mask(
    images: Iterable[NDArray[np.float32]], grid: Grid, options: MaskConfig
) -> NDArray[np.bool_]:
    """Return the elements that the method selects and that are not zero in at least one subject.

    Parameters
    ----------
    images : iterable of ndarray of shape ``grid.shape``
        Values of one image per subject; NaN counts as zero. Only one image is in memory at a time.
    grid : Grid
        Grid of the images.
    options : MaskConfig
        Method, threshold (in the units of the images) and coverage.

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
    n_subjects = 0
    for image in images:
        values = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
        total += values
        votes += values > options.threshold
        anywhere |= values != 0
        n_subjects += 1
    match options.method:
        case "mean":
            selected, best = total > options.threshold * n_subjects, (total / n_subjects).max()
            why = f"the mean over {n_subjects} subjects is at most {best:.3g}"
        case "coverage":
            selected, best = votes >= options.coverage * n_subjects, votes.max()
            why = (
                f"at most {best} of {n_subjects} subjects exceed the threshold in one "
                f"{grid.element}"
            )
        case "template":
            selected = grid.read_template() > options.threshold
            why = f"all images are zero where {grid.template} is above the threshold"
        case "image":
            selected = grid.read_mask(options.image)  # type: ignore[arg-type]
            why = f"all images are zero where {options.image} is not zero"
    mask: NDArray[np.bool_] = selected & anywhere
    if not mask.any():
        remedy = (
            "check that mask and images are in the same space"
            if options.method == "image"
            else f"lower mask.threshold (now {options.threshold:g}) or check the images"
        )
        raise ImageError(EMPTY_MSG.format(why=why, remedy=remedy))
    return mask
