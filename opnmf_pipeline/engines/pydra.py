"""The Pydra engine: translates the steps into a Pydra workflow, one node for each job.

One node runs the halves of all splits.
"""

from __future__ import annotations

import logging
import os
import shutil
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.text import Tsv
from pydra.compose import python, workflow
from pydra.compose.base import Task
from pydra.engine.submitter import Submitter
from pydra.engine.workflow import Workflow
from pydra.workers.base import Worker
from threadpoolctl import threadpool_limits

from opnmf_pipeline import __version__
from opnmf_pipeline.config import ExecutionConfig, PipelineConfig
from opnmf_pipeline.disk import require_space
from opnmf_pipeline.engines.events import EVENTS, Follower, job_hooks, unreported
from opnmf_pipeline.engines.graph import SPLIT, Each, Every, Given, Graph, Job, Of, Over
from opnmf_pipeline.engines.moved import follow_move
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.processes import (
    RESULT,
    ProcessWorker,
    killed_at_once,
    outside_loop,
    tasks_ended,
)
from opnmf_pipeline.engines.resources import (
    n_procs_of,
    n_threads_of,
    require_script_path,
)
from opnmf_pipeline.engines.seals import Digests
from opnmf_pipeline.engines.slurm import SlurmWorker
from opnmf_pipeline.engines.steps import images_name, steps_of
from opnmf_pipeline.exceptions import EngineError
from opnmf_pipeline.files import sweep
from opnmf_pipeline.nodes import pydra as nodes
from opnmf_pipeline.progress import Display

__all__ = ["OpnmfWorkflow", "compute", "workflow_settings"]

logger = logging.getLogger(__name__)

DEFAULT_WORKER = "cf"
LOCAL_WORKERS = ("cf", "debug")
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HASH_CACHE = "PYDRA_HASH_CACHE"
HASHES = "hashes"
LEFT_OVER = ("*.lock", f"{HASHES}/*.lock", "*_info.json")
"""Files of an interrupted run."""
FAILED_MSG = "jobs failed:\n{reasons}\nfix the cause and run the same command again"
GATHER = "gather"
"""Prefix of the names of nodes that only gather outputs into a list."""


@workflow.define(
    outputs={
        "mask_file": workflow.out(type=File, help="voxels of the analysis"),
        "matrix_dir": workflow.out(type=Directory, help="folder of BuildMatrix"),
        "factorization_dirs": workflow.out(
            type=list[Directory], help="folders of Decompose, one per number of components"
        ),
        "maps_dirs": workflow.out(type=list[Directory], help="maps, labels, loadings of each fit"),
        "figures_dirs": workflow.out(
            type=list[Directory], help="pictures of each fit; empty if no pictures are drawn"
        ),
        "associations_dirs": workflow.out(type=list[Directory], help="covariates of each fit"),
        "reliability_dirs": workflow.out(type=list[Directory], help="reliability of components"),
        "metrics_file": workflow.out(type=Tsv, help="measures, one row per number of components"),
        "metrics_json": workflow.out(type=Json, help="description of the columns of metrics_file"),
        "selection_dir": workflow.out(type=Directory, help="tables, choice, pictures"),
        "quality_dir": workflow.out(type=Directory, help="quality of the images"),
        "report_file": workflow.out(type=File, help="report of the results"),
    }
)
def OpnmfWorkflow(
    images: list[nodes.Image],
    participants: list[str],
    n_components: list[int],
    measures: dict[str, list[nodes.Image]] | None = None,
    masks: Json | None = None,
    covariates: Tsv | None = None,
    descriptions: Json | None = None,
    planted: File | None = None,
    mask: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    matrix: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    decomposition: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    selection: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    n_splits: int | None = None,
    figures: bool = True,
    atlas_file: File | None = None,
    atlas_labels: File | None = None,
    mesh: nodes.Image | None = None,
    on_template: bool = True,
    report_covariates: list[str] | None = None,
    settings: str = "",
) -> Any:
    """From images to maps, figures, metrics and report, for each number of components.

    Parameters
    ----------
    images : list of path
        One image per subject; empty with several measures.
    participants : list[str]
        Identifier of each subject, in the order of images.
    n_components : list[int]
        Numbers of components to fit and to write maps for.
    measures : dict of str to list of path, optional
        Images of each of several measures, in the order of participants.
    masks : Json, optional
        Masks of missing voxels of single images.
    covariates : Tsv, optional
        Table of the subjects, for the splits and the report.
    descriptions : Json, optional
        participants.json with descriptions of the columns of this table.
    planted : File, optional
        Label map of the true components, if known.
    mask : dict
        Settings of the mask that differ from the defaults.
    matrix : dict
        Settings of the matrix that differ from the defaults.
    decomposition : dict
        Settings of the fits that differ from the defaults.
    selection : dict
        Settings of the comparison of numbers of components that differ from the defaults.
    n_splits : int, optional
        Number of splits of the cohort. Default: ``n_splits`` of ``selection``. With ``leave_out``,
        pass the number of values of that column, such as sites.
    figures : bool
        Draw pictures.
    atlas_file : File, optional
        Label image of an atlas in the space of the images; its regions name the components.
    atlas_labels : File, optional
        Names of the labels of this atlas. Default: the file next to it with the same name.
    mesh : path, optional
        Mesh of the left hemisphere, which surfaces are drawn on.
    on_template : bool
        Draw on the MNI152 template, not on the mean of the subjects.
    report_covariates : list[str], optional
        Columns of covariates whose associations with the loadings are described. Default: those
        that are described or have a usual name.
    settings : str
        YAML that the report shows.
    """
    config = PipelineConfig.model_validate(
        {
            "inputs": {"glob": "*", **_named(measures or {})},  # the images are given
            "mask": mask,
            "matrix": matrix,
            "decomposition": {**decomposition, "n_components": n_components},
            "selection": selection,
            "report": {"figures": figures, "covariates": report_covariates},
        }
    )
    given = {
        **{images_name(name): list(files) for name, files in (measures or {}).items()},
        "images": images,
        "participants": participants,
        "masks": masks,
        "covariates": covariates,
        "descriptions": descriptions,
        "planted": planted,
        "atlas_file": atlas_file,
        "atlas_labels": atlas_labels,
        "mesh": mesh,
        "on_template": on_template,
        "settings": settings,
    }
    translator = _Translator(Graph.of_steps(steps_of(config, n_splits)), given)
    return translator.outputs()


