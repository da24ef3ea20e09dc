"""Which voxels are analysed: four rules that turn a cohort into one binary mask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MaskConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes import Grid, open_image, read_values, resampled, set_space

__all__ = ["group_mask", "mask_image"]

EMPTY_MSG = "the mask is empty: {why}; {remedy}"
ALIGNED_CODE = 2


def group_mask(
    volumes: Iterable[NDArray[np.float32]], grid: Grid, options: MaskConfig
) -> NDArray[np.bool_]:
    """Find the voxels that the options select and that are non-zero in at least one subject.

    Parameters
    ----------
    volumes : iterable of ndarray of shape ``grid.shape``
        One volume per subject; NaN counts as zero. Only one is held at a time.
    grid : Grid
        Grid of the volumes.
    options : MaskConfig
        Method, threshold (in the units of the images) and coverage.

    Returns
    -------
    ndarray of shape ``grid.shape``, bool

    Raises
    ------
    ImageError
        No voxel is left.
    """
    total = np.zeros(grid.shape, dtype=np.float64)
    votes = np.zeros(grid.shape, dtype=np.int64)
    anywhere = np.zeros(grid.shape, dtype=bool)
    n_subjects = 0
    for volume in volumes:
        values = np.nan_to_num(volume, nan=0.0, posinf=0.0, neginf=0.0)
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
            why = f"at most {best} of {n_subjects} subjects exceed the threshold in one voxel"
        case "template":
            selected = _template(grid) > options.threshold
            why = "no image has values where the MNI152 grey-matter template has them"
        case "image":
            selected = _given(options.image, grid)  # type: ignore[arg-type]
            why = f"no image has values where {options.image} is not zero"
    mask: NDArray[np.bool_] = selected & anywhere
    if not mask.any():
        remedy = (
            "check that mask and images are in the same space"
            if options.method == "image"
            else f"lower mask.threshold (now {options.threshold:g}) or check the images"
        )
        raise ImageError(EMPTY_MSG.format(why=why, remedy=remedy))
    return mask


def mask_image(mask: NDArray[np.bool_], reference: str | Path, grid: Grid) -> Any:
    """Return the mask as a NIfTI image (uint8) with the space code of a reference image.

    Parameters
    ----------
    mask : ndarray of shape ``grid.shape``, bool
    reference : path
        Image of one subject: its sform or qform code says which space the affine leads to.
    grid : Grid
        Grid of the mask.
    """
    header = open_image(reference).header
    codes = [int(header[name]) for name in ("sform_code", "qform_code") if name in header]
    image = nb.Nifti1Image(mask.astype(np.uint8), grid.affine)
    # The affine of an image is its sform where that has a code, or else its qform
    set_space(image, next(filter(None, codes), ALIGNED_CODE))
    return image


def _template(grid: Grid) -> NDArray[np.float64]:
    from nilearn.datasets import load_mni152_gm_template

    return resampled(load_mni152_gm_template(resolution=1), grid, "linear")


def _given(path: Path, grid: Grid) -> NDArray[np.bool_]:
    image = open_image(path)
    inside = np.nan_to_num(read_values(image, path)) != 0  # some tools write NaN outside the brain
    mask = nb.Nifti1Image(inside.astype(np.uint8), image.affine)
    given: NDArray[np.bool_] = resampled(mask, grid, "nearest") != 0
    return given
