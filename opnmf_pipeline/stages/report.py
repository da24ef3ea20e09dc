"""Stage ``report``: one self-contained page about the results of all numbers of components."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opnmf_pipeline.config import MaskConfig, parse_yaml, resolved
from opnmf_pipeline.decomposition.progress import CHANGE
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.files import read_object
from opnmf_pipeline.images.bids import common_entities, mixed_entities
from opnmf_pipeline.images.cohort import (
    MEASURE,
    by_row,
    identifiers,
    read_cohort,
    read_measures,
)
from opnmf_pipeline.images.mask import describe_mask
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.reporting.covariates import restore_covariates
from opnmf_pipeline.reporting.facts import (
    AdjustmentFacts,
    AssociationFacts,
    Facts,
    FitFacts,
    QualityFacts,
    ReliabilityFacts,
    SelectionFacts,
    SolverFacts,
)
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.measures import n_subjects_of
from opnmf_pipeline.reporting.page import render_page
from opnmf_pipeline.selection.errors import explained_variance, relative_errors
from opnmf_pipeline.selection.shape import nearest_columns
from opnmf_pipeline.stages.associations import ASSOCIATIONS_FILES
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.figures import MESH_FILE, ON_TEMPLATE, mesh_files
from opnmf_pipeline.stages.maps import EXPLAINED
from opnmf_pipeline.stages.mask import DIGESTS_FILE
from opnmf_pipeline.stages.reliability import RELIABILITY_FILES
from opnmf_pipeline.stages.reportfiles import CohortFiles, FitFiles, SelectionFiles
from opnmf_pipeline.stages.select import FACTORIZATION_DIRS, SELECTION_DIR
from opnmf_pipeline.stages.spaces import named_files, open_mask, space_of
from opnmf_pipeline.stages.stage import MASK_FILE, Call, Field, Kind, Stage
from opnmf_pipeline.stages.viewer import embedded_maps
from opnmf_pipeline.tables import as_typed, read_table

__all__ = ["MAKE_REPORT", "make_report"]


def make_report(
    selection: SelectionFiles,
    fits: Sequence[FitFiles],
    mask_file: Path,
    out_file: Path,
    *,
    compared: Sequence[Mapping[str, Any]] = (),
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
        Fits with maps, one per number of components. Without any, the page is about the comparison
        alone.
    mask_file : path
        The mask of the analysis.
    out_file : path
        HTML to write.
    compared : sequence of dict
        Contents of ``factorization.json`` of the fits that were compared; used only without fits
        with maps.
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
    shown_file = next((files.shown for files in fits if files.shown), mask_file)
    mask, views = open_mask(mask_file), space_of(shown_file).pictures.VIEWS
    meshes = mesh_files(mesh_file, shown_file)
    draw = partial(
        space_of(mask_file).pictures.draw_cohort_maps, mask_file=mask_file, background=meshes
    )
    assessed = _read_quality(quality, mask, draw) if quality else None
    found = [_read_fit(files, mask, assessed, views, draw) for files in fits]
    infos = [fit.info for fit in found] or compared
    anatomy = None if "Change" in infos[0] else quality  # the mean of changes shows no anatomy
    embedded, on_background = embedded_maps(
        [_shown(fit, files, mask) for fit, files in zip(found, fits, strict=True)],
        shown_file,
        mask_file,
        anatomy.mean if anatomy else None,
        mesh_file,
        on_template=on_template,
    )
    images = read_cohort(cohort_file) if cohort_file else pd.DataFrame()
    if digests_file is not None and not images.empty:
        images["sha256"] = json.loads(digests_file.read_text(encoding="utf-8"))
    rows = infos[0]["Participants"]
    named = identifiers(rows)
    rule, only_brain = _mask_rule(settings, mask)
    associations = found[0].associations if found else None
    facts = Facts(
        infos=infos,
        solver=_solver_facts(infos[0]["Settings"]),
        fits=found,
        selection=_read_selection(selection),
        n_subjects=named["participant_id"].nunique(),
        n_sessions=n_subjects_of(infos[0]) if "session_id" in named else None,
        grid=mask.grid,
        mask=rule,
        in_standard_space=mask.in_standard_space,
        only_brain=only_brain,
        images=images,
        entities=common_entities(images["image"]) if "image" in images else {},
        mixed_entities=_mixed(images) if "image" in images else "",
        covariates=_covariates(_people(images, infos[0]), rows, associations),
        adjustment=_adjustment(infos[0], fits),
        quality=assessed,
        volumes=embedded,
        on_background=on_background,
        runs=runs,
        settings=settings,
    )
    out_file.write_text(render_page(facts, figures=figures), encoding="utf-8")
    return out_file


def _read_fit(
    files: FitFiles,
    mask: Mask,
    quality: QualityFacts | None,
    views: str,
    draw_maps: Callable[[Mapping[str, Path]], Figure],
) -> FitFacts:
    W = mask.masked(files.components).astype(np.float64)
    gram = W.T @ W
    nearest, overlaps = nearest_columns(gram)
    loadings = by_row(read_measures(files.loadings))
    info, errors = read_object(files.factorization), None
    rows = identifiers(info["Participants"])
    if quality:
        norms = quality.subjects["norm"]
        errors = pd.Series(
            relative_errors(norms.to_numpy(), loadings.to_numpy(), gram), index=norms.index
        )
        if "MissingValues" in info:
            errors = pd.Series(info["RelativeErrors"], index=norms.index)
    regions = as_typed(read_table(files.regions), ("region",)) if files.regions else None
    return FitFacts(
        info=info,
        solver=_solver_facts(info["Settings"]),
        parts=as_typed(read_table(files.labels_table), ("proposed_name",)),
        loadings=loadings,
        nearest=nearest,
        overlaps=overlaps,
        explained=explained_variance(info["ReconstructionError"], info.get("NormAboutMean", 0.0)),
        explained_about_zero=explained_variance(info["ReconstructionError"], info["Norm"]),
        errors=errors,
        measures=rows[MEASURE].tolist() if MEASURE in rows else None,
        montage=files.montage,
        label_map=files.parts,
        views=views,
        associations=_read_associations(files.associations) if files.associations else None,
        regions=None if regions is None or regions.empty else regions,
        reliability=_read_reliability(files, mask, draw_maps),
    )


def _shown(fit: FitFacts, files: FitFiles, mask: Mask) -> Any:
    """Return the maps of a fit for the viewer: its components and, if known, their stability."""
    if fit.reliability is None or not fit.reliability.in_viewer:
        return files.shown or files.components
    shares = fit.reliability.shares.astype(np.float32)
    return mask.unmasked(np.column_stack([mask.masked(files.components), shares]))


def _read_reliability(
    files: FitFiles, mask: Mask, draw_maps: Callable[[Mapping[str, Path]], Figure]
) -> ReliabilityFacts | None:
    if files.reliability is None or files.reliability_map is None:
        return None
    about = read_object(files.reliability.with_suffix(".json"))
    title = "Share of the resamples that assign each place to its component"
    return ReliabilityFacts(
        table=as_typed(read_table(files.reliability), ("name", "reproduced")),
        shares=mask.masked(files.reliability_map),
        resamples=f"{about['NumberOfResamples']} {about['Resamples']}",
        n_splits=about["NumberOfSplits"],
        size_units=about["size"]["Units"],
        draw=partial(draw_maps, {title: files.reliability_map}),
        in_viewer=mask.grid.in_space,
    )


def _read_associations(path: Path) -> AssociationFacts:
    about = read_object(path.with_suffix(".json"))
    return AssociationFacts(
        table=as_typed(read_table(path), text=("component", "covariate", "level", "reference")),
        covariates=about["Covariates"],
        unused=about["NotUsed"],
        notes=about["Notes"],
    )


def _adjustment(info: Mapping[str, Any], fits: Sequence[FitFiles]) -> AdjustmentFacts | None:
    if "Adjustment" not in info:
        return None
    sidecars = [read_object(files.loadings.with_suffix(".json")) for files in fits]
    explained = [sidecar.get(EXPLAINED, {}) for sidecar in sidecars]
    ks = [_rank(files.factorization) for files in fits]
    return AdjustmentFacts(info["Adjustment"], dict(zip(ks, explained, strict=True)))


def _people(images: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the table of images that have the covariates of the fit."""
    if "Change" not in info or images.empty:
        return images
    start: pd.DataFrame = images[images["session_id"] == info["Change"]["Settings"]["from_session"]]
    return start.drop(columns="session_id")


