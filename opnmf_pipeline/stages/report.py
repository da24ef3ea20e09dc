"""Stage ``report``: one self-contained page about the results of all numbers of components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opnmf_pipeline.decomposition.progress import CHANGE
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.files import read_object
from opnmf_pipeline.images.bids import mixed_entities
from opnmf_pipeline.images.cohort import by_row, identifiers, read_cohort, read_measures
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.reporting.covariates import find_covariates
from opnmf_pipeline.reporting.facts import (
    Facts,
    FitFacts,
    QualityFacts,
    SelectionFacts,
    SolverFacts,
)
from opnmf_pipeline.reporting.page import render_page
from opnmf_pipeline.selection.errors import relative_errors
from opnmf_pipeline.selection.shape import nearest_columns
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.figures import MESH_FILE, ON_TEMPLATE, mesh_files
from opnmf_pipeline.stages.mask import DIGESTS_FILE
from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.select import FACTORIZATION_DIRS, SELECTION_DIR, SELECTION_FILES
from opnmf_pipeline.stages.spaces import Pictures, named_files, open_mask, space_of
from opnmf_pipeline.stages.stage import MASK_FILE, Call, Field, Kind, Stage
from opnmf_pipeline.tables import as_typed, read_table

__all__ = ["MAKE_REPORT", "CohortFiles", "FitFiles", "SelectionFiles", "make_report"]


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
    """

    factorization: Path
    components: Path
    labels_table: Path
    loadings: Path
    montage: Path | None = None
    parts: Path | None = None


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


def make_report(
    selection: SelectionFiles,
    fits: Sequence[FitFiles],
    mask_file: Path,
    out_file: Path,
    *,
    cohort_file: Path | None = None,
    digests_file: Path | None = None,
    quality: CohortFiles | None = None,
    runs: Sequence[Mapping[str, Any]] = (),
    settings: str = "",
    on_template: bool = False,
    mesh_file: Path | None = None,
    figures: bool = True,
) -> Path:
    """Write one HTML page that needs no other file.

    Parameters
    ----------
    selection : SelectionFiles
        Comparison of the numbers of components.
    fits : sequence of FitFiles
        One per number of components.
    mask_file : path
        The mask of the analysis.
    out_file : path
        HTML to write.
    cohort_file : path, optional
        Table of the subjects with their covariates. It may have the columns ``image`` and
        ``sha256``.
    digests_file : path, optional
        SHA-256 of the images, in the order of ``cohort_file``; used only with ``cohort_file``.
    quality : CohortFiles, optional
        Quality of the images.
    runs : sequence of dict, optional
        Records of the runs that computed the results.
    settings : str
        YAML of the settings.
    on_template : bool
        Show components on the MNI152 template, not on the mean of the subjects.
    mesh_file : path, optional
        Mesh of the left hemisphere, which surfaces are drawn on.
    figures : bool
        Draw pictures of the loadings, the course of the fits and the cohort. This takes several
        seconds for each k.

    Returns
    -------
    path
        ``out_file``.
    """
    mask, pictures = open_mask(mask_file), space_of(mask_file).pictures
    assessed = _read_quality(quality, mask_file, mesh_file) if quality else None
    found = [_read_fit(files, mask, assessed, pictures.VIEWS) for files in fits]
    background = _background(pictures, quality, on_template=on_template)
    meshes = mesh_files(mesh_file, mask_file)
    shown = pictures.embed([*background, *(files.components for files in fits)], meshes=meshes)
    images = read_cohort(cohort_file) if cohort_file else pd.DataFrame()
    if digests_file is not None and not images.empty:
        images["sha256"] = json.loads(digests_file.read_text(encoding="utf-8"))
    rows = found[0].loadings.index
    named = identifiers(rows.tolist())
    facts = Facts(
        fits=found,
        selection=_read_selection(selection),
        n_subjects=named["participant_id"].nunique(),
        n_sessions=len(named) if "session_id" in named else None,
        grid=mask.grid,
        images=images,
        mixed_entities=mixed_entities(images["image"]) if "image" in images else "",
        covariates=find_covariates((images if images.empty else by_row(images)).reindex(rows)),
        quality=assessed,
        volumes=shown,
        on_background=bool(background),
        runs=runs,
        settings=settings,
    )
    out_file.write_text(render_page(facts, figures=figures), encoding="utf-8")
    return out_file


