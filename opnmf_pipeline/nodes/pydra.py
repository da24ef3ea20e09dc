"""The stages as Pydra tasks.

The options of a task carry the choices, defaults and descriptions of the settings
(:mod:`opnmf_pipeline.config`), where they are written once. A task uses as many BLAS threads as
the environment allows it (``OMP_NUM_THREADS``): a number of threads among its inputs would be
part of what its result is found by.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.image import Png
from fileformats.medimage import NiftiGz
from fileformats.text import Tsv
from pydra.compose import python

from opnmf_pipeline.config import (
    DecompositionConfig,
    InputsConfig,
    MaskConfig,
    MatrixConfig,
    Section,
    SelectionConfig,
)
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.nodes.fields import FIELDS, NOT_OF_CHOICE, NOT_OF_SPLITS, Option, options_of
from opnmf_pipeline.stages.collect import collect_cohort
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, decompose
from opnmf_pipeline.stages.figures import draw_figures
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import MATRIX_FILE, build_matrix
from opnmf_pipeline.stages.permuted import fit_permuted
from opnmf_pipeline.stages.project import project_subjects
from opnmf_pipeline.stages.quality import assess_cohort
from opnmf_pipeline.stages.report import CohortFiles, FitFiles, SelectionFiles, make_report
from opnmf_pipeline.stages.select import select_rank
from opnmf_pipeline.stages.splits import make_splits

__all__ = [
    "AssessCohort",
    "BuildMatrix",
    "CollectCohort",
    "Decompose",
    "DrawFigures",
    "FitHalves",
    "FitPermuted",
    "MakeMask",
    "MakeReport",
    "MakeSplits",
    "ProjectSubjects",
    "SelectRank",
    "WriteMaps",
]


def _argument(option: Option) -> Any:
    kind: Any = File if option.kind is Path else option.kind
    if option.default is None:
        kind = kind | None
    return python.arg(
        type=kind,
        default=option.default,
        allowed_values=option.choices,
        help=option.description,
    )


def _arguments(section: type[Section], *, prefix: str = "", without: tuple[str, ...] = ()) -> Any:
    options = options_of(section, without=without)
    return {prefix + option.name: _argument(option) for option in options}


def _input(kind: Any, name: str) -> Any:
    return python.arg(type=kind, help=FIELDS[name])


def _output(kind: Any, name: str) -> Any:
    return python.out(type=kind, help=FIELDS[name])


def _section(
    section: type[Section], options: dict[str, Any], prefix: str = "", **values: Any
) -> Any:
    """Return the settings that the options of a task spell out."""
    for name in section.model_fields:
        if name not in values and (value := options.get(prefix + name)) is not None:
            values[name] = str(value) if isinstance(value, File) else value
    return section(**values)


IMAGES = _input(list[File], "images")
PARTICIPANTS = _input(list[str], "participants")
MASK = _input(NiftiGz, "mask_file")
MATRIX = _input(Directory, "matrix_dir")
N_COMPONENTS = _input(int, "n_components")
FACTORIZATION = _output(Directory, "factorization_dir")


@python.define(
    inputs=_arguments(InputsConfig, without=("simulation", "bids", "glob"))
    | {
        "bids": python.arg(
            type=str | None, default=None, help=InputsConfig.model_fields["bids"].description
        ),
        "glob": python.arg(
            type=str | None, default=None, help=InputsConfig.model_fields["glob"].description
        ),
    },
    outputs={
        "cohort_file": _output(Tsv, "cohort_file"),
        "images": _output(list[File], "images"),
        "participants": _output(list[str], "participants"),
    },
    xor=["bids", "table", "glob"],
)
def CollectCohort(**options: Any) -> Any:
    """Pair every subject with its image."""
    cohort_file = collect_cohort(_section(InputsConfig, options), Path.cwd() / "cohort.tsv")
    cohort = read_cohort(cohort_file)
    return cohort_file, cohort["image"].tolist(), row_names(cohort)


@python.define(
    inputs={"images": IMAGES, **_arguments(MaskConfig), **_arguments(MatrixConfig)},
    outputs={"mask_file": _output(NiftiGz, "mask_file")},
)
def MakeMask(images: list[File], **options: Any) -> Any:
    """Choose the voxels of the analysis."""
    mask, matrix = _section(MaskConfig, options), _section(MatrixConfig, options)
    return make_mask([Path(image) for image in images], Path.cwd() / "mask.nii.gz", mask, matrix)


@python.define(
    inputs={
        "images": IMAGES,
        "participants": PARTICIPANTS,
        "mask_file": MASK,
        **_arguments(MatrixConfig),
    },
    outputs={"matrix_dir": _output(Directory, "matrix_dir")},
)
def BuildMatrix(
    images: list[File], participants: list[str], mask_file: NiftiGz, **options: Any
) -> Any:
    """Write the voxel-by-subject matrix."""
    return build_matrix(
        [Path(image) for image in images],
        participants,
        Path(mask_file),
        _new_folder("matrix"),
        _section(MatrixConfig, options),
    ).parent


@python.define(
    inputs={
        "matrix_dir": MATRIX,
        "n_components": N_COMPONENTS,
        **_arguments(DecompositionConfig, without=("n_components",)),
    },
    outputs={"factorization_dir": FACTORIZATION},
)
def Decompose(matrix_dir: Directory, n_components: int, **options: Any) -> Any:
    """Factorize the matrix with one number of components."""
    return decompose(
        Path(matrix_dir) / MATRIX_FILE,
        _new_folder("factorization"),
        n_components,
        _section(DecompositionConfig, options, n_components=n_components),
    ).parent


@python.define(
    inputs={
        "participants": PARTICIPANTS,
        "covariates": python.arg(type=Tsv | None, default=None, help=FIELDS["covariates"]),
        "stratify": python.arg(
            type=list[str],
            default=attrs.Factory(list),
            help=SelectionConfig.model_fields["stratify"].description,
        ),
        **_arguments(SelectionConfig, without=NOT_OF_SPLITS),
    },
    outputs={"split_files": _output(list[Json], "split_files")},
)
def MakeSplits(
    participants: list[str], covariates: Tsv | None, stratify: list[str], **options: Any
) -> Any:
    """Decide which subjects are in which half, for each split."""
    return make_splits(
        participants,
        _new_folder("splits"),
        _section(SelectionConfig, options, stratify=stratify),
        Path(covariates) if covariates else None,
    )


@python.define(
    inputs={
        "matrix_dir": MATRIX,
        "n_components": N_COMPONENTS,
        "split_file": _input(Json, "split_file"),
        **_arguments(DecompositionConfig, without=("n_components",)),
    },
    outputs={"halves_file": _output(Json, "halves_file")},
)
def FitHalves(matrix_dir: Directory, n_components: int, split_file: Json, **options: Any) -> Any:
    """Factorize both parts of one split of the cohort, and compare what was found."""
    return fit_halves(
        Path(matrix_dir) / MATRIX_FILE,
        Path.cwd(),
        n_components,
        Path(split_file),
        _section(DecompositionConfig, options, n_components=n_components),
    )


@python.define(
    inputs={
        "matrix_dir": MATRIX,
        "n_components": N_COMPONENTS,
        "seed": _input(int, "seed"),
        **_arguments(DecompositionConfig, without=("n_components",)),
    },
    outputs={"permuted_file": _output(Json, "permuted_file")},
)
def FitPermuted(matrix_dir: Directory, n_components: int, seed: int, **options: Any) -> Any:
    """Factorize the matrix with the voxels shuffled within each subject."""
    return fit_permuted(
        Path(matrix_dir) / MATRIX_FILE,
        Path.cwd(),
        n_components,
        seed,
        _section(DecompositionConfig, options, n_components=n_components),
    )


@python.define(
    inputs={
        "factorization_dir": _input(Directory, "factorization_dir"),
        "mask_file": MASK,
    },
    outputs={
        "maps_dir": _output(Directory, "maps_dir"),
        "components_file": _output(NiftiGz, "components_file"),
        "labels_file": _output(NiftiGz, "labels_file"),
        "labels_table": _output(Tsv, "labels_table"),
        "loadings_file": _output(Tsv, "loadings_file"),
    },
)
def WriteMaps(factorization_dir: Directory, mask_file: NiftiGz) -> Any:
    """Write component maps, labels and loadings."""
    maps = write_maps(
        Path(factorization_dir) / FACTORIZATION_FILE, Path(mask_file), _new_folder("maps")
    )
    files = ("components.nii.gz", "dseg.nii.gz", "dseg.tsv", "loadings.tsv")
    return (maps, *(maps / file for file in files))


@python.define(
    inputs={
        "components_file": _input(NiftiGz, "components_file"),
        "labels_file": _input(NiftiGz, "labels_file"),
        "matrix_dir": MATRIX,
        "mask_file": MASK,
        "on_template": python.arg(
            type=bool,
            default=True,
            help=FIELDS["on_template"],
        ),
    },
    outputs={
        "figures_dir": _output(Directory, "figures_dir"),
        "components_figure": _output(Png, "components_figure"),
        "labels_figure": _output(Png, "labels_figure"),
    },
)
def DrawFigures(
    components_file: NiftiGz,
    labels_file: NiftiGz,
    matrix_dir: Directory,
    mask_file: NiftiGz,
    on_template: bool,
) -> Any:
    """Draw every component and the map of all parts."""
    figures = draw_figures(
        Path(components_file),
        Path(labels_file),
        Path(matrix_dir) / MATRIX_FILE,
        Path(mask_file),
        _new_folder("figures"),
        on_template=on_template,
    )
    return figures, figures / "components.png", figures / "dseg.png"


@python.define(
    inputs={
        "factorization_dirs": _input(list[Directory], "factorization_dirs"),
        "mask_file": MASK,
        "halves_files": python.arg(
            type=list[Json], default=attrs.Factory(list), help=FIELDS["halves_files"]
        ),
        "permuted_files": python.arg(
            type=list[Json], default=attrs.Factory(list), help=FIELDS["permuted_files"]
        ),
        "planted": python.arg(type=NiftiGz | None, default=None, help=FIELDS["planted"]),
        "rank_range": python.arg(type=list[int] | None, default=None, help=FIELDS["rank_range"]),
        "draw": python.arg(type=bool, default=True, help=FIELDS["draw"]),
        **_arguments(SelectionConfig, without=NOT_OF_CHOICE),
    },
    outputs={
        "selection_dir": _output(Directory, "selection_dir"),
        "metrics_file": _output(Tsv, "metrics_file"),
        "metrics_json": _output(Json, "metrics_json"),
    },
)
def SelectRank(
    factorization_dirs: list[Directory],
    mask_file: NiftiGz,
    halves_files: list[Json],
    permuted_files: list[Json],
    planted: NiftiGz | None,
    rank_range: list[int] | None,
    draw: bool,
    rule: str | None,
) -> Any:
    """Compare numbers of components, and choose one where the data allow it."""
    folder = select_rank(
        [Path(fit) / FACTORIZATION_FILE for fit in factorization_dirs],
        _new_folder("selection"),
        Path(mask_file),
        halves=map(Path, halves_files),
        permuted=map(Path, permuted_files),
        planted=Path(planted) if planted else None,
        rule=rule,
        rank_range=rank_range,
        draw=draw,
    )
    return folder, folder / "metrics.tsv", folder / "metrics.json"


@python.define(
    inputs={"matrix_dir": MATRIX, "mask_file": MASK},
    outputs={"quality_dir": _output(Directory, "quality_dir")},
)
def AssessCohort(matrix_dir: Directory, mask_file: NiftiGz) -> Any:
    """Describe the quality of the images: mean, spread, coverage, near duplicates."""
    return assess_cohort(Path(matrix_dir) / MATRIX_FILE, Path(mask_file), _new_folder("quality"))


@python.define(
    inputs={
        "selection_dir": _input(Directory, "selection_dir"),
        "factorization_dirs": _input(list[Directory], "factorization_dirs"),
        "components_files": _input(list[NiftiGz], "components_files"),
        "labels_tables": _input(list[Tsv], "labels_tables"),
        "loadings_files": _input(list[Tsv], "loadings_files"),
        "mask_file": MASK,
        "components_figures": python.arg(
            type=list[Png],
            default=attrs.Factory(list),
            help=FIELDS["components_figures"],
        ),
        "labels_figures": python.arg(
            type=list[Png],
            default=attrs.Factory(list),
            help=FIELDS["labels_figures"],
        ),
        "cohort_file": python.arg(type=Tsv | None, default=None, help=FIELDS["cohort_file"]),
        "quality_dir": python.arg(type=Directory | None, default=None, help=FIELDS["quality_dir"]),
        "settings": python.arg(type=str, default="", help=FIELDS["settings"]),
        "on_template": python.arg(type=bool, default=True, help=FIELDS["on_template"]),
    },
    outputs={"report_file": _output(File, "report_file")},
)
def MakeReport(
    selection_dir: Directory,
    factorization_dirs: list[Directory],
    components_files: list[NiftiGz],
    labels_tables: list[Tsv],
    loadings_files: list[Tsv],
    mask_file: NiftiGz,
    components_figures: list[Png],
    labels_figures: list[Png],
    cohort_file: Tsv | None,
    quality_dir: Directory | None,
    settings: str,
    on_template: bool,
) -> Any:
    """Write one self-contained page about the results."""
    factorizations = [Path(folder) / FACTORIZATION_FILE for folder in factorization_dirs]
    lists: list[list[Any]] = [
        [Path(file) for file in files] or [None] * len(factorizations)
        for files in (
            components_files,
            labels_tables,
            loadings_files,
            components_figures,
            labels_figures,
        )
    ]
    return make_report(
        SelectionFiles.in_folder(Path(selection_dir)),
        [FitFiles(*files) for files in zip(factorizations, *lists, strict=True)],
        Path(mask_file),
        Path.cwd() / "report.html",
        cohort_file=Path(cohort_file) if cohort_file else None,
        quality=CohortFiles.in_folder(Path(quality_dir)) if quality_dir else None,
        settings=settings,
        on_template=on_template,
    )


@python.define(
    inputs={
        "images": IMAGES,
        "participants": PARTICIPANTS,
        "factorization_dir": _input(Directory, "factorization_dir"),
        "mask_file": MASK,
    },
    outputs={"loadings_file": _output(Tsv, "loadings_file")},
)
def ProjectSubjects(
    images: list[File], participants: list[str], factorization_dir: Directory, mask_file: NiftiGz
) -> Any:
    """Find the loadings of new subjects on components that were learned before."""
    return project_subjects(
        [Path(image) for image in images],
        participants,
        Path(factorization_dir) / FACTORIZATION_FILE,
        Path(mask_file),
        Path.cwd() / "loadings.tsv",
    )


def _new_folder(name: str) -> Path:
    folder = Path.cwd() / name
    folder.mkdir(exist_ok=True)
    return folder
