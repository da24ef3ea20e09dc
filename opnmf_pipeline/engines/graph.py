"""A graph of stages as data: its steps, their inputs, and the numbers they are repeated for.

A :class:`Step` names a stage and says where each input comes from: a value of the settings, an
input of the graph (:class:`Given`), a number (:class:`Over`), or outputs of other steps
(:class:`Of`, :class:`Each`, :class:`Every`). A step runs once for each combination of its numbers,
such as the numbers of components; each of these runs is a :class:`Job`.

The module ``steps`` defines the graph of a run. The modules ``local``, ``nipype`` and ``pydra``
translate it into what each engine executes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, product
from typing import Any

import networkx as nx

from opnmf_pipeline.stages.stage import Stage

__all__ = [
    "RANK",
    "SAMPLE",
    "SEED",
    "SPLIT",
    "Each",
    "Every",
    "Given",
    "Graph",
    "Job",
    "Of",
    "Over",
    "Step",
]

RANK, SPLIT, SAMPLE, SEED = "n_components", "split", "sample", "seed"
"""Names of the numbers that steps are repeated for: k, number of the split, number of the bootstrap
sample, seed."""


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

    If the job has numbers of its own, these are the jobs that have the same ones: for one k, the
    jobs of all its splits.

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
        >>> from opnmf_pipeline.stages.halves import FIT_HALVES
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
        >>> from opnmf_pipeline.stages.halves import FIT_HALVES
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
            every = [
                (one, of.output)
                for of in source.outputs
                for one in self._by_step[of.step]
                if job.numbers.items() <= one.numbers.items()
            ]
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

    @property
    def given(self) -> list[str]:
        """Names of the inputs of the graph that its steps take."""
        sources = (source for step in self.steps for source in step.inputs.values())
        return sorted({source.name for source in sources if isinstance(source, Given)})

    def edges(self) -> list[tuple[str, str]]:
        """Return the dependencies between steps as pairs (step, dependent step) of names.

        The inputs of the graph are the node ``images``. Edges are transitively reduced: an edge is
        left out if a longer path connects the same two steps.
        """
        edges = {(source.step, step.name) for step in self.steps for source in step.sources()}
        for step in self.steps:
            given = {source.name for source in step.inputs.values() if isinstance(source, Given)}
            if any(name.startswith("images") or name == "participants" for name in given):
                edges.add(("images", step.name))
        return sorted(nx.transitive_reduction(nx.DiGraph(edges)).edges)
