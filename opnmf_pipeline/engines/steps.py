"""The graph of a run as data: its steps, their inputs, and the numbers that they are repeated for.

A :class:`Step` names a stage and says where each input comes from: a value of the settings, an
input of the graph (:class:`Given`), a number (:class:`Over`), or outputs of other steps
(:class:`Of`, :class:`Each`, :class:`Every`). A step runs once for each combination of its numbers,
such as the numbers of components; each of these runs is a :class:`Job`.

The graph is defined only here. The modules ``local``, ``nipype`` and ``pydra`` translate it into
what each engine executes. To add a step, add it to a function below that :func:`steps_of` calls.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, product
from typing import Any

import networkx as nx

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.stages.associations import MEASURE_ASSOCIATIONS
from opnmf_pipeline.stages.decompose import DECOMPOSE
from opnmf_pipeline.stages.figures import DRAW_FIGURES
from opnmf_pipeline.stages.halves import FIT_HALVES
from opnmf_pipeline.stages.maps import WRITE_MAPS
from opnmf_pipeline.stages.mask import MAKE_MASK
from opnmf_pipeline.stages.matrix import BUILD_MATRIX
from opnmf_pipeline.stages.permuted import FIT_PERMUTED
from opnmf_pipeline.stages.quality import ASSESS_COHORT
from opnmf_pipeline.stages.report import MAKE_REPORT
from opnmf_pipeline.stages.select import SELECT_RANK
from opnmf_pipeline.stages.splits import MAKE_SPLITS
from opnmf_pipeline.stages.stage import Stage

__all__ = [
    "GIVEN",
    "Each",
    "Every",
    "Given",
    "Graph",
    "Job",
    "Of",
    "Over",
    "Step",
    "steps_of",
]

RANK, SPLIT, SEED = "n_components", "split", "seed"
"""Names of the numbers that steps are repeated for: k, number of the split, seed."""

GIVEN = {
    "images": "one image per subject",
    "participants": "identifier of each subject",
    "covariates": "table of the subjects, for the splits and the report",
    "descriptions": "participants.json with descriptions of the covariates, if there is one",
    "planted": "label map of the true components, if known",
    "atlas_file": "label image of an atlas in the space of the images",
    "atlas_labels": "names of the labels of this atlas",
    "mesh": "mesh of the left hemisphere that surfaces are drawn on",
    "on_template": "whether figures are drawn on the MNI152 template",
    "settings": "YAML of the settings, shown in the report",
}
"""Inputs of the graph, by name."""

NO_COUNT_MSG = (
    "n_splits: is required with selection.leave_out: {column}; give the number of values of this "
    "column in the cohort"
)


@dataclass(frozen=True)
class Given:
    """The input takes an input of the graph, by its name in :data:`GIVEN`."""

    name: str


@dataclass(frozen=True)
class Of:
    """The input takes an output of another step, from its job with the same numbers."""

    step: str
    output: str


@dataclass(frozen=True)
class Each:
    """The input takes one item of an output that is a list: the item of the job's split."""

    step: str
    output: str


@dataclass(frozen=True)
class Every:
    """The input takes a list: the outputs of all jobs of one or more other steps.

    Attributes
    ----------
    outputs : tuple of Of
        The steps and their outputs.
    in_order : bool
        Whether the list is sorted by the numbers of the jobs. If not, it has the order of the
        settings.
    """

    outputs: tuple[Of, ...]
    in_order: bool = False


@dataclass(frozen=True)
class Over:
    """The input takes one of the job's own numbers, such as ``n_components``."""

    name: str


