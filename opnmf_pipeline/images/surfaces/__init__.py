"""The space of surfaces: values per vertex in GIFTI, FreeSurfer's formats and CIFTI."""

from collections.abc import Mapping

from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.space import WriteFormat
from opnmf_pipeline.images.surfaces.files import image_files
from opnmf_pipeline.images.surfaces.freesurfer import write_freesurfer
from opnmf_pipeline.images.surfaces.grid import (
    Grid,
    analysis_grid,
    check_grids,
    standard_space,
)
from opnmf_pipeline.images.surfaces.mask import Mask, open_mask
from opnmf_pipeline.images.surfaces.names import first_file, is_image, other_file
from opnmf_pipeline.images.surfaces.parts import open_atlas, read_parts
from opnmf_pipeline.images.surfaces.writing import copies

__all__ = [
    "ATLAS",
    "ENDINGS",
    "FORMATS",
    "Grid",
    "Mask",
    "analysis_grid",
    "check_grids",
    "copies",
    "first_file",
    "image_files",
    "is_image",
    "open_atlas",
    "open_mask",
    "other_file",
    "read_parts",
    "standard_space",
]

ATLAS: Atlas | None = None
ENDINGS: Mapping[str, str] = {"image": ".dscalar.nii", "labels": ".dlabel.nii"}
FORMATS: Mapping[str, WriteFormat] = {"freesurfer": write_freesurfer}
