"""The graph of a run, once, as data: each step, what it takes, and over what it fans out.

The local engine, Nipype and Pydra each translate this list into what they execute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, product
from typing import Any

import networkx as nx

from opnmf_pipeline.config import PipelineConfig, Section
from opnmf_pipeline.exceptions import ConfigError
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
    "Job",
    "Of",
    "Over",
    "Step",
    "steps_of",
]

RANK, SPLIT, SEED = "n_components", "split", "seed"
"""What steps fan out over: numbers of components, numbers of splits, seeds of permutations."""

GIVEN = {
    "images": "one 3D image per subject",
    "participants": "identifier of each subject",
    "covariates": "table of the subjects, where the splits or the report need it",
    "planted": "true labels, where they are known",
    "on_template": "whether figures are drawn on the MNI152 template",
    "settings": "YAML of the settings, shown in the report",
}
"""Inputs of the whole graph."""

NO_COUNT_MSG = (
    "n_splits: is required with selection.leave_out: {column}; give the number of values of this "
    "column in the cohort"
)


@dataclass(frozen=True)
class Given:
    """An input of the whole graph, by its name in :data:`GIVEN`."""

    name: str


@dataclass(frozen=True)
class Of:
    """An output of another step, of its run with the same numbers."""

    step: str
    output: str


@dataclass(frozen=True)
class Each:
    """One item of an output that is a list: that of the number of the split."""

    step: str
    output: str


@dataclass(frozen=True)
class Every:
    """The outputs of all runs of other steps, as a list.

    Attributes
    ----------
    outputs : tuple of Of
        Which outputs of which steps.
    in_order : bool
        Whether they come by increasing numbers, not in the order of the settings.
    """

    outputs: tuple[Of, ...]
    in_order: bool = False


@dataclass(frozen=True)
class Over:
    """The number itself that the step fans out over."""

    name: str


@dataclass(frozen=True)
class Step:
    """A stage in the graph.

    Attributes
    ----------
    name : str
        Its name in the graph.
    stage : Stage
        What it runs.
    inputs : mapping
        Values of settings, and where the other inputs come from.
    over : mapping of str to sequence of int
        The numbers that it fans out over; one run for each combination.
    title : str
        What its runs are called in messages; the name, where this is empty.
    is_fit : bool
        Whether it is a fit, which an array of jobs can share out.
    side_by_side : bool
        Whether the local engine makes its runs in parallel processes.
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
        """What its runs are called in messages, and in the folder of intermediate results."""
        return self.title or self.name

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(list(product(*self.over.values())))

    def sources(self) -> Iterator[Of | Each]:
        """Yield the outputs of other steps that it needs."""
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
        What is run.
    numbers : mapping of str to int
        Its combination of the numbers that the step fans out over.
    """

    step: Step
    numbers: Mapping[str, int]

    @cached_property
    def name(self) -> str:
        """A name that can be one of a node and a folder.

        Examples
        --------
        >>> Job(Step("halves", FIT_HALVES, {}), {"n_components": 10, "split": 2}).name
        'halves_k10_split2'
        """
        numbers = [f"{_short(name)}{number}" for name, number in self.numbers.items()]
        return "_".join([self.step.name, *numbers])

    @cached_property
    def title(self) -> str:
        """What it is called in messages.

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
        """Name without the number of the split, for engines that run all splits in one node."""
        numbers = {name: number for name, number in self.numbers.items() if name != SPLIT}
        return Job(self.step, numbers).name

    @property
    def k(self) -> int | None:
        """Number of components, where it has one."""
        return self.numbers.get(RANK)


def _short(name: str) -> str:
    return "k" if name == RANK else name


