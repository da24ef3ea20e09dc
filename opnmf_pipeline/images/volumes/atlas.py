"""The atlas of volumes that the package includes, and the label images of others."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.space import AtlasImage
from opnmf_pipeline.images.volumes.files import open_image
from opnmf_pipeline.images.volumes.grid import Grid
from opnmf_pipeline.images.volumes.mask import Mask
from opnmf_pipeline.images.volumes.parts import mask_image

__all__ = ["ATLAS", "open_atlas"]

_STEM = Path(__file__).with_name("desikan_killiany") / "space-MNI152_atlas-DesikanKilliany_dseg"
ATLAS: Atlas | None = Atlas(Path(f"{_STEM}.nii.gz"), Path(f"{_STEM}.tsv"))
"""Desikan-Killiany and subcortical regions in MNI152; the README beside it has its licence."""


def open_atlas(path: Path) -> AtlasImage:
    """Open a label image; the names of its labels are in another file.

    Raises
    ------
    ImageError
        The file is not a 3D image, or it has values that are no labels.
    """
    image = open_image(path)
    labels = Grid.of(image).read_labels(path, pd.DataFrame())
    inside = labels != 0
    return AtlasImage(Mask(mask_image(path, image, inside)), labels[inside], None)