def _covariates(
    people: pd.DataFrame, rows: list[Any], associations: AssociationFacts | None
) -> pd.DataFrame:
    """Return the covariates that the models contain, one row per row of the loadings."""
    if people.empty or associations is None:
        return pd.DataFrame(index=pd.Index(rows))
    return restore_covariates(by_row(people).reindex(rows), associations.covariates)


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
    files: CohortFiles, mask: Mask, draw_maps: Callable[[Mapping[str, Path]], Figure]
) -> QualityFacts:
    mean = np.abs(mask.masked(files.mean))
    tissues = mask.composition(mean[:, np.newaxis])
    return QualityFacts(
        mean=files.mean,
        sd=files.sd,
        coverage=files.coverage,
        draw_maps=draw_maps,
        subjects=by_row(read_measures(files.subjects)),
        covered=mask.masked(files.coverage),
        tissues={} if tissues is None else dict(tissues.iloc[0]),
    )


def _mask_rule(settings: str, mask: Mask) -> tuple[str, bool]:
    """Return what the mask has in common, empty if unknown, and whether it is only brain."""
    section = (resolved(parse_yaml(settings, "settings")) or {}).get("mask")
    if not section:
        return "", False
    options = MaskConfig(**{"within": "none", **section})  # runs of 0.1 had no such setting
    only_brain = options.only_brain(in_standard_space=mask.in_standard_space)
    return describe_mask(options, mask.grid, only_brain=only_brain), only_brain


