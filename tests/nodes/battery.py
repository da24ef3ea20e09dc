"""Every stage on one tiny cohort, with what its function writes: what all nodes are held to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import (
    AFTER_IMAGES,
    NULL_SETTINGS,
    SPLIT_SETTINGS,
    ChangeConfig,
    DecompositionConfig,
    InputsConfig,
    MaskConfig,
    MatrixConfig,
    MeasuresConfig,
    SelectionConfig,
)
from opnmf_pipeline.images.missing import write_masks
from opnmf_pipeline.images.tables.split import split_table
from opnmf_pipeline.stages.adjust import adjust_matrix
from opnmf_pipeline.stages.associations import write_associations
from opnmf_pipeline.stages.bootstrap import fit_bootstrap
from opnmf_pipeline.stages.change import change_matrix
from opnmf_pipeline.stages.collect import collect_cohort
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.figures import draw_figures
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.parts import PART_SETTINGS
from opnmf_pipeline.stages.permuted import fit_permuted
from opnmf_pipeline.stages.project import project_subjects
from opnmf_pipeline.stages.quality import assess_cohort
from opnmf_pipeline.stages.reliability import measure_reliability
from opnmf_pipeline.stages.report import make_report
from opnmf_pipeline.stages.reportfiles import CohortFiles, FitFiles, SelectionFiles
from opnmf_pipeline.stages.select import select_rank
from opnmf_pipeline.stages.splits import make_splits
from opnmf_pipeline.stages.stack import stack_measures
from tests.builders import Cohort
from tests.features import planted, rows_of, write_csv

K = 3
# Not the defaults, so that a setting which is not passed on shows
MASK = {"threshold": 0.15, "method": "coverage", "coverage": 0.5, "within": "none"}
MATRIX = {"smoothing_fwhm": 4.0}
FIT = {"init": "random", "random_state": 1, "max_iter": 60, "tol": 1e-3, "dtype": "float64"}
SPLITS = {"n_splits": 2, "stratify": ["age"], "n_bins": 2, "random_state": 5}
ADJUST = {"covariates": "age", "scale": {"by": "global"}, "negative": "clip"}
CHANGE = {"per_year": "age", "on_missing": "drop"}
FIT_JSON = "factorization.json"
OF_FEATURES = ("features", "feature_names", "features_as")
"""Settings of the stage SplitTable."""
ELSEWHERE = {"mesh_file", "model_file"}
"""Inputs for surfaces, or in place of another input; other tests give them."""


@dataclass(frozen=True)
class Case:
    """One stage: what its node takes, the settings among it, and what its function leaves."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    sections: dict[str, type] = field(default_factory=dict)
    """Section of the settings: prefix of its fields in the node."""
    without: tuple[str, ...] = ()
    """Settings that the node takes in another form."""
    stage: Callable[..., Any] | None = None