def _read_fit(files: FitFiles, mask: Mask, quality: QualityFacts | None, views: str) -> FitFacts:
    W = mask.masked(files.components).astype(np.float64)
    gram = W.T @ W
    nearest, overlaps = nearest_columns(gram)
    loadings = by_row(read_measures(files.loadings))
    errors = None
    if quality:
        norms = quality.subjects["norm"]
        errors = pd.Series(
            relative_errors(norms.to_numpy(), loadings.to_numpy(), gram), index=norms.index
        )
    info = read_object(files.factorization)
    return FitFacts(
        info=info,
        solver=_solver_facts(info["Settings"]),
        parts=as_typed(read_table(files.labels_table)),
        loadings=loadings,
        nearest=nearest,
        overlaps=overlaps,
        errors=errors,
        montage=files.montage,
        label_map=files.parts,
        views=views,
    )


def _solver_facts(settings: Mapping[str, Any]) -> SolverFacts:
    name, solver = settings["solver"], SOLVERS[settings["solver"]]
    tolerance = settings["tol"] if solver.criterion is CHANGE else None
    return SolverFacts(f"{name} ({solver.label})", solver.methods, tolerance)


def _read_selection(files: SelectionFiles) -> SelectionFacts:
    columns = read_object(files.metrics.with_suffix(".json"))
    return SelectionFacts(
        metrics=as_typed(read_table(files.metrics)),
        descriptions={name: column["Description"] for name, column in columns.items()},
        choice=read_object(files.choice) if files.choice else {},
        errors=files.errors,
        reproducibility=files.reproducibility,
        hierarchy=files.hierarchy,
    )


def _read_quality(
    files: CohortFiles, mask_file: Path, mesh_file: Path | None = None
) -> QualityFacts:
    pictures, meshes = space_of(mask_file).pictures, mesh_files(mesh_file, mask_file)
    return QualityFacts(
        mean=files.mean,
        sd=files.sd,
        coverage=files.coverage,
        draw_maps=partial(pictures.draw_cohort_maps, mask_file=mask_file, background=meshes),
        subjects=by_row(read_measures(files.subjects)),
        covered=open_mask(mask_file).masked(files.coverage),
    )


def _background(pictures: Pictures, quality: CohortFiles | None, *, on_template: bool) -> list[Any]:
    """Return the image behind the components in the viewer, or an empty list."""
    if on_template:
        return [pictures.template_image()]
    return [quality.mean] if quality else []


def _run(call: Call) -> dict[str, Path]:
    fits = [folder / FACTORIZATION_FILE for folder in call.paths("factorization_dirs")]
    lists: list[Sequence[Path | None]] = [
        call.paths(name) or [None] * len(fits)
        for name in (
            "components_files",
            "labels_tables",
            "loadings_files",
            "components_figures",
            "labels_figures",
        )
    ]
    quality_dir = call.optional_path("quality_dir")
    report_file = make_report(
        SelectionFiles.in_folder(call.path("selection_dir")),
        [FitFiles(*files) for files in zip(fits, *lists, strict=True)],
        call.path("mask_file"),
        call.folder / "report.html",
        cohort_file=call.optional_path("cohort_file"),
        digests_file=call.optional_path("digests_file"),
        quality=CohortFiles.in_folder(quality_dir, call.path("mask_file")) if quality_dir else None,
        settings=call["settings"] or "",
        on_template=call["on_template"],
        mesh_file=call.optional_path("mesh_file"),
        figures=call["figures"],
    )
    return {"report_file": report_file}


MAKE_REPORT = Stage(
    name="MakeReport",
    summary="Write one self-contained page about the results.",
    run=_run,
    folder="report",
    inputs={
        "selection_dir": SELECTION_DIR,
        "factorization_dirs": FACTORIZATION_DIRS,
        "components_files": Field(
            Kind.FILE, "maps of WriteMaps, one per number of components", many=True
        ),
        "labels_tables": Field(
            Kind.TABLE, "tables of WriteMaps, one per number of components", many=True
        ),
        "loadings_files": Field(
            Kind.TABLE, "loadings of WriteMaps, one per number of components", many=True
        ),
        "mask_file": MASK_FILE,
        "components_figures": Field(
            Kind.PICTURE,
            "pictures of DrawFigures, one per number of components",
            many=True,
            default=(),
        ),
        "labels_figures": Field(
            Kind.PICTURE,
            "pictures of DrawFigures, one per number of components",
            many=True,
            default=(),
        ),
        "cohort_file": replace(COHORT_FILE, default=None),
        "digests_file": replace(DIGESTS_FILE, default=None),
        "quality_dir": Field(Kind.FOLDER, "folder of AssessCohort", default=None),
        "settings": Field(Kind.TEXT, "YAML of the settings, shown at the end", default=""),
        "on_template": ON_TEMPLATE,
        "mesh_file": MESH_FILE,
        "figures": Field(
            Kind.FLAG,
            "draw pictures of the loadings, the course of the fits and the cohort",
            default=True,
        ),
    },
    outputs={"report_file": Field(Kind.FILE, "HTML page that needs no other file")},
)
