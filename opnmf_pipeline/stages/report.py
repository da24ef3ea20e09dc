"""Stage ``report``: one self-contained page about the results of all numbers of components."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pandas as pd
import yaml
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from opnmf_pipeline.images.cohort import by_row, identifiers, read_cohort
from opnmf_pipeline.images.volumes import open_image
from opnmf_pipeline.reporting.attention import sentences_about_cohort, sentences_about_fit
from opnmf_pipeline.reporting.course import draw_course
from opnmf_pipeline.reporting.covariates import (
    Effects,
    draw_effects,
    find_covariates,
    measure_effects,
)
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.loadings import draw_loadings
from opnmf_pipeline.reporting.measures import measures
from opnmf_pipeline.reporting.methods import describe_methods
from opnmf_pipeline.reporting.outliers import LIMIT, excess
from opnmf_pipeline.reporting.quality import draw_cohort_maps, draw_errors
from opnmf_pipeline.reporting.report import Page, Section, Viewer, render_report
from opnmf_pipeline.reporting.viewer import embed_volumes
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.figures import ON_TEMPLATE, template_image
from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.select import FACTORIZATION_DIRS, SELECTION_DIR, SELECTION_FILES
from opnmf_pipeline.stages.stage import MASK_FILE, Call, Field, Kind, Stage

__all__ = ["MAKE_REPORT", "CohortFiles", "FitFiles", "SelectionFiles", "make_report"]

TITLE = "Components of structural covariance"
INPUT_COLUMNS = ("participant_id", "session_id", "image", "sha256")


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
    def in_folder(cls, folder: Path) -> CohortFiles:
        """Return the files where the stage left them."""
        names = ("mean", "sd", "coverage", "subjects")
        return cls(*(folder / QUALITY_FILES[name] for name in names))


@dataclass(frozen=True)
class SelectionFiles:
    """Files of :func:`opnmf_pipeline.stages.select.select_rank`; all but the first may be absent.

    Attributes
    ----------
    metrics : path
        ``metrics.tsv``, with its ``.json`` beside it.
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
        """Return the files where the stage left them."""
        names = ("selection", "errors_figure", "reproducibility_figure", "hierarchy_figure")
        files = [folder / SELECTION_FILES[name] for name in names]
        there = (file if file.exists() else None for file in files)
        return cls(folder / SELECTION_FILES["metrics"], *there)


@dataclass(frozen=True)
class _Fit:
    """What the page needs to know of one number of components."""

    k: int
    files: FitFiles
    info: Mapping[str, Any]
    labels: pd.DataFrame
    loadings: pd.DataFrame
    gram: NDArray[np.float64]
    """WᵀW."""