def _named(measures: Iterable[str]) -> dict[str, Any]:
    """Return the setting ``inputs.measures`` for these names, if there are any."""
    named = [{"name": name} for name in measures]
    return {"measures": named} if named else {}


def _call_outside_loop(task: Any, /, *args: Any, **options: Any) -> Any:
    return outside_loop(partial(Task.__call__, task, *args, **options))


OpnmfWorkflow.__call__ = _call_outside_loop


class _Translator:
    """Adds one node for each job of a graph to the workflow under construction.

    The halves of all splits are one node, which Pydra splits over the files of MakeSplits.

    Parameters
    ----------
    graph : Graph
        The jobs.
    given : mapping of str to object
        Inputs of the graph by name.
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
                case Of() | Each():
                    ((one, output),) = self._graph.sources(job, source)
                    found = over if isinstance(source, Each) else inputs
                    found[name] = getattr(self._made[one.node_name], output)
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
        """Add a node that gathers outputs into a list: a Pydra input takes one output only."""
        sources = self._graph.sources(job, source)
        made = {one.node_name: getattr(self._made[one.node_name], out) for one, out in sources}
        ((one, output), *_) = sources
        kind = nodes.TYPES[one.step.stage.outputs[output].kind]
        task = _gather(kind, list(made.values()), are_lists=SPLIT in one.step.over)
        return workflow.add(task, name=f"{GATHER}_{name}", hooks=job_hooks()).items

    def outputs(self) -> tuple[Any, ...]:
        """Return the outputs of the workflow, in the order of its definition."""
        first = self._graph.jobs[0]
        lists = [
            self._gathered(name, first, Every((Of(step, output),))) if self._has(step) else []
            for name, step, output in (
                ("factorization_dirs", "decompose", "factorization_dir"),
                ("maps_dirs", "maps", "maps_dir"),
                ("figures_dirs", "figures", "figures_dir"),
                ("associations_dirs", "associations", "associations_dir"),
                ("reliability_dirs", "reliability", "reliability_dir"),
            )
        ]
        several = self._has("stack")
        return (
            self._made["stack" if several else "mask"].mask_file,
            self._made["stack" if several else "matrix"].matrix_dir,
            *lists,
            self._made["select"].metrics_file,
            self._made["select"].metrics_json,
            self._made["select"].selection_dir,
            self._made["quality"].quality_dir,
            self._made["report"].report_file,
        )

    def _has(self, step: str) -> bool:
        return step in {one.name for one in self._graph.steps}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _gather(kind: Any, outputs: Sequence[Any], *, are_lists: bool) -> Any:
    """Return a task that puts outputs, or lists of outputs, into one list in the given order."""

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
        Jobs failed. The message lists them with their errors and folders.
    OutputError
        The disk is full.
    ConfigError
        A batch system runs the jobs, and its scripts cannot hold the path of ``work_dir``.
    """
    if (plugin := config.execution.plugin or DEFAULT_WORKER) not in LOCAL_WORKERS:
        require_script_path(work_dir, plugin)
    cache_root = work_dir.resolve() / f"pydra-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    _tidy(cache_root)
    # Pydra caches workflows by the content of their inputs. A cached workflow holds the paths of an
    # earlier run in this process, which may no longer exist.
    Workflow.clear_cache()
    follower = Follower(cache_root / EVENTS, graph, outcome)
    threads = _threads_per_job(graph, config.execution)
    worker = _worker(config.execution, threads)
    with (
        _quiet(),
        _environment(dict.fromkeys(THREAD_LIMITS, str(threads)) | _hash_cache(cache_root)),
        threadpool_limits(threads),
        follower,
        killed_at_once(worker),
    ):
        result = outside_loop(partial(_submitted, worker, cache_root, _task(graph, given, config)))
    if result.errored:
        reasons = "\n".join(follower.failed or unreported(result, graph))
        require_space(reasons, cache_root)
        raise EngineError(FAILED_MSG.format(reasons=reasons), follower.causes)


