"""The files that the report reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.select import SELECTION_FILES
from opnmf_pipeline.stages.spaces import named_files

__all__ = ["CohortFiles", "FitFiles", "SelectionFiles"]


@dataclass(frozen=True)
class FitFiles:
    """Files about one number of components.

    Attributes
    ----------
    factorization : path
        ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`.
    components, labels_table, loadings : path
        Files of :func:`opnmf_pipeline.stages.maps.write_maps`.
    montage, parts : path or None
        Pictures of :func:`opnmf_pipeline.stages.figures.draw_figures`.
    regions : path or None
        Table of :func:`opnmf_pipeline.stages.maps.write_maps`; it has no rows without an atlas.
    associations : path or None
        Table of :func:`opnmf_pipeline.stages.associations.write_associations`; its sidecar is in
        the same folder.
    reliability, reliability_map : path or None
        Table and map of :func:`opnmf_pipeline.stages.reliability.measure_reliability`; the sidecar
        of the table is in the same folder.
    shown : path or None
        Components for the viewer: ``components``, or those of a table on an atlas.
    """

    factorization: Path
    components: Path
    labels_table: Path
    loadings: Path
    montage: Path | None = None
    parts: Path | None = None
    regions: Path | None = None
    associations: Path | None = None
    reliability: Path | None = None
    reliability_map: Path | None = None
    shown: Path | None = None


@dataclass(frozen=True)
class CohortFiles:
    """Files of :func:`opnmf_pipeline.stages.quality.assess_cohort`."""

    mean: Path
    sd: Path
    coverage: Path
    subjects: Path

    @classmethod
    def in_folder(cls, folder: Path, mask_file: Path) -> CohortFiles:
        """Return the files in the folder that the stage wrote."""
        files = named_files(QUALITY_FILES, mask_file)
        return cls(*(folder / files[name] for name in ("mean", "sd", "coverage", "subjects")))


@dataclass(frozen=True)
class SelectionFiles:
    """Files of :func:`opnmf_pipeline.stages.select.select_rank`; all but the first may be absent.

    Attributes
    ----------
    metrics : path
        ``metrics.tsv``; ``metrics.json`` is in the same folder.
    choice : path or None
        ``selection.json``.
    errors, reproducibility, hierarchy : path or None
        Pictures.
    """

    metrics: Path
    choice: Path | None = None
    errors: Path | None = None
    reproducibility: Path | None = None
    hierarchy: Path | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> SelectionFiles:
        """Return the files in the folder that the stage wrote."""
        names = ("selection", "errors_figure", "reproducibility_figure", "hierarchy_figure")
        files = [folder / SELECTION_FILES[name] for name in names]
        there = (file if file.exists() else None for file in files)
        return cls(folder / SELECTION_FILES["metrics"], *there)
