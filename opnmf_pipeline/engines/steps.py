"""The graph of a run: which steps the settings ask for, and where their inputs come from.

The graph is defined only here, as data of the module ``graph``. To add a step, add it to a function
below that :func:`steps_of` calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.graph import (
    RANK,
    SAMPLE,
    SEED,
    SPLIT,
    Each,
    Every,
    Given,
    Of,
    Over,
    Step,
)
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.stages.adjust import ADJUST_MATRIX
from opnmf_pipeline.stages.associations import MEASURE_ASSOCIATIONS
from opnmf_pipeline.stages.bootstrap import FIT_BOOTSTRAP
from opnmf_pipeline.stages.change import CHANGE_MATRIX
from opnmf_pipeline.stages.decompose import DECOMPOSE
from opnmf_pipeline.stages.figures import DRAW_FIGURES
from opnmf_pipeline.stages.halves import FIT_HALVES
from opnmf_pipeline.stages.maps import WRITE_MAPS
from opnmf_pipeline.stages.mask import MAKE_MASK
from opnmf_pipeline.stages.matrix import BUILD_MATRIX
from opnmf_pipeline.stages.permuted import FIT_PERMUTED
from opnmf_pipeline.stages.quality import ASSESS_COHORT
from opnmf_pipeline.stages.reliability import MEASURE_RELIABILITY
from opnmf_pipeline.stages.report import MAKE_REPORT
from opnmf_pipeline.stages.select import SELECT_RANK
from opnmf_pipeline.stages.splits import MAKE_SPLITS
from opnmf_pipeline.stages.stack import STACK_MEASURES
from opnmf_pipeline.stages.stage import Stage

__all__ = ["GIVEN", "images_name", "mask_step", "matrix_step", "steps_of"]

GIVEN = {
    "images": "one image per subject",
    "participants": "identifier of each subject",
    "masks": "masks of missing voxels by image (JSON), if there are any",
    "covariates": "table of the subjects, for the splits and the report",
    "descriptions": "participants.json with descriptions of the covariates, if there is one",
    "planted": "label map of the true components, if known",
    "atlas_file": "label image of an atlas in the space of the images, or of the regions of tables",
    "atlas_labels": "names of the labels of this atlas",
    "mesh": "mesh of the left hemisphere that surfaces are drawn on",
    "on_template": "whether figures are drawn on the MNI152 template",
    "settings": "YAML of the settings, shown in the report",
}
"""Inputs of the graph, by name; with several measures, ``images_NAME`` are those of each."""

NO_COUNT_MSG = (
    "n_splits: is required with selection.leave_out: {column}; give the number of values of this "
    "column in the cohort"
)


def steps_of(config: PipelineConfig, n_splits: int | None = None) -> list[Step]:
    """Return the steps of a run; each step comes after the steps that it depends on.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``inputs``, ``output`` and ``execution`` are not used.
    n_splits : int, optional
        Number of splits of the cohort. Default: ``selection.n_splits``. With
        ``selection.leave_out``, pass the number of values of that column, such as sites.

    Returns
    -------
    list of Step
        Steps that the settings do not ask for are absent.

    Raises
    ------
    ConfigError
        ``selection.leave_out`` is set, and ``n_splits`` is not given.
    """
    leave_out = config.selection.leave_out
    if n_splits is None and leave_out is not None:
        raise ConfigError(NO_COUNT_MSG.format(column=leave_out))
    mapped = config.decomposition.n_components
    candidates = [k for k in config.ranks if k not in mapped]
    n_splits = config.selection.n_splits if n_splits is None else n_splits
    steps = [*_matrix_steps(config)]
    if mapped:
        steps += _map_steps(config)
    if candidates:
        steps.append(_fit("candidate", DECOMPOSE, config, {RANK: candidates}, title="decompose"))
    fits = [name for name, there in (("decompose", mapped), ("candidate", candidates)) if there]
    studied = _study_steps(config, n_splits)
    selection = _selection_step(config, fits, {step.name for step in studied})
    of_quality = {"matrix_dir": _matrix(config), "mask_file": _mask(config)}
    if config.inputs.measures:
        of_quality["raw_dir"] = _raw(config)
    quality = Step("quality", ASSESS_COHORT, of_quality)
    trusted = _reliability_steps(config, {step.name for step in studied})
    return [*steps, *studied, selection, *trusted, quality, _report_step(config)]


IMAGES = Of("matrix", "matrix_dir")
"""The matrix with one column per image."""


def images_name(measure: str) -> str:
    """Return the name of the input with the images of one of several measures."""
    return f"images_{measure}"


def mask_step(config: PipelineConfig) -> str:
    """Return the name of the step that writes the mask of the analysis."""
    return "stack" if config.inputs.measures else "mask"


def matrix_step(config: PipelineConfig) -> str:
    """Return the name of the step that writes the matrix before any adjustment."""
    if config.inputs.measures:
        return "stack"
    return "matrix" if config.matrix.change is None else "change"


def _mask(config: PipelineConfig) -> Of:
    return Of(mask_step(config), "mask_file")


def _raw(config: PipelineConfig) -> Of:
    """Return the matrix before any adjustment."""
    return Of(matrix_step(config), "matrix_dir")


def _matrix(config: PipelineConfig) -> Of:
    """Return the matrix that fits of the whole cohort take."""
    return Of("adjust", "matrix_dir") if config.matrix.adjusts else _raw(config)


def _cohort(config: PipelineConfig) -> Given | Of:
    """Return the table of the columns of this matrix."""
    step = matrix_step(config)
    return Given("covariates") if step == "matrix" else Of(step, "cohort_file")


def _of_parts(config: PipelineConfig) -> dict[str, Any]:
    """Return the inputs of fits of parts of the cohort, which learn the adjustment of each part."""
    if not config.matrix.adjusts:
        return {}
    table = {"matrix_dir": _raw(config), "cohort_file": _cohort(config)}
    return {**table, **config.matrix.of_adjustment(), "negative": config.matrix.negative_adjusted}


def _matrix_steps(config: PipelineConfig) -> Iterator[Step]:
    measures = config.inputs.names
    for measure in measures or ("",):
        yield from _matrix_of_measure(config, measure)
    if measures and config.matrix.measures is not None:
        of_measures = {
            name: Every(tuple(Of(f"{step}_{measure}", output) for measure in measures))
            for name, step, output in (
                ("mask_files", "mask", "mask_file"),
                ("matrix_dirs", "matrix", "matrix_dir"),
                ("digests_files", "mask", "digests_file"),
            )
        }
        of_stack = {
            "measures": list(measures),
            "cohort_file": Given("covariates"),
            "stack": config.matrix.measures.stack,
        }
        yield Step("stack", STACK_MEASURES, {**of_stack, **of_measures})
    if (change := config.matrix.change) is not None:
        of_change = {"matrix_dir": IMAGES, "cohort_file": Given("covariates")}
        settings = {**change.settings(), "negative": config.matrix.negative}
        yield Step("change", CHANGE_MATRIX, {**of_change, **settings})
    if config.matrix.adjusts:
        yield Step("adjust", ADJUST_MATRIX, _of_parts(config))


def _matrix_of_measure(config: PipelineConfig, measure: str) -> Iterator[Step]:
    """Yield mask and matrix of one of several measures, or of the only one."""
    end = f"_{measure}" if measure else ""
    preparation = config.matrix.of_images()
    images = Given(images_name(measure) if measure else "images")
    of_mask = {"images": images, **config.mask.settings()}
    if config.matrix.masked:
        of_mask["masks_file"] = Given("masks")
    yield Step(f"mask{end}", MAKE_MASK, {**of_mask, **preparation})
    of_matrix = {
        "participants": Given("participants"),
        "mask_file": Of(f"mask{end}", "mask_file"),
        "values_dir": Of(f"mask{end}", "values_dir"),
    }
    yield Step(f"matrix{end}", BUILD_MATRIX, {**of_matrix, **preparation})


def _fit(
    name: str,
    stage: Stage,
    config: PipelineConfig,
    over: Mapping[str, Sequence[int]],
    options: Mapping[str, Any] | None = None,
    *,
    title: str = "",
    side_by_side: bool = False,
) -> Step:
    """Return a step of fits; ``options`` are further inputs, or replace settings."""
    settings = config.decomposition.of_each_fit()
    inputs = {"matrix_dir": _matrix(config), RANK: Over(RANK), **settings, **(options or {})}
    return Step(name, stage, inputs, over, title, is_fit=True, side_by_side=side_by_side)


def _map_steps(config: PipelineConfig) -> Iterator[Step]:
    over = {RANK: config.decomposition.n_components}
    yield _fit("decompose", DECOMPOSE, config, over)
    of_maps = {
        "factorization_dir": Of("decompose", "factorization_dir"),
        "mask_file": _mask(config),
        "atlas_file": Given("atlas_file"),
        "atlas_labels": Given("atlas_labels"),
    }
    if config.matrix.has_models:
        of_maps |= {"matrix_dir": _raw(config), "cohort_file": _cohort(config)}
    yield Step("maps", WRITE_MAPS, of_maps, over)
    if config.report.figures:
        of_figures = {
            "components_file": Of("maps", "shown_components"),
            "labels_file": Of("maps", "shown_labels"),
            "labels_table": Of("maps", "labels_table"),
            # The mean of changes shows no anatomy
            "matrix_dir": _matrix(config) if config.matrix.change is None else IMAGES,
            "mask_file": _mask(config),
            "on_template": Given("on_template"),
            "mesh_file": Given("mesh"),
        }
        yield Step("figures", DRAW_FIGURES, of_figures, over)
    if config.report.covariates != ():
        of_associations = {
            "loadings_file": Of("maps", "loadings_file"),
            "cohort_file": _cohort(config),
            "covariates": list(config.report.covariates or ()),
            "descriptions_file": Given("descriptions"),
        }
        yield Step("associations", MEASURE_ASSOCIATIONS, of_associations, over)


def _study_steps(config: PipelineConfig, n_splits: int) -> list[Step]:
    selection, steps = config.selection, []
    if n_splits:
        inputs: dict[str, Any] = {"covariates": _cohort(config)}
        if matrix_step(config) == "matrix":
            inputs["participants"] = Given("participants")
        options = {
            name: value for name, value in config.splits.of_splits().items() if value is not None
        }
        steps.append(Step("splits", MAKE_SPLITS, {**inputs, **options}))
        over = {RANK: config.compared, SPLIT: range(1, n_splits + 1)}
        split = Each("splits", "split_files")
        for name in ("halves", "shared") if selection.shared_start else ("halves",):
            shared = name == "shared"
            null = {"n_null": 0} if shared else selection.of_null()  # one null holds for both
            of_halves = {"split_file": split, "mask_file": _mask(config), **_of_parts(config)}
            of_halves |= {"shared_start": shared, **null}
            steps.append(_fit(name, FIT_HALVES, config, over, of_halves, side_by_side=True))
    if seeds := config.start_seeds:
        over = {RANK: config.compared, SEED: seeds}
        start = {"init": "random", "random_state": Over(SEED)}
        steps.append(_fit("start", DECOMPOSE, config, over, start, side_by_side=True))
    if seeds := selection.permutation_seeds:
        over = {RANK: config.compared, SEED: seeds}
        shuffled = {"seed": Over(SEED)}
        steps.append(_fit("permuted", FIT_PERMUTED, config, over, shuffled, side_by_side=True))
    return steps


def _reliability_steps(config: PipelineConfig, studied: set[str]) -> Iterator[Step]:
    """Yield the fits of bootstrap samples, and the comparison of each fit with its resamples."""
    selection, ks = config.selection, config.resampled
    if not ks:
        return
    inputs: dict[str, Any] = {
        "labels_file": Of("maps", "labels_file"),
        "labels_table": Of("maps", "labels_table"),
        "mask_file": _mask(config),
        "leave_out": selection.leave_out is not None,
        **selection.of_null(),
    }
    if "halves" in studied:
        inputs["halves_labels"] = Every((Of("halves", "labels_file"),), in_order=True)
    if selection.n_bootstraps:
        over = {RANK: ks, SAMPLE: range(1, selection.n_bootstraps + 1)}
        of_sample: dict[str, Any] = {"sample": Over(SAMPLE), **_of_parts(config)}
        if selection.groups is not None:
            of_sample |= {"groups": selection.groups, "cohort_file": _cohort(config)}
        yield _fit("bootstrap", FIT_BOOTSTRAP, config, over, of_sample, side_by_side=True)
        inputs["bootstrap_labels"] = Every((Of("bootstrap", "labels_file"),), in_order=True)
    yield Step("reliability", MEASURE_RELIABILITY, inputs, {RANK: ks})


def _selection_step(config: PipelineConfig, fits: Sequence[str], studied: set[str]) -> Step:
    inputs: dict[str, Any] = {
        # In order: a run after a study has the same fits in other steps, and reuses the comparison
        "factorization_dirs": Every(
            tuple(Of(name, "factorization_dir") for name in fits), in_order=True
        ),
        "mask_file": _mask(config),
        "planted": Given("planted"),
        "draw": config.report.figures,
    }
    for step, output, name in (
        ("halves", "halves_file", "halves_files"),
        ("shared", "halves_file", "shared_files"),
        ("start", "factorization_dir", "start_dirs"),
        ("permuted", "permuted_file", "permuted_files"),
    ):
        if step in studied:
            inputs[name] = Every((Of(step, output),), in_order=True)
    if "start" in studied:
        inputs |= config.selection.of_null()
    choice = config.selection.of_choice().items()
    inputs |= {name: value for name, value in choice if value is not None}
    return Step("select", SELECT_RANK, inputs)


def _report_step(config: PipelineConfig) -> Step:
    """Return the step of the report; without maps, it reports the comparison alone."""
    figures, mapped = config.report.figures, bool(config.decomposition.n_components)
    fits = "decompose" if mapped else "candidate"
    inputs: dict[str, Any] = {
        "selection_dir": Of("select", "selection_dir"),
        "factorization_dirs": Every((Of(fits, "factorization_dir"),)),
        "mask_file": _mask(config),
        "quality_dir": Of("quality", "quality_dir"),
        # The images; of changes, both sessions
        "cohort_file": _cohort(config) if config.inputs.measures else Given("covariates"),
        "digests_file": Of(mask_step(config), "digests_file"),
        "settings": Given("settings"),
        "on_template": Given("on_template"),
        "mesh_file": Given("mesh"),
        "figures": figures,
    }
    if mapped:
        inputs["components_files"] = Every((Of("maps", "components_file"),))
        inputs["shown_components"] = Every((Of("maps", "shown_components"),))
        inputs["labels_tables"] = Every((Of("maps", "labels_table"),))
        inputs["regions_tables"] = Every((Of("maps", "regions_table"),))
        inputs["loadings_files"] = Every((Of("maps", "loadings_file"),))
    if mapped and figures:
        inputs["components_figures"] = Every((Of("figures", "components_figure"),))
        inputs["labels_figures"] = Every((Of("figures", "labels_figure"),))
    if config.resampled:
        inputs["reliability_dirs"] = Every((Of("reliability", "reliability_dir"),))
    if mapped and config.report.covariates != ():
        inputs["associations_dirs"] = Every((Of("associations", "associations_dir"),))
    return Step("report", MAKE_REPORT, inputs)
