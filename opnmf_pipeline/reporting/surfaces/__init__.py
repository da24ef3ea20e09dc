"""Pictures of surfaces: views of both hemispheres, and meshes for the viewer of the report."""

from opnmf_pipeline.reporting.surfaces.montage import (
    VIEWS,
    draw_cohort_maps,
    draw_components,
    draw_parts,
    template_image,
)
from opnmf_pipeline.reporting.surfaces.viewer import embed

__all__ = ["VIEWS", "draw_cohort_maps", "draw_components", "draw_parts", "embed", "template_image"]
