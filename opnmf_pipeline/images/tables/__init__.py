"""The space of tables: values per feature, such as a region, in one TSV file for each subject."""

from collections.abc import Mapping

from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.space import WriteFormat
from opnmf_pipeline.images.tables.files import ENDING, copies, image_files, is_image
from opnmf_pipeline.images.tables.grid import (
    Grid,
    analysis_grid,
    check_grids,
    open_atlas,
    standard_space,
)
from opnmf_pipeline.images.tables.mask import Mask, open_mask, read_parts

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
    "open_mask",
    "read_parts",
    "standard_space",
]

ATLAS: Atlas | None = None
ENDINGS: Mapping[str, str] = {"image": ENDING, "labels": ENDING}
FORMATS: Mapping[str, WriteFormat] = {}