@dataclass(frozen=True)
class Step:
    """A stage in the graph.

    Attributes
    ----------
    name : str
        Its name in the graph.
    stage : Stage
        The stage that it runs.
    inputs : mapping of str to object
        For each input of the stage, its value or its source: :class:`Given`, :class:`Of`,
        :class:`Each`, :class:`Every` or :class:`Over`.
    over : mapping of str to sequence of int
        The numbers that it is repeated for, by name. There is one job for each combination; a step
        without numbers has one job.
    title : str
        Name of its jobs in messages. Default: ``name``.
    is_fit : bool
        Whether it is a fit. A batch array divides the fits among its tasks.
    side_by_side : bool
        Whether the local engine runs its jobs in parallel processes.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, Any]
    over: Mapping[str, Sequence[int]] = field(default_factory=dict)
    title: str = ""
    is_fit: bool = False
    side_by_side: bool = False

    @property
    def kind(self) -> str:
        """Name of its jobs in messages and in the folder of intermediate results."""
        return self.title or self.name

    @property
    def n_runs(self) -> int:
        """Number of jobs."""
        return math.prod(map(len, self.over.values()))

    def sources(self) -> Iterator[Of | Each]:
        """Yield the outputs of other steps that are inputs of this one."""
        for source in self.inputs.values():
            if isinstance(source, Every):
                yield from source.outputs
            elif isinstance(source, Of | Each):
                yield source


@dataclass(frozen=True)
class Job:
    """One run of a step.

    Attributes
    ----------
    step : Step
        The step.
    numbers : mapping of str to int
        One value of each number that the step is repeated for, by name.
    """

    step: Step
    numbers: Mapping[str, int]

    @cached_property
    def name(self) -> str:
        """Unique name, usable for a node and for a folder.

        Examples
        --------
        >>> Job(Step("halves", FIT_HALVES, {}), {"n_components": 10, "split": 2}).name
        'halves_k10_split2'
        """
        numbers = [f"{_short(name)}{number}" for name, number in self.numbers.items()]
        return "_".join([self.step.name, *numbers])

    @cached_property
    def title(self) -> str:
        """Name in messages.

        Examples
        --------
        >>> Job(Step("halves", FIT_HALVES, {}), {"n_components": 10, "split": 2}).title
        'halves, k = 10, split 2'
        """
        parts = [self.step.kind]
        for name, number in self.numbers.items():
            parts.append(f"k = {number}" if name == RANK else f"{name} {number}")
        return ", ".join(parts)

    @property
    def node_name(self) -> str:
        """Name without the number of the split: in Pydra, one node runs all splits."""
        numbers = {name: number for name, number in self.numbers.items() if name != SPLIT}
        return Job(self.step, numbers).name

    @property
    def k(self) -> int | None:
        """Number of components; None if the step is not repeated for it."""
        return self.numbers.get(RANK)


def _short(name: str) -> str:
    return "k" if name == RANK else name


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
    quality = Step("quality", ASSESS_COHORT, {"matrix_dir": MATRIX, "mask_file": MASK})
    return [*steps, *studied, selection, quality, _report_step(config)]


MASK = Of("mask", "mask_file")
MATRIX = Of("matrix", "matrix_dir")


def _matrix_steps(config: PipelineConfig) -> Iterator[Step]:
    preparation = config.matrix.settings()
    of_mask = {"images": Given("images"), **config.mask.settings()}
    yield Step("mask", MAKE_MASK, {**of_mask, **preparation})
    of_matrix = {
        "participants": Given("participants"),
        "mask_file": MASK,
        "values_dir": Of("mask", "values_dir"),
    }
    yield Step("matrix", BUILD_MATRIX, {**of_matrix, **preparation})


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
    inputs = {"matrix_dir": MATRIX, RANK: Over(RANK), **settings, **(options or {})}
    return Step(name, stage, inputs, over, title, is_fit=True, side_by_side=side_by_side)


def _map_steps(config: PipelineConfig) -> Iterator[Step]:
    over = {RANK: config.decomposition.n_components}
    yield _fit("decompose", DECOMPOSE, config, over)
    of_maps = {
        "factorization_dir": Of("decompose", "factorization_dir"),
        "mask_file": MASK,
        "atlas_file": Given("atlas_file"),
        "atlas_labels": Given("atlas_labels"),
    }
    yield Step("maps", WRITE_MAPS, of_maps, over)
    if config.report.figures:
        of_figures = {
            "components_file": Of("maps", "components_file"),
            "labels_file": Of("maps", "labels_file"),
            "labels_table": Of("maps", "labels_table"),
            "matrix_dir": MATRIX,
            "mask_file": MASK,
            "on_template": Given("on_template"),
            "mesh_file": Given("mesh"),
        }
        yield Step("figures", DRAW_FIGURES, of_figures, over)
    if config.report.covariates != ():
        of_associations = {
            "loadings_file": Of("maps", "loadings_file"),
            "cohort_file": Given("covariates"),
            "covariates": list(config.report.covariates or ()),
            "descriptions_file": Given("descriptions"),
        }
        yield Step("associations", MEASURE_ASSOCIATIONS, of_associations, over)


def _study_steps(config: PipelineConfig, n_splits: int) -> list[Step]:
    selection, steps = config.selection, []
    if n_splits:
        inputs = {"participants": Given("participants"), "covariates": Given("covariates")}
        options = {
            name: value for name, value in selection.of_splits().items() if value is not None
        }
        steps.append(Step("splits", MAKE_SPLITS, {**inputs, **options}))
        over = {RANK: config.compared, SPLIT: range(1, n_splits + 1)}
        split = Each("splits", "split_files")
        for name in ("halves", "shared") if selection.shared_start else ("halves",):
            shared = name == "shared"
            null = {"n_null": 0} if shared else selection.of_null()  # one null holds for both
            of_halves = {"split_file": split, "mask_file": MASK, "shared_start": shared, **null}
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


def _selection_step(config: PipelineConfig, fits: Sequence[str], studied: set[str]) -> Step:
    inputs: dict[str, Any] = {
        # In order: a run after a study has the same fits in other steps, and reuses the comparison
        "factorization_dirs": Every(
            tuple(Of(name, "factorization_dir") for name in fits), in_order=True
        ),
        "mask_file": MASK,
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
        "mask_file": MASK,
        "quality_dir": Of("quality", "quality_dir"),
        "cohort_file": Given("covariates"),
        "digests_file": Of("mask", "digests_file"),
        "settings": Given("settings"),
        "on_template": Given("on_template"),
        "mesh_file": Given("mesh"),
        "figures": figures,
    }
    if mapped:
        inputs["components_files"] = Every((Of("maps", "components_file"),))
        inputs["labels_tables"] = Every((Of("maps", "labels_table"),))
        inputs["regions_tables"] = Every((Of("maps", "regions_table"),))
        inputs["loadings_files"] = Every((Of("maps", "loadings_file"),))
    if mapped and figures:
        inputs["components_figures"] = Every((Of("figures", "components_figure"),))
        inputs["labels_figures"] = Every((Of("figures", "labels_figure"),))
    if mapped and config.report.covariates != ():
        inputs["associations_dirs"] = Every((Of("associations", "associations_dir"),))
    return Step("report", MAKE_REPORT, inputs)


class Graph:
    """The jobs of a run and their dependencies.

    Parameters
    ----------
    jobs : sequence of Job
        Each job comes after the jobs that it depends on.

    Attributes
    ----------
    jobs : list of Job
        The jobs, in the given order.
    steps : list of Step
        The steps of these jobs.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self._by_step: dict[str, list[Job]] = {}
        for job in jobs:
            self._by_step.setdefault(job.step.name, []).append(job)
        self.steps = [runs[0].step for runs in self._by_step.values()]

    @classmethod
    def of_steps(cls, steps: Sequence[Step]) -> Graph:
        """Return the graph with all jobs of all steps.

        Consecutive steps that are repeated for the same numbers alternate: all of these steps for
        one number of components, then all of them for the next number.

        Parameters
        ----------
        steps : sequence of Step
            Each step comes after the steps that it depends on, as :func:`steps_of` returns them.
        """
        jobs: list[Job] = []
        for over, together in groupby(steps, key=lambda step: step.over):
            group = list(together)
            for numbers in product(*over.values()):
                jobs += [Job(step, dict(zip(over, numbers, strict=True))) for step in group]
        return cls(jobs)

    def sources(self, job: Job, source: Of | Each | Every) -> list[tuple[Job, str]]:
        """Return the jobs that an input of a job comes from, each with the name of its output.

        Parameters
        ----------
        job : Job
            The job that has the input.
        source : Of, Each or Every
            Source of the input.
        """
        if isinstance(source, Every):
            every = [(one, of.output) for of in source.outputs for one in self._by_step[of.step]]
            if source.in_order:
                every.sort(key=lambda made: tuple(made[0].numbers.values()))
            return every
        runs = self._by_step[source.step]
        alike = [one for one in runs if one.numbers.items() <= job.numbers.items()]
        return [(one, source.output) for one in alike]

    def needs(self, job: Job) -> list[Job]:
        """Return the jobs whose outputs are inputs of a job."""
        values = job.step.inputs.values()
        sources = [value for value in values if isinstance(value, Of | Each | Every)]
        return [needed for source in sources for needed, _ in self.sources(job, source)]

    def needs_of_all(self, job: Job) -> dict[str, Job]:
        """Return, by name, all jobs that must finish before a job, direct or indirect."""
        found: dict[str, Job] = {}
        for needed in self.needs(job):
            if needed.name not in found:
                found |= {needed.name: needed, **self.needs_of_all(needed)}
        return found

    def edges(self) -> list[tuple[str, str]]:
        """Return the dependencies between steps as pairs (step, dependent step) of names.

        The inputs of the graph are the node ``images``. Edges are transitively reduced: an edge is
        left out if a longer path connects the same two steps.
        """
        edges = {(source.step, step.name) for step in self.steps for source in step.sources()}
        for step in self.steps:
            given = {source.name for source in step.inputs.values() if isinstance(source, Given)}
            if given & {"images", "participants"}:
                edges.add(("images", step.name))
        return sorted(nx.transitive_reduction(nx.DiGraph(edges)).edges)
