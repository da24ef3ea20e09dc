"""The local engine: runs the jobs of a graph in this process, and fits in parallel processes.

A job is identified by the content of its input files and by its settings. Its result is kept in
:class:`opnmf_pipeline.engines.cache.Cache` and reused if the same job runs again.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import ExecutionConfig, PipelineConfig
from opnmf_pipeline.engines.cache import Cache, Result
from opnmf_pipeline.engines.cluster import reading_on, started
from opnmf_pipeline.engines.graph import Each, Every, Given, Graph, Job, Of, Over
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.parallel import as_they_finish, n_workers
from opnmf_pipeline.engines.resources import n_procs_of, n_threads_of
from opnmf_pipeline.exceptions import FIXABLE, EngineError
from opnmf_pipeline.files import folder_digest
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.memory import BASE_BYTES
from opnmf_pipeline.stages.spaces import space_of
from opnmf_pipeline.stages.stage import Call

__all__ = ["compute", "share_of"]

logger = logging.getLogger(__name__)

SMALL_BYTES = 2**24
"""Parallel processes are started only if the jobs hold more data than this, summed over jobs."""
OUTPUTS = "outputs.json"
"""File in the folder of a result with the path of each output."""
IMAGES = ("images", "image", "mesh_file")
"""Names of inputs that are images. An image may consist of two files."""


def compute(
    graph: Graph,
    given: Mapping[str, Any],
    config: PipelineConfig,
    work_dir: Path,
    outcome: Outcome,
    display: Display,
) -> None:
    """Run the jobs of a graph.

    Parameters
    ----------
    graph : Graph
        Jobs to run.
    given : mapping of str to object
        Inputs of the graph by name; None if an input is not given.
    config : PipelineConfig
        Settings; the engine uses only the section ``execution``.
    work_dir : path
        Folder of intermediate results.
    outcome : Outcome
        Receives the outputs of each finished job.
    display : Display
        Shows progress within a job.

    Raises
    ------
    Exception
        The error of the first job that failed. It is raised after all jobs that do not depend on a
        failed job have ended, or at once if ``execution.stop_on_first_crash`` is set.
    """
    engine = _Engine(graph, given, config.execution, Cache(work_dir), outcome, display)
    with engine:
        for side_by_side, jobs in groupby(graph.jobs, key=lambda job: job.step.side_by_side):
            if side_by_side:
                engine.run_side_by_side(list(jobs))
            else:
                for job in jobs:
                    engine.run(job)
    if engine.errors:
        raise engine.errors[0]


def share_of(graph: Graph, number: int, n_shares: int) -> Graph:
    """Return the part of a graph that one task of a batch array runs.

    Parameters
    ----------
    graph : Graph
        All jobs.
    number : int
        Number of the share, from 1.
    n_shares : int
        Number of shares. Fits are assigned to shares in turn, largest number of components first.

    Returns
    -------
    Graph
        The fits of this share, all jobs that any fit depends on, and the jobs that depend on one
        fit of this share and on no other fit, such as its maps.
    """
    fits = sorted((job for job in graph.jobs if job.step.is_fit), key=lambda job: -(job.k or 0))
    dealt = {job.name for job in fits[number - 1 :: n_shares]}
    shared = {name for fit in fits for name in graph.needs_of_all(fit)}

    def belongs(job: Job) -> bool:
        behind = {name for name, one in graph.needs_of_all(job).items() if one.step.is_fit}
        return job.name in dealt | shared or (len(behind) == 1 and behind <= dealt)

    return Graph([job for job in graph.jobs if belongs(job)])


class _Engine(contextlib.ExitStack):
    """Runs jobs, and caches their results by the content of their inputs."""

    def __init__(
        self,
        graph: Graph,
        given: Mapping[str, Any],
        execution: ExecutionConfig,
        cache: Cache,
        outcome: Outcome,
        display: Display,
    ) -> None:
        super().__init__()
        self.errors: list[Exception] = []
        self._graph = graph
        self._given = given
        self._execution = execution
        self._cache = cache
        self._outcome = outcome
        self._display = display
        self._digests: dict[Path, str] = {}
        self._scheduler: str | None = None

    def run(self, job: Job) -> None:
        """Run one job in this process, unless a job that it depends on has failed."""
        if not self._is_ready(job):
            return
        work = self._work(job)
        threads = n_threads_of if job.step.is_fit else n_procs_of
        try:
            with self._watched(job, work) as watched, self._reading(job, work):
                result = _result(work, self._cache, n_procs=threads(self._execution), **watched)
        except Exception as error:  # jobs that do not depend on this one still run
            self._fail(job, error)
        else:
            self._finish(job, result)

    def run_side_by_side(self, jobs: Sequence[Job]) -> None:
        """Run jobs in parallel processes, which share the memory of the mapped matrix.

        Jobs with a large k start first, because they take longest.
        """
        waiting = []
        for job in sorted(filter(self._is_ready, jobs), key=lambda job: -(job.k or 0)):
            work = self._work(job)
            if found := self._cache.find(job.step.kind, *work.identity):
                self._finish(job, found)
            else:
                waiting.append((job, work))
        if not waiting:
            return
        workers = self._workers([work for _, work in waiting])
        share = max(1, n_procs_of(self._execution) // workers)
        threads = min(n_threads_of(self._execution), share)
        calls = [partial(_attempt, work, self._cache, threads) for _, work in waiting]
        done = as_they_finish(calls, workers)
        left = dict(enumerate(waiting))
        try:
            for number, result in self._display.track(done, "study of ranks", len(calls)):
                job, _ = left.pop(number)
                if isinstance(result, Exception):
                    self._fail(job, result)
                else:
                    self._finish(job, result)
        except EngineError as error:  # a worker was killed, and ended all others
            for job, _ in left.values():
                self._fail(job, error)

    def _is_ready(self, job: Job) -> bool:
        return all(self._outcome.outputs(one) is not None for one in self._graph.needs(job))

    def _fail(self, job: Job, error: Exception) -> None:
        if self._execution.stop_on_first_crash:
            raise error
        if not isinstance(error, FIXABLE):  # their messages alone say what to do
            logger.error("%s failed", job.title, exc_info=error)
        self._outcome.fail(job, error)
        self.errors.append(error)

    def _finish(self, job: Job, result: Result) -> None:
        outputs = json.loads((result.folder / OUTPUTS).read_text(encoding="utf-8"))
        placed = {name: _placed(value, result.folder) for name, value in outputs.items()}
        self._outcome.finish(job, placed, computed=not result.reused)
        if self._outcome.check is not None:
            self._outcome.check(job, placed)

    def _work(self, job: Job) -> _Work:
        """Return a job with the values of its inputs and with what identifies them."""
        inputs: dict[str, Any] = {}
        contents: list[str] = []
        settings: dict[str, Any] = {}
        for name, source in job.step.inputs.items():
            if isinstance(source, Of | Each | Every):
                made = self._made(job, source)
                values = [value for _, value in made]
                inputs[name] = values if isinstance(source, Every) else values[0]
                contents += [f"{name}: {self._content(*one)}" for one in made]
            elif (value := self._value(job, source)) is not None:
                inputs[name] = value
                if name in IMAGES or isinstance(value, Path):
                    contents += self._file_digests(name, value)
                else:
                    settings[name] = value
        return _Work(job, inputs, contents, settings)

    def _value(self, job: Job, source: Any) -> Any:
        """Return the value of an input that comes from no other job."""
        match source:
            case Given(name):
                return self._given.get(name)
            case Over(name):
                return job.numbers[name]
        return source

    def _file_digests(self, name: str, value: Any) -> list[str]:
        """Return the digests of the files of an input: of one file, or of one or more images."""
        if name not in IMAGES:
            return self._cache.digests.of([value])
        images = value if name == "images" else [value]
        files = map_images(lambda image: space_of(image).images.image_files(image), images, 1)
        return self._cache.digests.of(itertools.chain.from_iterable(files))

    def _made(self, job: Job, source: Of | Each | Every) -> list[tuple[Job, Any]]:
        """Return the jobs that an input comes from, each with the value of its output."""
        found = []
        for one, output in self._graph.sources(job, source):
            outputs = self._outcome.outputs(one)
            assert outputs is not None, one.name
            value = outputs[output]
            if isinstance(source, Each):
                value = value[job.numbers["split"] - 1]
            found.append((one, value))
        return found

    def _content(self, job: Job, value: Path) -> str:
        """Return a digest of the content of an output: jobs with equal inputs are the same job."""
        if not value.is_dir():
            return self._cache.digests.of([value])[0]
        if value not in self._digests:
            self._digests[value] = folder_digest(value, job.step.stage.large)
        return self._digests[value]

    @contextlib.contextmanager
    def _watched(self, job: Job, work: _Work) -> Iterator[dict[str, Any]]:
        """Yield the arguments of :class:`Call` for progress and, for a fit, the checkpoint."""
        if not job.step.stage.free:
            yield {"track": self._display.track}
            return
        with self._display.fit(f"k = {job.k}") as callback:
            settings = {k: v for k, v in work.settings.items() if k not in job.step.stage.free}
            key = self._cache.key(job.step.stage.name, work.contents, settings)
            checkpoint = self._cache.root / f"{job.step.kind}-{key[:16]}.checkpoint"
            yield {
                "callback": callback,
                "checkpoint": checkpoint,
                "scheduler": self._scheduler_for(job, work),
                "device": self._execution.device,
            }

    def _reading(self, job: Job, work: _Work) -> contextlib.AbstractContextManager[None]:
        """Have the workers of the Dask cluster, if there is one, read the images of a job."""
        address = self._scheduler_for(job, work) if work.inputs.get("images") else None
        return reading_on(address) if address else contextlib.nullcontext()

    def _scheduler_for(self, job: Job, work: _Work) -> str | None:
        """Return the address of the Dask scheduler; the first job to compute starts the cluster."""
        dask = self._execution.dask
        if dask is None or self._scheduler is not None:
            return self._scheduler
        if not self._cache.find(job.step.kind, *work.identity):
            self._scheduler = self.enter_context(
                started(dask, self._cache.root / "dask", self._display.note)
            )
        return self._scheduler

    def _workers(self, works: Sequence[_Work]) -> int:
        """Return the number of processes; 1 means that jobs run in this process."""
        largest = max(work.job.step.stage.memory(work.inputs) for work in works)
        if len(works) * (largest - BASE_BYTES) < SMALL_BYTES:
            return 1
        n_procs = min(n_procs_of(self._execution), len(works))
        return n_workers(n_procs, self._execution.memory_gb, largest)


@dataclass(frozen=True)
class _Work:
    """A job with the values of its inputs.

    Attributes
    ----------
    job : Job
        The job.
    inputs : dict
        Values of all inputs of the stage.
    contents : list of str
        Digests of the inputs that are files or folders.
    settings : dict
        Values of the other inputs.
    """

    job: Job
    inputs: dict[str, Any]
    contents: list[str]
    settings: dict[str, Any]

    @property
    def identity(self) -> tuple[list[str], dict[str, Any]]:
        """The part of the key of the result in the cache that depends on the inputs."""
        return self.contents, self.settings


def _result(work: _Work, cache: Cache, **call: Any) -> Result:
    """Return the result of a job; compute it only if it is not in the cache."""

    def make(folder: Path) -> None:
        outputs = work.job.step.stage(Call(work.inputs, folder, **call))
        named = {name: _named(value, folder) for name, value in outputs.items()}
        (folder / OUTPUTS).write_text(json.dumps(named), encoding="utf-8")

    return cache.stage(work.job.step.kind, *work.identity, make)


def _attempt(work: _Work, cache: Cache, threads: int) -> Result | Exception:
    """Return the result of a job, or its error."""
    try:
        return _result(work, cache, n_procs=threads)
    except Exception as error:
        return error


def _named(value: Any, folder: Path) -> Any:
    """Return an output as a path relative to its folder, because the folder will be renamed."""
    if isinstance(value, list):
        return [_named(item, folder) for item in value]
    return str(Path(value).relative_to(folder))


def _placed(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_placed(item, folder) for item in value]
    return folder / value