def cases(cohort: Cohort, root: Path) -> dict[str, Case]:
    """Run every function and return what its node must do, by the name of the node."""

    def folder(name: str) -> Path:
        path = root / name
        path.mkdir(parents=True)
        return path

    options = DecompositionConfig(n_components=K, **FIT)
    table = write_csv(folder("table") / "table.csv", rows_of(planted(3)))
    tabled = InputsConfig(features=(table,), feature_names=("rh_*",), features_as="columns")
    subjects_file = split_table(tabled, folder("features"))
    images, people = [str(path) for path in cohort.images], cohort.subjects
    bids = {"bids": str(cohort.root), "filters": {"label": ["GM"], "suffix": ["probseg"]}}
    cohort_file = collect_cohort(InputsConfig(**bids), folder("cohort") / "cohort.tsv")
    masks_file = write_masks({}, folder("masks") / "masks.json")
    mask_file = make_mask(
        images,
        folder("mask") / "mask.nii.gz",
        MaskConfig(**MASK),
        MatrixConfig(**MATRIX),
        values_dir=folder("values"),
    )
    digests = folder("digests") / "digests.json"
    digests.write_text(
        json.dumps([sha256(path.read_bytes()).hexdigest() for path in cohort.images], indent=1)
    )
    matrix = build_matrix(images, people, mask_file, folder("matrix"), MatrixConfig(**MATRIX))
    fit = decompose(matrix, folder("fit"), K, options)
    splits = make_splits(people, folder("splits"), SelectionConfig(**SPLITS), cohort_file)
    halves = [
        fit_halves(
            matrix, folder(f"halves{number}"), K, split, options, mask_file=mask_file, n_null=2
        )
        for number, split in enumerate(splits)
    ]
    shared = fit_halves(
        matrix,
        folder("shared"),
        K,
        splits[1],
        options,
        mask_file=mask_file,
        n_null=3,
        shared_start=True,
        matrix=MatrixConfig(**ADJUST),
        cohort_file=cohort_file,
    )
    starts = [
        decompose(matrix, folder(f"start{number}"), K, options.from_random_start(number))
        for number in (1, 2)
    ]
    permuted = fit_permuted(matrix, folder("permuted"), K, 3, options)
    coarse = decompose(matrix, folder("coarse"), K - 1, options)
    atlas_labels = folder("atlas") / "labels.tsv"
    atlas_labels.write_text("index\tname\n1\tthe mask\n")
    maps = write_maps(fit, mask_file, folder("maps"), mask_file, atlas_labels)
    figures = draw_figures(
        maps / "components.nii.gz",
        maps / "dseg.nii.gz",
        maps / "dseg.tsv",
        matrix,
        mask_file,
        folder("figures"),
        on_template=False,
    )
    family = folder("families") / "families.tsv"
    rows = [f"{name}\t{number // 2}\t{20 + number}" for number, name in enumerate(people)]
    family.write_text("\n".join(["participant_id\tfamily\tage", *rows]) + "\n")
    adjusted = adjust_matrix(matrix, cohort_file, folder("adjusted"), MatrixConfig(**ADJUST))
    visits = [f"sub-{number // 2}_ses-{1 + number % 2}" for number in range(len(people))]
    twice = build_matrix(images, visits, mask_file, folder("twice"), MatrixConfig(**MATRIX))
    ages = folder("visits") / "visits.tsv"
    rows = [f"{name.replace('_', chr(9))}\t{20 + number}" for number, name in enumerate(visits)]
    ages.write_text("\n".join(["participant_id\tsession_id\tage", *rows]) + "\n")
    change = change_matrix(twice, ages, folder("change"), ChangeConfig(**CHANGE), "shift")
    sample = fit_bootstrap(
        matrix,
        folder("bootstrap"),
        K,
        2,
        options,
        groups="family",
        matrix=MatrixConfig(**ADJUST),
        cohort_file=family,
    )
    halves_labels = [path.with_name("labels.npy") for path in halves]
    reliability = measure_reliability(
        maps / "dseg.nii.gz",
        maps / "dseg.tsv",
        mask_file,
        folder("reliability"),
        halves_labels=halves_labels,
        bootstrap_labels=[sample],
        leave_out=True,
        n_null=2,
    )
    selection = select_rank(
        [fit, coarse],
        folder("selection"),
        mask_file,
        halves=halves,
        shared=[shared],
        starts=starts,
        permuted=[permuted],
        planted=maps / "dseg.nii.gz",
        rule="reproducibility-peak",
        rank_range=(3, 3),
        n_null=2,
    )
    measured = folder("measured") / "measured.tsv"
    rows = [f"{name}\t{path}\t{path}" for name, path in zip(people, images, strict=True)]
    measured.write_text("\n".join(["participant_id\timage_a\timage_b", *rows]) + "\n")
    stacked = stack_measures(
        ["a", "b"],
        [mask_file, mask_file],
        [matrix, matrix],
        [digests, digests],
        measured,
        folder("stack"),
        MeasuresConfig(stack="voxels"),
    )
    metrics = selection / "metrics.tsv"
    of_adjusted = decompose(adjusted, folder("of-adjusted"), K, options)
    model = Model.of_fit(of_adjusted, mask_file, adjusted.with_name("adjustment.json"))
    projected = project_subjects(
        images, people, model, folder("new") / "loadings.tsv", cohort_file=cohort_file
    )
    maps_of_adjusted = write_maps(
        of_adjusted,
        mask_file,
        folder("maps-of-adjusted"),
        mask_file,
        atlas_labels,
        matrix_file=matrix,
        cohort_file=cohort_file,
    )
    quality = assess_cohort(matrix, mask_file, folder("quality"), adjusted)
    of_few = write_associations(maps / "loadings.tsv", cohort_file, folder("of-few"))
    loadings, many, described = write_people(folder("people"))
    associations = write_associations(loadings, many, folder("associations"), ["stage"], described)
    report = make_report(
        SelectionFiles.in_folder(selection),
        [
            FitFiles(
                fit,
                maps / "components.nii.gz",
                maps / "dseg.tsv",
                maps / "loadings.tsv",
                figures / "components.png",
                figures / "dseg.png",
                maps / "regions.tsv",
                of_few / "associations.tsv",
                reliability / "reliability.tsv",
                reliability / "reliability.nii.gz",
            )
        ],
        mask_file,
        folder("report") / "report.html",
        cohort_file=cohort_file,
        digests_file=digests,
        quality=CohortFiles.in_folder(quality, mask_file),
        settings="k: 3\n",
    )
    matrix_dir, fit_dir = str(matrix.parent), str(fit.parent)
    at = {"matrix_dir": matrix_dir, "n_components": K}
    return {
        "CollectCohort": Case(
            inputs=bids,
            outputs={"cohort_file": cohort_file, "images": images, "participants": people},
            sections={"": InputsConfig},
            without=(
                *(*OF_FEATURES, "simulation", "on_empty", "on_missing_covariate", "masks"),
                "measures",
            ),
            stage=collect_cohort,
        ),
        "MakeMask": Case(
            inputs={"images": images, "masks_file": masks_file, **MASK, **MATRIX},
            outputs={
                "mask_file": mask_file,
                "values_dir": root / "values",
                "digests_file": digests,
            },
            sections={"": MaskConfig, "matrix": MatrixConfig},
            without=AFTER_IMAGES,
            stage=make_mask,
        ),
        "BuildMatrix": Case(
            inputs={
                "images": images,
                "participants": people,
                "mask_file": mask_file,
                "values_dir": str(root / "values"),
                **MATRIX,
            },
            outputs={"matrix_dir": matrix.parent},
            sections={"": MatrixConfig},
            without=AFTER_IMAGES,
            stage=build_matrix,
        ),
        "AdjustMatrix": Case(
            inputs={"matrix_dir": matrix_dir, "cohort_file": cohort_file, **ADJUST},
            outputs={"matrix_dir": adjusted.parent},
            sections={"": MatrixConfig},
            without=PART_SETTINGS[MatrixConfig],
            stage=adjust_matrix,
        ),
        "ChangeMatrix": Case(
            inputs={
                "matrix_dir": twice.parent,
                "cohort_file": ages,
                "negative": "shift",
                **CHANGE,
            },
            outputs={
                "matrix_dir": change[0].parent,
                "cohort_file": change[1],
            },
            sections={"": ChangeConfig, "matrix": MatrixConfig},
            without=tuple(set(MatrixConfig.model_fields) - {"negative"}),
            stage=change_matrix,
        ),
        "Decompose": Case(
            inputs={**at, **FIT},
            outputs={"factorization_dir": fit.parent},
            sections={"": DecompositionConfig},
            without=("n_components",),
            stage=decompose,
        ),
        "MakeSplits": Case(
            inputs={"participants": people, "covariates": cohort_file, **SPLITS},
            outputs={"split_files": splits},
            sections={"": SelectionConfig},
            without=tuple(set(SelectionConfig.model_fields) - SPLIT_SETTINGS),
            stage=make_splits,
        ),
        "FitHalves": Case(
            inputs={
                **at,
                **FIT,
                "split_file": splits[1],
                "mask_file": mask_file,
                "n_null": 3,
                "shared_start": True,
                "cohort_file": cohort_file,
                **ADJUST,
            },
            outputs={"halves_file": shared, "labels_file": shared.with_name("labels.npy")},
            sections={
                "": DecompositionConfig,
                "selection": SelectionConfig,
                "matrix": MatrixConfig,
            },
            without=(
                "n_components",
                *(set(SelectionConfig.model_fields) - NULL_SETTINGS),
                *PART_SETTINGS[MatrixConfig],
            ),
            stage=fit_halves,
        ),
        "FitBootstrap": Case(
            inputs={
                **at,
                **FIT,
                "sample": 2,
                "groups": "family",
                "cohort_file": family,
                **ADJUST,
            },
            outputs={"labels_file": sample},
            sections={"": DecompositionConfig, "matrix": MatrixConfig},
            without=("n_components", *PART_SETTINGS[MatrixConfig]),
            stage=fit_bootstrap,
        ),
        "MeasureReliability": Case(
            inputs={
                "labels_file": maps / "dseg.nii.gz",
                "labels_table": maps / "dseg.tsv",
                "mask_file": mask_file,
                "halves_labels": halves_labels,
                "bootstrap_labels": [sample],
                "leave_out": True,
                "n_null": 2,
            },
            outputs={
                "reliability_dir": reliability,
                "reliability_file": reliability / "reliability.nii.gz",
                "reliability_table": reliability / "reliability.tsv",
            },
            sections={"": SelectionConfig},
            without=tuple(set(SelectionConfig.model_fields) - NULL_SETTINGS),
            stage=measure_reliability,
        ),
        "FitPermuted": Case(
            inputs={**at, **FIT, "seed": 3},
            outputs={"permuted_file": permuted},
            sections={"": DecompositionConfig},
            without=("n_components",),
            stage=fit_permuted,
        ),
        "WriteMaps": Case(
            inputs={
                "factorization_dir": str(of_adjusted.parent),
                "mask_file": mask_file,
                "atlas_file": mask_file,
                "atlas_labels": atlas_labels,
                "matrix_dir": matrix_dir,
                "cohort_file": cohort_file,
            },
            outputs={
                "maps_dir": maps_of_adjusted,
                "components_file": maps_of_adjusted / "components.nii.gz",
                "labels_file": maps_of_adjusted / "dseg.nii.gz",
                "shown_components": maps_of_adjusted / "components.nii.gz",
                "shown_labels": maps_of_adjusted / "dseg.nii.gz",
                "labels_table": maps_of_adjusted / "dseg.tsv",
                "regions_table": maps_of_adjusted / "regions.tsv",
                "loadings_file": maps_of_adjusted / "loadings.tsv",
                "sidecars": [
                    maps_of_adjusted / f"{name}.json" for name in ("components", "dseg", "loadings")
                ],
            },
            stage=write_maps,
        ),
        "DrawFigures": Case(
            inputs={
                "components_file": maps / "components.nii.gz",
                "labels_file": maps / "dseg.nii.gz",
                "labels_table": maps / "dseg.tsv",
                "matrix_dir": matrix_dir,
                "mask_file": mask_file,
                "on_template": False,
            },
            outputs={
                "figures_dir": figures,
                "components_figure": figures / "components.png",
                "labels_figure": figures / "dseg.png",
            },
            stage=draw_figures,
        ),
        "MeasureAssociations": Case(
            inputs={
                "loadings_file": loadings,
                "cohort_file": many,
                "covariates": ["stage"],
                "descriptions_file": described,
            },
            outputs={
                "associations_dir": associations,
                "associations_file": associations / "associations.tsv",
            },
            stage=write_associations,
        ),
        "SelectRank": Case(
            inputs={
                "factorization_dirs": [fit_dir, str(coarse.parent)],
                "mask_file": mask_file,
                "halves_files": halves,
                "shared_files": [shared],
                "start_dirs": [str(start.parent) for start in starts],
                "permuted_files": [permuted],
                "planted": maps / "dseg.nii.gz",
                "rule": "reproducibility-peak",
                "rank_range": (3, 3),
                "n_null": 2,
                "draw": True,
            },
            outputs={
                "selection_dir": selection,
                "metrics_file": metrics,
                "metrics_json": metrics.with_suffix(".json"),
            },
            sections={"": SelectionConfig},
            without=tuple(set(SelectionConfig.model_fields) - {"rule", "n_null"}),
            stage=select_rank,
        ),
        "AssessCohort": Case(
            inputs={"matrix_dir": matrix_dir, "mask_file": mask_file, "raw_dir": adjusted.parent},
            outputs={"quality_dir": quality},
            stage=assess_cohort,
        ),
        "MakeReport": Case(
            inputs={
                "selection_dir": str(selection),
                "factorization_dirs": [fit_dir],
                "components_files": [maps / "components.nii.gz"],
                "shown_components": [maps / "components.nii.gz"],
                "labels_tables": [maps / "dseg.tsv"],
                "regions_tables": [maps / "regions.tsv"],
                "loadings_files": [maps / "loadings.tsv"],
                "mask_file": mask_file,
                "components_figures": [figures / "components.png"],
                "labels_figures": [figures / "dseg.png"],
                "associations_dirs": [str(of_few)],
                "reliability_dirs": [str(reliability)],
                "cohort_file": cohort_file,
                "digests_file": digests,
                "quality_dir": str(quality),
                "settings": "k: 3\n",
                "on_template": False,
                "figures": True,
            },
            outputs={"report_file": report},
            stage=make_report,
        ),
        "SplitTable": Case(
            inputs={"features": [str(table)], "feature_names": ["rh_*"], "features_as": "columns"},
            outputs={
                "subjects_file": subjects_file,
                "images": sorted(map(str, subjects_file.parent.glob("*.features.tsv"))),
            },
            sections={"": InputsConfig},
            without=(
                *("bids", "filters", "database_dir", "table", "path_column", "glob", "pattern"),
                *("features", "feature_names", "simulation", "on_empty", "masks"),
                *("on_missing_covariate", "measures"),
            ),
            stage=split_table,
        ),
        "StackMeasures": Case(
            inputs={
                "measures": ["a", "b"],
                "mask_files": [mask_file, mask_file],
                "matrix_dirs": [matrix_dir, matrix_dir],
                "digests_files": [digests, digests],
                "cohort_file": measured,
                "stack": "voxels",
            },
            outputs={
                "mask_file": stacked.mask_file,
                "matrix_dir": stacked.matrix_file.parent,
                "cohort_file": stacked.cohort_file,
                "digests_file": stacked.digests_file,
            },
            sections={"": MeasuresConfig},
            without=("scale",),
            stage=stack_measures,
        ),
        "ProjectSubjects": Case(
            inputs={
                "images": images,
                "participants": people,
                "factorization_dir": str(of_adjusted.parent),
                "mask_file": mask_file,
                "matrix_dir": str(adjusted.parent),
                "cohort_file": cohort_file,
                "resample": True,  # no image is on another grid
            },
            outputs={"loadings_file": projected},
            stage=project_subjects,
        ),
    }