def steps_of(config: PipelineConfig, n_splits: int | None = None) -> list[Step]:
    """Return the steps of a run, each after those that it needs.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``inputs``, ``output`` and ``execution`` are not used.
    n_splits : int, optional
        Splits of the cohort. Default: ``selection.n_splits``; with ``selection.leave_out`` it is
        the number of values of that column, such as sites, and must be given.

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
    report = [_report_step(config)] if mapped else []
    return [*steps, *studied, selection, quality, *report]


MASK = Of("mask", "mask_file")
MATRIX = Of("matrix", "matrix_dir")


def _settings(section: Section) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude_none=True)


def _matrix_steps(config: PipelineConfig) -> Iterator[Step]:
    preparation = _settings(config.matrix)
    of_mask = {"images": Given("images"), **_settings(config.mask)}
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
    *,
    title: str = "",
    side_by_side: bool = False,
    **inputs: Any,
) -> Step:
    settings = config.decomposition.of_each_fit()
    inputs = {"matrix_dir": MATRIX, RANK: Over(RANK), **inputs, **settings}
    return Step(name, stage, inputs, over, title, is_fit=True, side_by_side=side_by_side)


def _map_steps(config: PipelineConfig) -> Iterator[Step]:
    over = {RANK: config.decomposition.n_components}
    yield _fit("decompose", DECOMPOSE, config, over)
    of_maps = {"factorization_dir": Of("decompose", "factorization_dir"), "mask_file": MASK}
    yield Step("maps", WRITE_MAPS, of_maps, over)
    if config.report.figures:
        of_figures = {
            "components_file": Of("maps", "components_file"),
            "labels_file": Of("maps", "labels_file"),
            "matrix_dir": MATRIX,
            "mask_file": MASK,
            "on_template": Given("on_template"),
        }
        yield Step("figures", DRAW_FIGURES, of_figures, over)


def _study_steps(config: PipelineConfig, n_splits: int) -> list[Step]:
    selection, steps = config.selection, []
    if n_splits:
        inputs = {"participants": Given("participants"), "covariates": Given("covariates")}
        options = {
            name: value for name, value in selection.of_splits().items() if value is not None
        }
        steps.append(Step("splits", MAKE_SPLITS, {**inputs, **options}))
        over = {RANK: config.ranks, SPLIT: range(1, n_splits + 1)}
        split = Each("splits", "split_files")
        steps.append(_fit("halves", FIT_HALVES, config, over, side_by_side=True, split_file=split))
    if seeds := selection.permutation_seeds:
        over = {RANK: config.ranks, SEED: seeds}
        steps.append(
            _fit("permuted", FIT_PERMUTED, config, over, side_by_side=True, seed=Over(SEED))
        )
    return steps


def _selection_step(config: PipelineConfig, fits: Sequence[str], studied: set[str]) -> Step:
    inputs: dict[str, Any] = {
        # A run after a study has the same fits in other steps, and nothing to compare anew
        "factorization_dirs": Every(
            tuple(Of(name, "factorization_dir") for name in fits), in_order=True
        ),
        "mask_file": MASK,
        "planted": Given("planted"),
        "draw": config.report.figures,
    }
    if "halves" in studied:
        inputs["halves_files"] = Every((Of("halves", "halves_file"),), in_order=True)
    if "permuted" in studied:
        inputs["permuted_files"] = Every((Of("permuted", "permuted_file"),), in_order=True)
    choice = config.selection.of_choice().items()
    inputs |= {name: value for name, value in choice if value is not None}
    return Step("select", SELECT_RANK, inputs)


def _report_step(config: PipelineConfig) -> Step:
    figures = config.report.figures
    inputs: dict[str, Any] = {
        "selection_dir": Of("select", "selection_dir"),
        "factorization_dirs": Every((Of("decompose", "factorization_dir"),)),
        "components_files": Every((Of("maps", "components_file"),)),
        "labels_tables": Every((Of("maps", "labels_table"),)),
        "loadings_files": Every((Of("maps", "loadings_file"),)),
        "mask_file": MASK,
        "quality_dir": Of("quality", "quality_dir"),
        "cohort_file": Given("covariates"),
        "digests_file": Of("mask", "digests_file"),
        "settings": Given("settings"),
        "on_template": Given("on_template"),
        "figures": figures,
    }
    if figures:
        inputs["components_figures"] = Every((Of("figures", "components_figure"),))
        inputs["labels_figures"] = Every((Of("figures", "labels_figure"),))
    return Step("report", MAKE_REPORT, inputs)


class Graph:
    """Jobs, and what each of them needs of the others.

    Parameters
    ----------
    jobs : sequence of Job
        Each after those that it needs.

    Attributes
    ----------
    jobs : list of Job
        The jobs.
    steps : list of Step
        The steps that they run.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        self._by_step: dict[str, list[Job]] = {}
        for job in jobs:
            self._by_step.setdefault(job.step.name, []).append(job)
        self.steps = [runs[0].step for runs in self._by_step.values()]

    @classmethod
    def of_steps(cls, steps: Sequence[Step]) -> Graph:
        """Return the graph of every run of every step.

        Steps that fan out over the same numbers take turns: all of them for one number of
        components, then all of them for the next.
        """
        jobs: list[Job] = []
        for over, together in groupby(steps, key=lambda step: step.over):
            group = list(together)
            for numbers in product(*over.values()):
                jobs += [Job(step, dict(zip(over, numbers, strict=True))) for step in group]
        return cls(jobs)

    def sources(self, job: Job, source: Of | Each | Every) -> list[tuple[Job, str]]:
        """Return the jobs that a source of a job stands for, with the output of each."""
        if isinstance(source, Every):
            every = [(one, of.output) for of in source.outputs for one in self._by_step[of.step]]
            if source.in_order:
                every.sort(key=lambda made: tuple(made[0].numbers.values()))
            return every
        runs = self._by_step[source.step]
        alike = [one for one in runs if one.numbers.items() <= job.numbers.items()]
        return [(one, source.output) for one in alike]

    def needs(self, job: Job) -> list[Job]:
        """Return the jobs whose outputs a job takes."""
        values = job.step.inputs.values()
        sources = [value for value in values if isinstance(value, Of | Each | Every)]
        return [needed for source in sources for needed, _ in self.sources(job, source)]

    def needs_of_all(self, job: Job) -> dict[str, Job]:
        """Return the jobs by name that have to finish before a job, with what they need."""
        found: dict[str, Job] = {}
        for needed in self.needs(job):
            if needed.name not in found:
                found |= {needed.name: needed, **self.needs_of_all(needed)}
        return found

    def edges(self) -> list[tuple[str, str]]:
        """Return which step waits for which, by name; the inputs of the graph are ``images``.

        An edge is left out where a longer way leads from the one to the other.
        """
        edges = {(source.step, step.name) for step in self.steps for source in step.sources()}
        for step in self.steps:
            given = {source.name for source in step.inputs.values() if isinstance(source, Given)}
            if given & {"images", "participants"}:
                edges.add(("images", step.name))
        return sorted(nx.transitive_reduction(nx.DiGraph(edges)).edges)
