"""The steps as a Pydra workflow."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.medimage import NiftiGz
from fileformats.text import Tsv
from pydra.compose import python, workflow
from pydra.engine.submitter import Submitter
from pydra.engine.workflow import Workflow
from pydra.workers import slurm
from threadpoolctl import threadpool_limits

from opnmf_pipeline import __version__
from opnmf_pipeline.config import ExecutionConfig, PipelineConfig, Section
from opnmf_pipeline.engines.events import EVENTS, Follower, job_hooks, unreported
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.resources import n_procs_of, n_threads_of
from opnmf_pipeline.engines.steps import SPLIT, Each, Every, Given, Graph, Job, Of, Over, steps_of
from opnmf_pipeline.exceptions import ConfigError, EngineError
from opnmf_pipeline.nodes import pydra as nodes
from opnmf_pipeline.progress import Display

__all__ = ["OpnmfWorkflow", "SlurmWorker", "compute", "workflow_settings"]

logger = logging.getLogger(__name__)

DEFAULT_WORKER = "cf"
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HASH_CACHE = "PYDRA_HASH_CACHE"
HASHES = "hashes"
FAILED_MSG = "jobs failed:\n{reasons}\nfix the cause and run the same command again"
ERROR_FILE_MSG = (
    "execution.plugin_args: sbatch_args: remove {option}; Pydra needs to choose the file itself"
)
GATHER = "gather"
"""Start of the names of the nodes that only gather outputs into a list."""


@workflow.define(
    outputs={
        "mask_file": workflow.out(type=NiftiGz, help="voxels of the analysis"),
        "matrix_dir": workflow.out(type=Directory, help="folder of BuildMatrix"),
        "factorization_dirs": workflow.out(
            type=list[Directory], help="fits, one per number of components"
        ),
        "maps_dirs": workflow.out(type=list[Directory], help="maps, labels, loadings of each fit"),
        "figures_dirs": workflow.out(
            type=list[Directory], help="pictures of each fit; empty where none are drawn"
        ),
        "metrics_file": workflow.out(type=Tsv, help="one row of indices per number of components"),
        "metrics_json": workflow.out(type=Json, help="description of these indices"),
        "selection_dir": workflow.out(type=Directory, help="tables, choice, pictures"),
        "quality_dir": workflow.out(type=Directory, help="quality of the images"),
        "report_file": workflow.out(
            type=File | None, help="page about the results; absent where there are no maps"
        ),
    }
)
def OpnmfWorkflow(
    images: list[File],
    participants: list[str],
    n_components: list[int],
    covariates: Tsv | None = None,
    planted: NiftiGz | None = None,
    mask: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    matrix: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    decomposition: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    selection: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    n_splits: int | None = None,
    figures: bool = True,
    on_template: bool = True,
    settings: str = "",
) -> Any:
    """From images to maps, figures, metrics and report, for each number of components.

    Parameters
    ----------
    images : list[File]
        One 3D image per subject.
    participants : list[str]
        Identifier of each subject, in the order of images.
    n_components : list[int]
        Numbers of components that get maps.
    covariates : Tsv, optional
        Table of the subjects, where the splits need it.
    planted : NiftiGz, optional
        Label map of the truth, if known.
    mask : dict
        Settings of the mask that differ from the defaults.
    matrix : dict
        Settings of the matrix that differ from the defaults.
    decomposition : dict
        Settings of the fits that differ from the defaults.
    selection : dict
        Settings of the study of numbers of components that differ from the defaults.
    n_splits : int, optional
        Splits of the cohort. Default: that of ``selection``; with ``leave_out`` it is the number
        of values of that column, such as sites, and must be given.
    figures : bool
        Draw pictures.
    on_template : bool
        Draw on the MNI152 template, not on the mean of the subjects.
    settings : str
        YAML that the report shows.
    """
    config = PipelineConfig.model_validate(
        {
            "inputs": {"glob": "*"},  # the images are given
            "mask": mask,
            "matrix": matrix,
            "decomposition": {**decomposition, "n_components": n_components},
            "selection": selection,
            "report": {"figures": figures},
        }
    )
    given = {
        "images": images,
        "participants": participants,
        "covariates": covariates,
        "planted": planted,
        "on_template": on_template,
        "settings": settings,
    }
    translator = _Translator(Graph.of_steps(steps_of(config, n_splits)), given)
    return translator.outputs()


class _Translator:
    """Adds one node for each job of a graph to the workflow that is being built.

    The halves of all splits are the jobs of one node, split over the files that MakeSplits writes.
    """

    def __init__(self, graph: Graph, given: Mapping[str, Any]) -> None:
        self._graph = graph
        self._given = given
        self._made: dict[str, Any] = {}
        for job in graph.jobs:
            if job.node_name not in self._made:
                self._made[job.node_name] = self._add(job)

    def _add(self, job: Job) -> Any:
        inputs: dict[str, Any] = {}
        over: dict[str, Any] = {}
        for name, source in job.step.inputs.items():
            match source:
                case Given(given):
                    inputs[name] = self._given[given]
                case Over(number):
                    inputs[name] = job.numbers[number]
                case Of():
                    ((one, output),) = self._graph.sources(job, source)
                    inputs[name] = getattr(self._made[one.node_name], output)
                case Each():
                    ((one, output),) = self._graph.sources(job, source)
                    over[name] = getattr(self._made[one.node_name], output)
                case Every():
                    inputs[name] = self._gathered(f"{job.node_name}_{name}", job, source)
                case _:
                    inputs[name] = source
        kind = getattr(nodes, job.step.stage.name)
        inputs = {name: value for name, value in inputs.items() if value is not None}
        task = kind(**{name: _listed(value) for name, value in inputs.items()})
        if over:
            task = task.split(list(over), **over).combine(list(over))
        return workflow.add(task, name=job.node_name, hooks=job_hooks())

    def _gathered(self, name: str, job: Job, source: Every) -> Any:
        """Return outputs of several nodes as one list: Pydra passes on single outputs only."""
        sources = self._graph.sources(job, source)
        made = {one.node_name: getattr(self._made[one.node_name], out) for one, out in sources}
        ((one, output), *_) = sources
        kind = nodes.TYPES[one.step.stage.outputs[output].kind]
        task = _gather(kind, list(made.values()), are_lists=SPLIT in one.step.over)
        return workflow.add(task, name=f"{GATHER}_{name}").items

    def outputs(self) -> tuple[Any, ...]:
        """Return the outputs of the workflow, in their order."""
        first = self._graph.jobs[0]
        lists = [
            self._gathered(name, first, Every((Of(step, output),))) if self._has(step) else []
            for name, step, output in (
                ("factorization_dirs", "decompose", "factorization_dir"),
                ("maps_dirs", "maps", "maps_dir"),
                ("figures_dirs", "figures", "figures_dir"),
            )
        ]
        select = self._made["select"]
        return (
            self._made["mask"].mask_file,
            self._made["matrix"].matrix_dir,
            *lists,
            select.metrics_file,
            select.metrics_json,
            select.selection_dir,
            self._made["quality"].quality_dir,
            self._made["report"].report_file if self._has("report") else None,
        )

    def _has(self, step: str) -> bool:
        return step in {one.name for one in self._graph.steps}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _gather(kind: Any, outputs: Sequence[Any], *, are_lists: bool) -> Any:
    """Return a task that puts outputs into one list, in their order."""

    def gather(**items: Any) -> Any:
        values = [items[name] for name in sorted(items)]  # Pydra has its own order
        return [one for item in values for one in (item if isinstance(item, list) else [item])]

    listed: Any = types.GenericAlias(list, (kind,))
    given = {f"item{number:06d}": output for number, output in enumerate(outputs)}
    one_kind = listed if are_lists else kind
    task = python.define(
        inputs={name: python.arg(type=one_kind, help="an output") for name in given},
        outputs={"items": python.out(type=listed, help="all of them")},
    )(gather)
    return task(**given)


def compute(
    graph: Graph,
    given: Mapping[str, Any],
    config: PipelineConfig,
    work_dir: Path,
    outcome: Outcome,
    display: Display,
) -> None:
    """Run the workflow of a graph; parameters as in :func:`opnmf_pipeline.engines.local.compute`.

    Raises
    ------
    EngineError
        Jobs failed; names them, their errors and their folders.
    """
    cache_root = work_dir / f"pydra-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    _tidy(cache_root)
    # Pydra finds a workflow that it has built before by the content of its inputs; the paths in it
    # would be those of an earlier run in this process, which may be gone.
    Workflow.clear_cache()
    follower = Follower(cache_root / EVENTS, graph, outcome)
    threads = _threads_per_job(graph, config.execution)
    with (
        _quiet(),
        _environment(dict.fromkeys(THREAD_LIMITS, str(threads)) | _hash_cache(cache_root)),
        threadpool_limits(threads),
        follower,
        # Each job is found in the cache, or not, by itself: so each has its line
        Submitter(
            cache_root, propagate_rerun=False, **_worker(config.execution, threads)
        ) as submitter,
    ):
        result = submitter(_task(graph, given, config), raise_errors=False, rerun=True)
    if result.errored:
        reasons = follower.failed or unreported(result, graph)
        raise EngineError(FAILED_MSG.format(reasons="\n".join(reasons)))


def _tidy(cache_root: Path) -> None:
    """Remove what failed or was interrupted in an earlier run.

    Pydra takes the error of an earlier run for one of this run where it looks before the job
    has started again, and waits for ever for a lock that nobody holds.
    """
    for error in cache_root.glob("*/_error.pklz"):
        shutil.rmtree(error.parent)
    for lock in (*cache_root.glob("*.lock"), *cache_root.glob(f"{HASHES}/*.lock")):
        lock.unlink()
    shutil.rmtree(cache_root / EVENTS, ignore_errors=True)
    (cache_root / EVENTS).mkdir()


def _worker(execution: ExecutionConfig, threads: int) -> dict[str, Any]:
    match execution.plugin or DEFAULT_WORKER:
        case "cf":
            n_procs = n_procs_of(execution) // threads
            return {"worker": "cf", "n_procs": n_procs, **execution.plugin_args}
        case "slurm":
            return {"worker": SlurmWorker, "threads": threads, **execution.plugin_args}
        case name:
            return {"worker": name, **execution.plugin_args}


def workflow_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings as inputs of :func:`OpnmfWorkflow`; ``inputs``, ``output`` are not used.

    Parameters
    ----------
    config : PipelineConfig
        Settings.
    """

    def given(section: Section) -> dict[str, Any]:
        return section.model_dump(mode="json", exclude_none=True)

    return {
        "n_components": list(config.decomposition.n_components),
        "mask": given(config.mask),
        "matrix": given(config.matrix),
        "decomposition": config.decomposition.of_each_fit(),
        "selection": given(config.selection),
        "figures": config.report.figures,
        "on_template": config.report.background != "mean",
    }


