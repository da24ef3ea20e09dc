"""Pictures of volumes: cuts through the brain, and images for the viewer of the report."""

from opnmf_pipeline.reporting.volumes.cohort import draw_cohort_maps
from opnmf_pipeline.reporting.volumes.montage import (
    VIEWS,
    draw_components,
    draw_parts,
    template_image,
)
from opnmf_pipeline.reporting.volumes.viewer import embed

__all__ = ["VIEWS", "draw_cohort_maps", "draw_components", "draw_parts", "embed", "template_image"]