def write_people(folder: Path) -> tuple[Path, Path, Path]:
    """Write loadings, covariates and their descriptions of more subjects than have images."""
    names = [f"sub-{number:02d}" for number in range(12)]
    rows = [f"{name}\t{3 + number % 5}\t{number}" for number, name in enumerate(names)]
    loadings, cohort, described = (
        folder / name for name in ("loadings.tsv", "cohort.tsv", "participants.json")
    )
    loadings.write_text("\n".join(["participant_id\tcomponent01\tcomponent02", *rows]) + "\n")
    rows = [f"{name}\tx.nii\t{number}\t{number % 2}" for number, name in enumerate(names)]
    cohort.write_text("\n".join(["participant_id\timage\tage\tstage", *rows]) + "\n")
    described.write_text('{"stage": {"Levels": {"1": "early", "0": "late"}}}')
    return loadings, cohort, described


def content(value: Any) -> Any:
    """Return the bytes of a file, or of every file of a folder or of a list."""
    if isinstance(value, list | tuple):
        return [content(item) for item in value]
    path = Path(value)
    if path.is_dir():
        return {
            str(file.relative_to(path)): file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    return path.read_bytes() if path.is_file() else value


def settings_of(case: Case) -> dict[str, tuple[type, str]]:
    """Return the settings that a node must have: (section, name in it) by the name of the input."""
    found = {}
    for prefix, section in case.sections.items():
        prefix = prefix if prefix.endswith("_") else ""
        for name in section.model_fields:
            if name not in case.without:
                found[prefix + name] = (section, name)
    return found
