"""The MNI152 space: images that are in it, and its templates, which nilearn ships.

The templates are those of release 2009a. Other releases (such as NLin6 and 2009c) differ by a few
millimetres, and an affine cannot tell them apart, so that they count as one space here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from opnmf_pipeline.images.bids import common_entity
from opnmf_pipeline.images.space import StandardSpace
from opnmf_pipeline.images.volumes.files import open_image

__all__ = [
    "MNI_CODE",
    "TALAIRACH_CODE",
    "load_template",
    "space_code",
    "standard_space",
    "template_with_field_of_view",
]

NAME = "MNI152"
MNI_CODE, TALAIRACH_CODE = 4, 3
"""Codes of these spaces in NIfTI headers."""

FIELDS_OF_VIEW = {
    "FSL (MNI152NLin6Asym)": ((-91, -127, -73), (91, 91, 109)),
    "SPM": ((-90.75, -126.75, -72.75), (90.75, 90.75, 108.75)),
    "SPM with its default bounding box": ((-79, -113, -71), (79, 77, 87)),
    "CAT12": ((-84.75, -120.75, -72.75), (84.75, 84.75, 96.75)),
    "MNI152NLin2009cAsym": ((-96.5, -132.5, -78.5), (96.5, 96.5, 114.5)),
    "nilearn (MNI152NLin2009aAsym)": ((-98.5, -134.5, -72.5), (98.5, 98.5, 116.5)),
}
"""Outer faces of the first and last voxels of templates, in mm (RAS)."""
COARSEST = 8.0
"""Grids with larger voxels, in mm, fit too many fields of view."""


def standard_space(path: str | Path) -> StandardSpace | None:
    """Return the standard space of an image, or None if nothing says that it is in one.

    The entity ``space`` of the file name decides, then the NIfTI space code, then the grid: it is
    that of a template if each face of its field of view is within one voxel of that of the
    template. This includes grids with larger voxels, such as averages of blocks.

    Parameters
    ----------
    path : path
        3D image.

    Raises
    ------
    ImageError
        The file is missing or is not a 3D image.
    """
    if entity := common_entity([str(path)], "space"):
        named = entity.startswith(NAME)
        return StandardSpace(NAME, f"space-{entity} in the file names") if named else None
    image = open_image(path)
    if (code := space_code(image)) in (MNI_CODE, TALAIRACH_CODE):
        return StandardSpace(NAME, "the headers of the images") if code == MNI_CODE else None
    template = template_with_field_of_view(image.shape[:3], np.asarray(image.affine))
    return StandardSpace(NAME, f"a grid with the field of view of {template}") if template else None


def space_code(image: Any) -> int:
    """Return the NIfTI space code of the affine in use, or 0 if the image has none."""
    codes = [
        int(image.header[name]) for name in ("sform_code", "qform_code") if name in image.header
    ]
    # The affine of an image is its sform if the sform has a code, or else its qform
    return next(filter(None, codes), 0)


def template_with_field_of_view(shape: tuple[int, ...], affine: NDArray[np.float64]) -> str:
    """Return the name of the template with the field of view of a grid, or an empty text."""
    axes = np.abs(affine[:3, :3])
    edges = axes.max(axis=1)
    oblique = not np.allclose(axes.sum(axis=1), edges, atol=1e-3)
    if oblique or voxel_sizes(affine).max() > COARSEST:
        return ""
    corners = apply_affine(affine, [np.full(3, -0.5), np.array(shape) - 0.5])
    faces = corners.min(axis=0), corners.max(axis=0)
    distances = {
        name: np.abs(np.array(faces) - np.array(template)) / edges
        for name, template in FIELDS_OF_VIEW.items()
    }
    nearest = min(distances, key=lambda name: float(distances[name].max()))
    return nearest if distances[nearest].max() <= 1 + 1e-3 else ""


@cache
def load_template(name: str) -> Any:
    """Return a template of nilearn at 1 mm as a nibabel image, loaded once per process.

    Parameters
    ----------
    name : {'brain_mask', 'gm_template', 'wm_template'}
        Part of the name of its function in nilearn.
    """
    from nilearn import datasets

    return getattr(datasets, f"load_mni152_{name}")(resolution=1)