def _submitted(worker: Any, cache_root: Path, task: Any) -> Any:
    # Without propagate_rerun, each job is looked up in the cache and reports how it ended
    with (
        Submitter(cache_root, propagate_rerun=False, worker=worker) as submitter,
        tasks_ended(submitter.loop, worker),
    ):
        return submitter(task, raise_errors=False, rerun=True)


def _tidy(cache_root: Path) -> None:
    """Remove damaged, failed and interrupted jobs of an earlier run.

    If Pydra finds the error file of an earlier run before the job has started again, it reports
    this error. If it finds the result of an interrupted job, which has no outputs, it takes them.
    If it finds the lock file of an interrupted run, it waits without end.
    """
    sweep(cache_root)
    jobs = [path for path in cache_root.glob("python-*") if path.is_dir()]
    Digests(cache_root / "digests.json").drop_others(jobs)
    follow_move(cache_root)
    for error in cache_root.glob(f"workflow-*/{RESULT}"):
        shutil.rmtree(error.parent)
    for left in LEFT_OVER:
        for path in cache_root.glob(left):
            path.unlink()
    shutil.rmtree(cache_root / EVENTS, ignore_errors=True)
    (cache_root / EVENTS).mkdir()


def _worker(execution: ExecutionConfig, threads: int) -> Any:
    given = execution.plugin_args
    match execution.plugin or DEFAULT_WORKER:
        case "cf":
            n_procs = n_procs_of(execution) // threads
            return ProcessWorker(**{"n_procs": n_procs} | given)
        case "slurm":
            return SlurmWorker(**{"threads": threads} | given)
        case name:
            return Worker.plugin(name)(**given)


def workflow_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings as inputs of :func:`OpnmfWorkflow`.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``inputs``, ``output`` and ``execution`` are not used.
    """
    covariates = config.report.covariates
    return {
        "n_components": list(config.decomposition.n_components),
        "mask": config.mask.settings(),
        "matrix": config.matrix.settings(),
        "decomposition": config.decomposition.of_each_fit(),
        "selection": config.selection.settings(),
        "figures": config.report.figures,
        "on_template": config.report.background != "mean",
        "report_covariates": None if covariates is None else list(covariates),
    }


def _task(graph: Graph, given: Mapping[str, Any], config: PipelineConfig) -> Any:
    known = {name: value for name, value in given.items() if value is not None}
    if measures := {name: known.pop(images_name(name)) for name in config.inputs.names}:
        known |= {"measures": measures, "images": []}
    n_splits = next((len(step.over[SPLIT]) for step in graph.steps if SPLIT in step.over), 0)
    return OpnmfWorkflow(**workflow_settings(config) | {"n_splits": n_splits} | known)


def _threads_per_job(graph: Graph, execution: ExecutionConfig) -> int:
    """Divide the threads among the fits that can run in parallel."""
    n_fits = sum(step.n_runs for step in graph.steps if step.is_fit)
    return min(n_threads_of(execution), max(1, n_procs_of(execution) // n_fits))


def _hash_cache(cache_root: Path) -> dict[str, str]:
    """Keep Pydra's cache of file hashes with the run, because a home folder may be read-only."""
    return {HASH_CACHE: os.environ.get(HASH_CACHE, str(cache_root / HASHES))}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the with block; workers inherit them."""
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
    """Hide the log messages of Pydra unless this package logs at DEBUG."""
    pydra_logger = logging.getLogger("pydra")
    before = pydra_logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        pydra_logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        pydra_logger.setLevel(before)