def make_report(
    selection: SelectionFiles,
    fits: Sequence[FitFiles],
    mask_file: Path,
    out_file: Path,
    *,
    cohort_file: Path | None = None,
    quality: CohortFiles | None = None,
    runs: Sequence[Mapping[str, Any]] = (),
    settings: str = "",
    on_template: bool = False,
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
        Table of the subjects with their covariates, and perhaps ``image`` and ``sha256``.
    quality : CohortFiles, optional
        What is known of the quality of the images.
    runs : sequence of dict, optional
        Records of the runs that computed the results.
    settings : str
        YAML of the settings.
    on_template : bool
        Show components on the MNI152 template, not on the mean of the subjects.
    figures : bool
        Draw pictures of loadings, courses and the cohort, which takes seconds for each k.

    Returns
    -------
    path
        ``out_file``.
    """
    inside = np.asarray(open_image(mask_file).dataobj) != 0
    found = [_read_fit(files, inside) for files in fits]
    metrics = pd.read_csv(selection.metrics, sep="\t")
    columns = _read_json(selection.metrics.with_suffix(".json"))
    cohort = read_cohort(cohort_file) if cohort_file else pd.DataFrame()
    covariates = _covariates(cohort, found[0].loadings.index)
    choice = _read_json(selection.choice) if selection.choice else {}
    chosen = choice.get("k")
    subjects = by_row(read_cohort(quality.subjects)) if quality else None
    errors = _errors(found, subjects["norm"]) if subjects is not None else pd.DataFrame()
    attention = [
        sentence
        for fit in found
        for sentence in sentences_about_fit(fit.info, fit.labels["n_voxels"].tolist())
    ]
    if quality and subjects is not None:
        attention += sentences_about_cohort(
            subjects, errors, np.asarray(open_image(quality.coverage).dataobj)[inside]
        )
    if choice.get("flat"):
        attention.append(f"The choice of k is uncertain: {choice['reason']}")
    known = yaml.safe_load(settings) or {}
    sizes = [round(float(edge), 3) for edge in voxel_sizes(open_image(mask_file).affine)]
    page = Page(
        title=f"{TITLE}: {source}" if (source := _source(known)) else TITLE,
        lead=_lead(found),
        facts=_facts(found, sizes, chosen),
        choice=_choice(choice, found),
        chosen=chosen,
        attention=attention,
        ks=metrics["n_components"].tolist(),
        measures=measures(
            metrics, {name: column["Description"] for name, column in columns.items()}
        ),
        selection=_selection_figures(selection, metrics["n_components"].tolist()),
        viewer=_viewer(found, chosen, quality, on_template=on_template),
        sections=[_section(fit, covariates, figures=figures) for fit in found],
        quality=_quality_figures(quality, mask_file, errors) if quality and figures else [],
        subjects=None if subjects is None else _subject_table(subjects, errors),
        methods=describe_methods(
            [fit.info for fit in found], known, sizes, choice or None, qualified=bool(quality)
        ),
        runs=runs,
        versions=found[0].info["Versions"],
        inputs=_inputs(cohort),
        settings=settings,
    )
    out_file.write_text(render_report(page), encoding="utf-8")
    return out_file


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_fit(files: FitFiles, inside: NDArray[np.bool_]) -> _Fit:
    info = _read_json(files.factorization)
    image: Any = nb.load(files.components)
    W = np.asarray(image.dataobj)[inside].astype(np.float64)
    return _Fit(
        k=info["NumberOfComponents"],
        files=files,
        info=info,
        labels=pd.read_csv(files.labels_table, sep="\t"),
        loadings=by_row(read_cohort(files.loadings)),
        gram=W.T @ W,
    )


def _covariates(cohort: pd.DataFrame, rows: pd.Index[Any]) -> pd.DataFrame:
    """Return age, sex and site of the subjects, in the order of the loadings."""
    if cohort.empty:
        return pd.DataFrame(index=rows)
    return find_covariates(by_row(cohort).reindex(rows))


def _errors(fits: Sequence[_Fit], norms: pd.Series[float]) -> pd.DataFrame:
    """Return ‖x − Wh‖ / ‖x‖ of each subject and k, from ‖x‖² − 2‖h‖² + hᵀWᵀWh with h = Wᵀx.

    The images are not needed. Float32 loadings leave an uncertainty of about 1e-7 in the square.
    """
    squares = norms.to_numpy(np.float64) ** 2
    table = {}
    for fit in fits:
        H = fit.loadings.to_numpy(np.float64)
        left = squares - 2 * (H**2).sum(axis=1) + np.einsum("ij,jk,ik->i", H, fit.gram, H)
        table[fit.k] = np.sqrt(np.maximum(left, 0) / np.where(squares > 0, squares, 1))
    return pd.DataFrame(table, index=norms.index)


def _source(settings: Mapping[str, Any]) -> str:
    inputs = settings.get("inputs", {})
    if inputs.get("simulation"):
        return "simulated cohort"
    named = next((inputs[key] for key in ("bids", "table", "glob") if inputs.get(key)), "")
    return Path(named).name


def _lead(fits: Sequence[_Fit]) -> str:
    ks = [str(fit.k) for fit in fits]
    listed = " and ".join(filter(None, [", ".join(ks[:-1]), ks[-1]]))
    return (
        f"Images of {_people(fits[0])}, factorized into {listed} components by "
        "orthonormal projective non-negative matrix factorization (OPNMF): each component is a "
        "set of regions whose values rise and fall together over the subjects."
    )


def _people(fit: _Fit) -> str:
    rows = identifiers(fit.loadings.index.tolist())
    n_subjects = rows["participant_id"].nunique()
    sessions = f"{len(rows)} sessions of " if "session_id" in rows else ""
    return f"{sessions}{n_subjects} subjects"


def _facts(fits: Sequence[_Fit], sizes: Sequence[float], chosen: int | None) -> dict[str, str]:
    info = fits[0].info
    explained = [f"{_explained(fit.info):.1%}" for fit in fits]
    return {
        "Images": _people(fits[0]),
        f"Voxels of {' x '.join(f'{size:g}' for size in sizes)} mm": (
            f"{info['NumberOfVoxels']:,}".replace(",", "\u202f")
        ),
        "Components (k)": ", ".join(str(fit.k) for fit in fits),
        **({"Chosen k": str(chosen)} if chosen else {}),
        "Explained by the fit": " to ".join(dict.fromkeys((explained[0], explained[-1]))),
        "Solver": info["Settings"]["solver"],
    }


def _explained(info: Mapping[str, Any]) -> float:
    return float(1 - (info["ReconstructionError"] / info["Norm"]) ** 2)


def _choice(choice: Mapping[str, Any], fits: Sequence[_Fit]) -> str:
    if choice.get("k"):
        return f"Chosen: {choice['k']} components. {choice['reason']}"
    if choice:
        return f"No number of components was chosen. {choice['reason']}"
    if len(fits) > 1:
        return (
            "No number of components was chosen in this run: all stand side by side. "
            "selection.n_splits measures how well the components of each reproduce."
        )
    return ""


def _selection_figures(selection: SelectionFiles, ks: Sequence[int]) -> list[Figure]:
    over = f"over {len(ks)} numbers of components, from {min(ks)} to {max(ks)}"
    figures = [
        (
            selection.errors,
            f"Curves of the reconstruction error and of the gain of each component {over}",
            "Error of the fits, and what each component gains; of shuffled data and out of sample "
            "where these were asked for.",
        ),
        (
            selection.reproducibility,
            f"Curves of the agreement between the two parts of each split of the cohort {over}",
            "Agreement between fits of the two parts of each split of the cohort: mean, standard "
            "deviation and every split.",
        ),
        (
            selection.hierarchy,
            f"Diagram of how parts split {over}",
            "How the parts of each number of components share their voxels with those of the next.",
        ),
    ]
    return [Figure(path, alt, caption) for path, alt, caption in figures if path]


def _viewer(
    fits: Sequence[_Fit], chosen: int | None, quality: CohortFiles | None, *, on_template: bool
) -> Viewer:
    background = [template_image()] if on_template else []
    if not on_template and quality:
        background = [open_image(quality.mean)]
    images: list[Any] = [nb.load(fit.files.components) for fit in fits]
    embedded = embed_volumes([*background, *images])
    ks = [fit.k for fit in fits]
    return Viewer(
        background=embedded.images[0] if background else "",
        fits=[
            {
                "k": fit.k,
                "image": image,
                "peaks": fit.labels[["peak_x", "peak_y", "peak_z"]].to_numpy().tolist(),
            }
            for fit, image in zip(fits, embedded.images[len(background) :], strict=True)
        ],
        first=chosen if chosen in ks else ks[0],
        coarsening=embedded.coarsening,
    )


def _section(fit: _Fit, covariates: pd.DataFrame, *, figures: bool) -> Section:
    k, info = fit.k, fit.info
    maps = []
    if fit.files.montage:
        alt = f"{k} brain maps, each in three cuts through the largest weight of a component"
        maps.append(Figure(fit.files.montage, alt, "Every component, cut where it weighs most."))
    if fit.files.parts:
        alt = f"Cuts through a map in which each voxel has the colour of one of {k} components"
        caption = "The component that weighs most in each voxel."
        maps.append(Figure(fit.files.parts, alt, caption))
    numbered = fit.loadings.set_axis([f"component {j + 1}" for j in range(k)], axis=1)
    effects = [measure_effects(numbered, column) for _, column in covariates.items()]
    return Section(
        n_components=k,
        facts=_fit_facts(info),
        maps=maps,
        parts=_parts_table(fit),
        loadings=_loadings_figures(numbered, covariates, effects) if figures else [],
        effects=[effect.words for effect in effects],
        course=_course(info) if figures else None,
    )


def _loadings_figures(
    loadings: pd.DataFrame, covariates: pd.DataFrame, effects: list[Effects]
) -> list[Figure]:
    drawn = [draw_loadings(loadings, covariates)]
    return [*drawn, draw_effects(effects)] if effects else drawn


def _course(info: Mapping[str, Any]) -> Figure:
    options = info["Settings"]
    # The accelerated solver ends by another measure than the change of W
    tol = 0 if options["solver"] == "accelerated" else options["tol"]
    return Figure(
        draw_course(info["History"], tol),
        alt=f"The error falls to {info['ReconstructionError']:.5g} in {info['Iterations']} sweeps",
        caption="Course of the fit: reconstruction error and relative change of W against sweeps "
        "over the data.",
    )


def _fit_facts(info: Mapping[str, Any]) -> str:
    error, bound = info["ReconstructionError"], info["LowerBound"]
    end = "converged" if info["Converged"] else "stopped without converging"
    return (
        f"The fit {end} after {info['Iterations']} iterations with a reconstruction error of "
        f"{error:.5g}, which explains {_explained(info):.1%} of the data; no "
        f"{info['NumberOfComponents']} components can have an error below {bound:.5g}. Its "
        f"distance from where the published update stands still (KKT residual) is "
        f"{info['KKTResidual']:.1e}."
    )


def _parts_table(fit: _Fit) -> pd.DataFrame:
    norms = np.sqrt(np.diag(fit.gram))
    cosines = (
        fit.gram / np.where(norms > 0, norms, 1)[:, np.newaxis] / np.where(norms > 0, norms, 1)
    )
    np.fill_diagonal(cosines, 0)
    largest = cosines.max(axis=1)
    others = cosines.argmax(axis=1) + 1
    return pd.DataFrame(
        {
            "component": fit.labels["index"],
            "voxels": fit.labels["n_voxels"],
            "volume (cm³)": (fit.labels["volume"] / 1000).map("{:.1f}".format),
            **{f"peak {axis} (mm)": fit.labels[f"peak_{axis}"] for axis in "xyz"},
            "largest overlap (cosine)": [f"{value:.3f}" for value in largest],
            "with component": [
                str(other) if value >= 0.0005 else "none"
                for value, other in zip(largest, others, strict=True)
            ],
        }
    )


def _quality_figures(quality: CohortFiles, mask_file: Path, errors: pd.DataFrame) -> list[Figure]:
    maps = {
        "Mean of the subjects": quality.mean,
        "Standard deviation over the subjects": quality.sd,
        "Coverage: share of the subjects with data": quality.coverage,
    }
    return [
        draw_cohort_maps(maps, mask_file),
        draw_errors(errors, errors.apply(excess) > LIMIT),
    ]


def _subject_table(subjects: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "subject": subjects.index,
            "coverage": subjects["coverage"].map("{:.1%}".format),
            "nearest": subjects["nearest"],
            "correlation": subjects["correlation"].map("{:.4f}".format),
        }
    )
    for k in errors:
        table[f"error, k = {k}"] = errors[k].map("{:.4f}".format)
    last = errors.columns[-1]
    return table.set_axis(errors[last]).sort_index(ascending=False).reset_index(drop=True)


def _inputs(cohort: pd.DataFrame) -> pd.DataFrame | None:
    if "sha256" not in cohort:
        return None
    return cohort[[name for name in INPUT_COLUMNS if name in cohort]]


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
        quality=CohortFiles.in_folder(quality_dir) if quality_dir else None,
        settings=call["settings"] or "",
        on_template=call["on_template"],
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
            Kind.IMAGE, "maps of WriteMaps, one per number of components", many=True
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
        "quality_dir": Field(Kind.FOLDER, "folder of AssessCohort", default=None),
        "settings": Field(Kind.TEXT, "YAML of the settings, shown at the end", default=""),
        "on_template": ON_TEMPLATE,
        "figures": Field(
            Kind.FLAG, "draw pictures of loadings, courses and the cohort", default=True
        ),
    },
    outputs={"report_file": Field(Kind.FILE, "HTML page that needs no other file")},
)