def _mixed(images: pd.DataFrame) -> str:
    """Name the entities that differ between images that should be alike: those of one measure."""
    groups = images.groupby(MEASURE)["image"] if MEASURE in images else [("", images["image"])]
    return "; ".join(filter(None, (mixed_entities(paths) for _, paths in groups)))


def _reliability_files(folders: Sequence[Path], mask_file: Path) -> dict[int, tuple[Path, Path]]:
    """Return table and map in each folder, by number of components: some numbers have none."""
    files = named_files(RELIABILITY_FILES, mask_file)
    table, image = files["reliability_tsv"], files["reliability"]
    return {
        _rank(folder / files["reliability_json"]): (folder / table, folder / image)
        for folder in folders
    }


def _rank(sidecar: Path) -> int:
    return int(read_object(sidecar)["NumberOfComponents"])


def _run(call: Call) -> dict[str, Path]:
    fits = [folder / FACTORIZATION_FILE for folder in call.paths("factorization_dirs")]
    maps = [call.paths(name) for name in ("components_files", "labels_tables", "loadings_files")]
    drawn: list[Sequence[Path | None]] = [
        call.paths(name) or [None] * len(maps[0])
        for name in ("components_figures", "labels_figures", "regions_tables")
    ]
    with_maps = fits if maps[0] else []
    tables = [
        folder / ASSOCIATIONS_FILES["associations"] for folder in call.paths("associations_dirs")
    ]
    drawn.append(tables or [None] * len(maps[0]))
    reliable = _reliability_files(call.paths("reliability_dirs"), call.path("mask_file"))
    found = [reliable.get(_rank(path), (None, None)) for path in with_maps]
    drawn += [[table for table, _ in found], [image for _, image in found]]
    drawn.append(call.paths("shown_components") or maps[0])
    quality_dir = call.optional_path("quality_dir")
    report_file = make_report(
        SelectionFiles.in_folder(call.path("selection_dir")),
        [FitFiles(*files) for files in zip(with_maps, *maps, *drawn, strict=True)],
        call.path("mask_file"),
        call.folder / "report.html",
        compared=[read_object(path) for path in fits],
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
        "mask_file": MASK_FILE,
        "components_files": Field(
            Kind.FILE,
            "maps of WriteMaps, one per number of components; without maps, the page is about the "
            "comparison alone",
            many=True,
            default=(),
        ),
        "labels_tables": Field(
            Kind.TABLE, "tables of WriteMaps, one per number of components", many=True, default=()
        ),
        "loadings_files": Field(
            Kind.TABLE, "loadings of WriteMaps, one per number of components", many=True, default=()
        ),
        "regions_tables": Field(
            Kind.TABLE,
            "tables of regions of WriteMaps, one per number of components",
            many=True,
            default=(),
        ),
        "shown_components": Field(
            Kind.FILE,
            "components for the viewer, of WriteMaps, one per number of components; default: "
            "components_files",
            many=True,
            default=(),
        ),
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
        "associations_dirs": Field(
            Kind.FOLDER,
            "folders of MeasureAssociations, one per number of components",
            many=True,
            default=(),
        ),
        "reliability_dirs": Field(
            Kind.FOLDER,
            "folders of MeasureReliability, one per number of components that has one",
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
