"""The stages as Nipype interfaces, for ``Node``, ``MapNode`` and ``JoinNode``.

The inputs that are options carry the ranges, choices, defaults and descriptions of the settings
(:mod:`opnmf_pipeline.config`), where they are written once.

A matrix and a fit are folders whose names end in a digest of their content. Nipype identifies a
folder by its name, so that nodes after it run again exactly when the content has changed, and no
node has to read a large matrix to know that.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import joblib
from nipype.interfaces.base import (
    Directory,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    Undefined,
    isdefined,
    traits,
)
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import (
    DecompositionConfig,
    InputsConfig,
    MaskConfig,
    MatrixConfig,
    Section,
    SelectionConfig,
)
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.nodes.fields import FIELDS, NOT_OF_CHOICE, NOT_OF_SPLITS
from opnmf_pipeline.nodes.traits import (
    images_input,
    make_input_spec,
    mask_input,
    matrix_input,
    n_components_input,
    num_threads_input,
    option_traits,
    participants_input,
)
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

AnySection = TypeVar("AnySection", bound=Section)


class _Stage(SimpleInterface):  # type: ignore[misc]
    def _run_interface(self, runtime: Any) -> Any:
        # A worker of Nipype never ends while it holds worker processes of its own: threads, then
        with (
            threadpool_limits(getattr(self.inputs, "num_threads", 1)),
            joblib.parallel_config(backend="threading"),
        ):
            self._run_stage(Path(runtime.cwd))
        return runtime

    def _run_stage(self, cwd: Path) -> None:
        """Run the stage in the folder of the node and note its results."""
        raise NotImplementedError

    def _section(self, section: type[AnySection], prefix: str = "", **values: Any) -> AnySection:
        """Return the settings that the inputs of this node spell out."""
        for name in section.model_fields:
            value = getattr(self.inputs, prefix + name, Undefined)
            if name not in values and isdefined(value):
                values[name] = value
        return section(**values)


_CollectCohortInputSpec = make_input_spec(
    "_CollectCohortInputSpec",
    option_traits(InputsConfig, without=("simulation", "bids", "table", "glob", "filters")),
    bids=Directory(
        exists=True, xor=["table", "glob"], desc=InputsConfig.model_fields["bids"].description
    ),
    table=File(
        exists=True, xor=["bids", "glob"], desc=InputsConfig.model_fields["table"].description
    ),
    glob=traits.Str(xor=["bids", "table"], desc=InputsConfig.model_fields["glob"].description),
    filters=traits.Dict(requires=["bids"], desc=InputsConfig.model_fields["filters"].description),
)


class _CollectCohortOutputSpec(TraitedSpec):  # type: ignore[misc]
    cohort_file = File(exists=True, desc=FIELDS["cohort_file"])
    images = OutputMultiObject(File(exists=True), desc=FIELDS["images"])
    participants = traits.List(traits.Str, desc=FIELDS["participants"])


class CollectCohort(_Stage):
    """Pair every subject with its image."""

    input_spec = _CollectCohortInputSpec
    output_spec = _CollectCohortOutputSpec
    # What a folder holds is no input that a cache could see
    _always_run = True

    def _run_stage(self, cwd: Path) -> None:
        out_file = cwd / "cohort.tsv"
        cohort = read_cohort(collect_cohort(self._section(InputsConfig), out_file))
        self._results["cohort_file"] = str(out_file)
        self._results["images"] = cohort["image"].tolist()
        self._results["participants"] = row_names(cohort)


_MakeMaskInputSpec = make_input_spec(
    "_MakeMaskInputSpec",
    option_traits(MaskConfig),
    option_traits(MatrixConfig),
    images=images_input(),
    num_threads=num_threads_input(),
)


class _MakeMaskOutputSpec(TraitedSpec):  # type: ignore[misc]
    mask_file = File(exists=True, desc=FIELDS["mask_file"])


class MakeMask(_Stage):
    """Choose the voxels of the analysis."""

    input_spec = _MakeMaskInputSpec
    output_spec = _MakeMaskOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        mask_file = make_mask(
            self.inputs.images,
            cwd / "mask.nii.gz",
            self._section(MaskConfig),
            self._section(MatrixConfig),
            n_procs=self.inputs.num_threads,
        )
        self._results["mask_file"] = str(mask_file)


_BuildMatrixInputSpec = make_input_spec(
    "_BuildMatrixInputSpec",
    option_traits(MatrixConfig),
    images=images_input(),
    participants=participants_input(),
    mask_file=mask_input(),
    num_threads=num_threads_input(),
)


class _BuildMatrixOutputSpec(TraitedSpec):  # type: ignore[misc]
    matrix_dir = Directory(exists=True, desc=FIELDS["matrix_dir"])


class BuildMatrix(_Stage):
    """Write the voxel-by-subject matrix."""

    input_spec = _BuildMatrixInputSpec
    output_spec = _BuildMatrixOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        matrix_file = build_matrix(
            self.inputs.images,
            self.inputs.participants,
            Path(self.inputs.mask_file),
            _new_folder(cwd),
            self._section(MatrixConfig),
            n_procs=self.inputs.num_threads,
        )
        self._results["matrix_dir"] = _named_by_content(matrix_file, "matrix")


_DecomposeInputSpec = make_input_spec(
    "_DecomposeInputSpec",
    option_traits(DecompositionConfig, without=("n_components",)),
    matrix_dir=matrix_input(),
    n_components=n_components_input(),
    num_threads=num_threads_input(),
)


class _DecomposeOutputSpec(TraitedSpec):  # type: ignore[misc]
    factorization_dir = Directory(
        exists=True,
        desc=FIELDS["factorization_dir"],
    )


class Decompose(_Stage):
    """Factorize the matrix with one number of components."""

    input_spec = _DecomposeInputSpec
    output_spec = _DecomposeOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        k = self.inputs.n_components
        factorization_file = decompose(
            Path(self.inputs.matrix_dir) / MATRIX_FILE,
            _new_folder(cwd),
            k,
            self._section(DecompositionConfig, n_components=(k,)),
            n_procs=self.inputs.num_threads,
        )
        self._results["factorization_dir"] = _named_by_content(factorization_file, "factorization")


_MakeSplitsInputSpec = make_input_spec(
    "_MakeSplitsInputSpec",
    option_traits(SelectionConfig, without=NOT_OF_SPLITS),
    participants=participants_input(),
    covariates=File(exists=True, desc=FIELDS["covariates"]),
    stratify=traits.List(
        traits.Str, usedefault=True, desc=SelectionConfig.model_fields["stratify"].description
    ),
)


class _MakeSplitsOutputSpec(TraitedSpec):  # type: ignore[misc]
    split_files = traits.List(File(exists=True), desc=FIELDS["split_files"])


class MakeSplits(_Stage):
    """Decide which subjects are in which half, for each split."""

    input_spec = _MakeSplitsInputSpec
    output_spec = _MakeSplitsOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        files = make_splits(
            self.inputs.participants,
            cwd,
            self._section(SelectionConfig),
            _path(self.inputs.covariates),
        )
        self._results["split_files"] = [str(path) for path in files]


_FitHalvesInputSpec = make_input_spec(
    "_FitHalvesInputSpec",
    option_traits(DecompositionConfig, without=("n_components",)),
    matrix_dir=matrix_input(),
    n_components=n_components_input(),
    split_file=File(exists=True, mandatory=True, desc=FIELDS["split_file"]),
    num_threads=num_threads_input(),
)


class _FitHalvesOutputSpec(TraitedSpec):  # type: ignore[misc]
    halves_file = File(exists=True, desc=FIELDS["halves_file"])


class FitHalves(_Stage):
    """Factorize both parts of one split of the cohort, and compare what was found."""

    input_spec = _FitHalvesInputSpec
    output_spec = _FitHalvesOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        k = self.inputs.n_components
        halves_file = fit_halves(
            Path(self.inputs.matrix_dir) / MATRIX_FILE,
            cwd,
            k,
            Path(self.inputs.split_file),
            self._section(DecompositionConfig, n_components=(k,)),
            n_procs=self.inputs.num_threads,
        )
        self._results["halves_file"] = str(halves_file)


_FitPermutedInputSpec = make_input_spec(
    "_FitPermutedInputSpec",
    option_traits(DecompositionConfig, without=("n_components",)),
    matrix_dir=matrix_input(),
    n_components=n_components_input(),
    seed=traits.Range(0, None, 0, mandatory=True, desc=FIELDS["seed"]),
    num_threads=num_threads_input(),
)


class _FitPermutedOutputSpec(TraitedSpec):  # type: ignore[misc]
    permuted_file = File(exists=True, desc=FIELDS["permuted_file"])


class FitPermuted(_Stage):
    """Factorize the matrix with the voxels shuffled within each subject."""

    input_spec = _FitPermutedInputSpec
    output_spec = _FitPermutedOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        k = self.inputs.n_components
        permuted_file = fit_permuted(
            Path(self.inputs.matrix_dir) / MATRIX_FILE,
            cwd,
            k,
            self.inputs.seed,
            self._section(DecompositionConfig, n_components=(k,)),
            n_procs=self.inputs.num_threads,
        )
        self._results["permuted_file"] = str(permuted_file)


_WriteMapsInputSpec = make_input_spec(
    "_WriteMapsInputSpec",
    factorization_dir=Directory(exists=True, mandatory=True, desc=FIELDS["factorization_dir"]),
    mask_file=mask_input(),
)


class _WriteMapsOutputSpec(TraitedSpec):  # type: ignore[misc]
    components_file = File(exists=True, desc=FIELDS["components_file"])
    labels_file = File(exists=True, desc=FIELDS["labels_file"])
    labels_table = File(exists=True, desc=FIELDS["labels_table"])
    loadings_file = File(exists=True, desc=FIELDS["loadings_file"])
    sidecars = OutputMultiObject(File(exists=True), desc=FIELDS["sidecars"])


class WriteMaps(_Stage):
    """Write component maps, labels and loadings."""

    input_spec = _WriteMapsInputSpec
    output_spec = _WriteMapsOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        out_dir = write_maps(
            Path(self.inputs.factorization_dir) / FACTORIZATION_FILE,
            Path(self.inputs.mask_file),
            cwd,
        )
        self._results["components_file"] = str(out_dir / "components.nii.gz")
        self._results["labels_file"] = str(out_dir / "dseg.nii.gz")
        self._results["labels_table"] = str(out_dir / "dseg.tsv")
        self._results["loadings_file"] = str(out_dir / "loadings.tsv")
        self._results["sidecars"] = [
            str(out_dir / f"{name}.json") for name in ("components", "dseg", "loadings")
        ]


_DrawFiguresInputSpec = make_input_spec(
    "_DrawFiguresInputSpec",
    components_file=File(exists=True, mandatory=True, desc=FIELDS["components_file"]),
    labels_file=File(exists=True, mandatory=True, desc=FIELDS["labels_file"]),
    matrix_dir=matrix_input(),
    mask_file=mask_input(),
    on_template=traits.Bool(True, usedefault=True, desc=FIELDS["on_template"]),
)


class _DrawFiguresOutputSpec(TraitedSpec):  # type: ignore[misc]
    components_figure = File(exists=True, desc=FIELDS["components_figure"])
    labels_figure = File(exists=True, desc=FIELDS["labels_figure"])


class DrawFigures(_Stage):
    """Draw every component and the map of all parts."""

    input_spec = _DrawFiguresInputSpec
    output_spec = _DrawFiguresOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        out_dir = draw_figures(
            Path(self.inputs.components_file),
            Path(self.inputs.labels_file),
            Path(self.inputs.matrix_dir) / MATRIX_FILE,
            Path(self.inputs.mask_file),
            cwd,
            on_template=self.inputs.on_template,
        )
        self._results["components_figure"] = str(out_dir / "components.png")
        self._results["labels_figure"] = str(out_dir / "dseg.png")


_SelectRankInputSpec = make_input_spec(
    "_SelectRankInputSpec",
    option_traits(SelectionConfig, without=NOT_OF_CHOICE),
    factorization_dirs=InputMultiObject(
        Directory(exists=True),
        mandatory=True,
        desc=FIELDS["factorization_dirs"],
    ),
    mask_file=mask_input(),
    halves_files=InputMultiObject(File(exists=True), desc=FIELDS["halves_files"]),
    permuted_files=InputMultiObject(File(exists=True), desc=FIELDS["permuted_files"]),
    planted=File(exists=True, desc=FIELDS["planted"]),
    rank_range=traits.Tuple(traits.Int, traits.Int, desc=FIELDS["rank_range"]),
    draw=traits.Bool(True, usedefault=True, desc=FIELDS["draw"]),
)


class _SelectRankOutputSpec(TraitedSpec):  # type: ignore[misc]
    selection_dir = Directory(exists=True, desc=FIELDS["selection_dir"])
    metrics_file = File(exists=True, desc=FIELDS["metrics_file"])
    metrics_json = File(exists=True, desc=FIELDS["metrics_json"])


class SelectRank(_Stage):
    """Compare numbers of components, and choose one where the data allow it."""

    input_spec = _SelectRankInputSpec
    output_spec = _SelectRankOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        inputs = self.inputs
        folder = cwd / "selection"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        select_rank(
            [Path(fit) / FACTORIZATION_FILE for fit in inputs.factorization_dirs],
            folder,
            Path(inputs.mask_file),
            halves=_paths(inputs.halves_files),
            permuted=_paths(inputs.permuted_files),
            planted=_path(inputs.planted),
            rule=inputs.rule if isdefined(inputs.rule) else None,
            rank_range=inputs.rank_range if isdefined(inputs.rank_range) else None,
            draw=inputs.draw,
        )
        self._results["selection_dir"] = str(folder)
        self._results["metrics_file"] = str(folder / "metrics.tsv")
        self._results["metrics_json"] = str(folder / "metrics.json")


_AssessCohortInputSpec = make_input_spec(
    "_AssessCohortInputSpec", matrix_dir=matrix_input(), mask_file=mask_input()
)


class _AssessCohortOutputSpec(TraitedSpec):  # type: ignore[misc]
    quality_dir = Directory(exists=True, desc=FIELDS["quality_dir"])


class AssessCohort(_Stage):
    """Describe the quality of the images: mean, spread, coverage, near duplicates."""

    input_spec = _AssessCohortInputSpec
    output_spec = _AssessCohortOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        folder = cwd / "quality"
        folder.mkdir(exist_ok=True)
        matrix_file = Path(self.inputs.matrix_dir) / MATRIX_FILE
        self._results["quality_dir"] = str(
            assess_cohort(matrix_file, Path(self.inputs.mask_file), folder)
        )


def _files(name: str, **options: Any) -> Any:
    return InputMultiObject(File(exists=True), desc=FIELDS[name], **options)


_MakeReportInputSpec = make_input_spec(
    "_MakeReportInputSpec",
    selection_dir=Directory(exists=True, mandatory=True, desc=FIELDS["selection_dir"]),
    factorization_dirs=InputMultiObject(
        Directory(exists=True),
        mandatory=True,
        desc=FIELDS["factorization_dirs"],
    ),
    components_files=_files("components_files", mandatory=True),
    labels_tables=_files("labels_tables", mandatory=True),
    loadings_files=_files("loadings_files", mandatory=True),
    mask_file=mask_input(),
    components_figures=_files("components_figures"),
    labels_figures=_files("labels_figures", requires=["components_figures"]),
    cohort_file=File(exists=True, desc=FIELDS["cohort_file"]),
    quality_dir=Directory(exists=True, desc=FIELDS["quality_dir"]),
    settings=traits.Str("", usedefault=True, desc=FIELDS["settings"]),
    on_template=traits.Bool(True, usedefault=True, desc=FIELDS["on_template"]),
)


class _MakeReportOutputSpec(TraitedSpec):  # type: ignore[misc]
    report_file = File(exists=True, desc=FIELDS["report_file"])


class MakeReport(_Stage):
    """Write one self-contained page about the results."""

    input_spec = _MakeReportInputSpec
    output_spec = _MakeReportOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        factorizations = [
            Path(folder) / FACTORIZATION_FILE for folder in self.inputs.factorization_dirs
        ]
        lists: list[list[Any]] = [
            [Path(file) for file in files] if isdefined(files) else [None] * len(factorizations)
            for files in (
                self.inputs.components_files,
                self.inputs.labels_tables,
                self.inputs.loadings_files,
                self.inputs.components_figures,
                self.inputs.labels_figures,
            )
        ]
        quality_dir = _path(self.inputs.quality_dir)
        report_file = make_report(
            SelectionFiles.in_folder(Path(self.inputs.selection_dir)),
            [FitFiles(*files) for files in zip(factorizations, *lists, strict=True)],
            Path(self.inputs.mask_file),
            cwd / "report.html",
            cohort_file=_path(self.inputs.cohort_file),
            quality=CohortFiles.in_folder(quality_dir) if quality_dir else None,
            settings=self.inputs.settings,
            on_template=self.inputs.on_template,
        )
        self._results["report_file"] = str(report_file)


_ProjectSubjectsInputSpec = make_input_spec(
    "_ProjectSubjectsInputSpec",
    images=images_input(),
    participants=participants_input(),
    factorization_dir=Directory(exists=True, mandatory=True, desc=FIELDS["factorization_dir"]),
    mask_file=mask_input(),
    num_threads=num_threads_input(),
)


class _ProjectSubjectsOutputSpec(TraitedSpec):  # type: ignore[misc]
    loadings_file = File(exists=True, desc=FIELDS["loadings_file"])


class ProjectSubjects(_Stage):
    """Find the loadings of new subjects on components that were learned before."""

    input_spec = _ProjectSubjectsInputSpec
    output_spec = _ProjectSubjectsOutputSpec

    def _run_stage(self, cwd: Path) -> None:
        loadings_file = project_subjects(
            self.inputs.images,
            self.inputs.participants,
            Path(self.inputs.factorization_dir) / FACTORIZATION_FILE,
            Path(self.inputs.mask_file),
            cwd / "loadings.tsv",
            n_procs=self.inputs.num_threads,
        )
        self._results["loadings_file"] = str(loadings_file)


def _paths(values: Any) -> list[Path]:
    return [Path(value) for value in values] if isdefined(values) else []


def _path(value: Any) -> Path | None:
    return Path(value) if isdefined(value) else None


def _new_folder(cwd: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="partial-", dir=cwd))


def _named_by_content(handle: Path, name: str) -> str:
    """Rename the folder of a result by the digest of the small file that stands for it."""
    digest = hashlib.sha256(handle.read_bytes()).hexdigest()[:16]
    return str(handle.parent.rename(handle.parent.with_name(f"{name}-{digest}")))
