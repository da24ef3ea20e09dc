"""The atlas of volumes that the package includes, and the labels of others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.volumes.files import open_image
from opnmf_pipeline.images.volumes.grid import Grid

__all__ = ["ATLAS", "atlas_values"]

_STEM = Path(__file__).with_name("desikan_killiany") / "space-MNI152_atlas-DesikanKilliany_dseg"
ATLAS: Atlas | None = Atlas(Path(f"{_STEM}.nii.gz"), Path(f"{_STEM}.tsv"))
"""Desikan-Killiany and subcortical regions in MNI152; the README beside it has its licence."""


def atlas_values(path: Path) -> NDArray[np.int64]:
    """Return the labels that occur in a label image, without 0.

    Raises
    ------
    ImageError
        The file is not a 3D image, or it has values that are no labels.
    """
    labels = Grid.of(open_image(path)).read_labels(path)
    found: NDArray[np.int64] = np.unique(labels[labels != 0])
    return found
