"""The space of volumes: 3D images in NIfTI and the other formats that nibabel reads."""

from collections.abc import Mapping

from opnmf_pipeline.images.space import WriteFormat
from opnmf_pipeline.images.volumes.atlas import ATLAS, open_atlas
from opnmf_pipeline.images.volumes.files import (
    ENDINGS,
    copies,
    image_files,
    is_image,
    open_image,
    read_values,
    set_space,
)
from opnmf_pipeline.images.volumes.grid import Grid, analysis_grid, check_grids
from opnmf_pipeline.images.volumes.mask import Mask, open_mask
from opnmf_pipeline.images.volumes.parts import read_parts
from opnmf_pipeline.images.volumes.standard import standard_space

__all__ = [
    "ATLAS",
    "ENDINGS",
    "FORMATS",
    "Grid",
    "Mask",
    "analysis_grid",
    "check_grids",
    "copies",
    "image_files",
    "is_image",
    "open_atlas",
    "open_image",
    "open_mask",
    "read_parts",
    "read_values",
    "set_space",
    "standard_space",
]

FORMATS: Mapping[str, WriteFormat] = {}