def _task(graph: Graph, given: Mapping[str, Any], config: PipelineConfig) -> Any:
    known = {name: value for name, value in given.items() if value is not None}
    (n_splits,) = [len(step.over[SPLIT]) for step in graph.steps if SPLIT in step.over] or [0]
    return OpnmfWorkflow(**workflow_settings(config) | {"n_splits": n_splits} | known)


def _threads_per_job(graph: Graph, execution: ExecutionConfig) -> int:
    """Divide the threads among the fits that can run side by side."""
    n_fits = sum(step.n_runs for step in graph.steps if step.is_fit)
    return min(n_threads_of(execution), max(1, n_procs_of(execution) // n_fits))


def _hash_cache(cache_root: Path) -> dict[str, str]:
    """Keep what Pydra knows of files with the run: a home folder may not be writable."""
    return {HASH_CACHE: os.environ.get(HASH_CACHE, str(cache_root / HASHES))}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables inside the with block; workers inherit them."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Show what Pydra logs only where this package logs at DEBUG."""
    pydra_logger = logging.getLogger("pydra")
    before = pydra_logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        pydra_logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        pydra_logger.setLevel(before)


@attrs.define(getstate_setstate=False)  # a worker that has run pickles only as Pydra does it
class SlurmWorker(slurm.Worker):  # type: ignore[misc]
    """Slurm worker that asks for the memory of each job, from the size of its matrix.

    Parameters
    ----------
    threads : int
        CPUs that each job asks for.
    sbatch_args : str
        Further arguments; a ``--mem`` or ``--cpus-per-task`` in it takes the place of ours.
    """

    _plugin_name = "slurm"

    threads: int = 1

    def __attrs_post_init__(self) -> None:
        """Refuse what Pydra would stumble over once the first job has been submitted."""
        if option := re.search(r"(?:^|\s)(-e|--error)\b", self.sbatch_args):
            raise ConfigError(ERROR_FILE_MSG.format(option=option[1]))

    async def run(self, job: Any, rerun: bool = False) -> Any:
        """Submit one job and wait for its end; what only gathers outputs is run here."""
        if job.name.startswith(GATHER):
            return job.run(rerun)
        wanted = {
            "--mem": f"{math.ceil(_memory(job.task) / 2**20)}M",
            "--cpus-per-task": str(self.threads),
        }
        added = [
            f"{name}={value}" for name, value in wanted.items() if name not in self.sbatch_args
        ]
        sized = attrs.evolve(  # type: ignore[call-arg]
            self, sbatch_args=" ".join([*added, self.sbatch_args]).strip()
        )
        return await super(SlurmWorker, sized).run(job, rerun)

    async def _verify_exit_code(self, jobid: str) -> Any:
        """Take a job that ran out of time for failed, where Pydra would submit it for ever."""
        try:
            status = await super()._verify_exit_code(jobid)
        except (LookupError, OSError):  # it left no message
            status = "FAILED"
        if status in ("CANCELLED", "TIMEOUT", "FAILED"):
            raise RuntimeError(f"Slurm job {jobid}: {status}; see {self.error[jobid]}")
        return status


def _memory(task: Any) -> int:
    """Return the most memory that a task takes, in bytes."""
    stage = nodes.STAGES[type(task).__name__]
    values = attrs.asdict(task, recurse=False)
    return stage.memory({name: value for name, value in values.items() if value is not None})
