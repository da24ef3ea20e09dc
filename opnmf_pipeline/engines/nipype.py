"""The Nipype engine: translates the steps into a Nipype workflow, one node for each job."""

from __future__ import annotations

import errno
import gc
import getpass
import glob
import itertools
import logging
import multiprocessing
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Any

import nipype.pipeline.engine.nodes
import nipype.pipeline.engine.utils
import nipype.pipeline.plugins.base
from nipype import config as nipype_config
from nipype.interfaces.base import isdefined
from nipype.interfaces.utility import IdentityInterface, Merge, Select
from nipype.pipeline.engine import Node, Workflow
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer
from nipype.utils.ram_estimator import RamEstimator

from opnmf_pipeline import __version__
from opnmf_pipeline.config import ExecutionConfig, PipelineConfig
from opnmf_pipeline.disk import require_space
from opnmf_pipeline.engines.graph import Each, Every, Given, Graph, Job, Of, Over
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.resources import (
    n_procs_of,
    require_script_path,
    sbatch_options,
    threads_of,
)
from opnmf_pipeline.engines.seals import Digests, seal
from opnmf_pipeline.engines.steps import GIVEN, steps_of
from opnmf_pipeline.exceptions import EngineError
from opnmf_pipeline.files import sweep
from opnmf_pipeline.nodes import nipype as nodes
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.memory import GB
from opnmf_pipeline.workers import KILLED_MSG, kill, settle

__all__ = ["StageMemory", "compute", "init_opnmf_wf"]

logger = logging.getLogger(__name__)

DEFAULT_PLUGIN = "MultiProc"
POLL_S = {"Linear": 0.05, "MultiProc": 0.05}
"""Seconds between checks for finished nodes; 2 s for other plugins, which ask a scheduler."""
FAILED_MSG = (
    "nodes failed:\n{reasons}\n"
    "details are in {crashes}; fix the cause and run the same command again"
)
ERROR_LINE = re.compile(r"\s*[\w.]+(?:Error|Exception|Exit): ")
EXECUTION = {
    "hash_method": "content",
    "use_relative_paths": True,  # for jobs of a scheduler, which have only these settings
    "crashfile_format": "txt",
    # On a shared file system, a file of another machine can become visible up to a minute late
    "job_finished_timeout": 65,
}
"""Settings of Nipype. Nodes are identified by the content of their inputs."""
RETURNED: dict[str, Of | Every] = {
    "mask_file": Of("mask", "mask_file"),
    "digests_file": Of("mask", "digests_file"),
    "matrix_dir": Of("matrix", "matrix_dir"),
    "selection_dir": Of("select", "selection_dir"),
    "metrics_file": Of("select", "metrics_file"),
    "metrics_json": Of("select", "metrics_json"),
    "quality_dir": Of("quality", "quality_dir"),
    "report_file": Of("report", "report_file"),
    "factorization_dirs": Every((Of("decompose", "factorization_dir"),)),
    "maps_dirs": Every((Of("maps", "maps_dir"),)),
    "figures_dirs": Every((Of("figures", "figures_dir"),)),
    "associations_dirs": Every((Of("associations", "associations_dir"),)),
    "reliability_dirs": Every((Of("reliability", "reliability_dir"),)),
    **{
        name: Every((Of("maps", name),))
        for name in (
            *("components_file", "labels_file", "shown_components", "shown_labels"),
            *("labels_table", "regions_table", "loadings_file", "sidecars"),
        )
    },
}
"""Outputs of the workflow. All are connected, because Nipype keeps only connected outputs."""
OF_SEVERAL = {name: Of("stack", name) for name in ("mask_file", "digests_file", "matrix_dir")}
"""Those of them that come from another step if there are several measures."""


def init_opnmf_wf(
    config: PipelineConfig, name: str = "opnmf_wf", *, n_splits: int | None = None
) -> Workflow:
    """Build the workflow from images to maps, figures, metrics and report.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``inputs`` and ``output`` are not used.
    name : str
        Name of the workflow.
    n_splits : int, optional
        Number of splits of the cohort. Default: ``selection.n_splits``. With
        ``selection.leave_out``, pass the number of values of that column, such as sites.

    Returns
    -------
    nipype Workflow
        With the nodes

        * ``inputnode``: ``images`` (one image per subject; with several measures, ``images_NAME``
          of each of them instead), ``participants`` (their identifiers), ``masks`` (masks of
          missing voxels of single images, if there are any),
          ``covariates`` (table of the subjects, for the splits and the report),
          ``descriptions`` (participants.json with descriptions of its columns, if there is one),
          ``planted`` (label map of the true components, if known), ``atlas_file`` and
          ``atlas_labels`` (label image of an atlas in the space of the images, and its names),
          ``mesh`` (mesh that surfaces are drawn on), ``on_template`` (whether figures are drawn on
          the MNI152 template), ``settings`` (YAML that the report shows);
        * ``outputnode``: ``mask_file``, ``digests_file``, ``matrix_dir``, ``metrics_file``,
          ``metrics_json``, ``selection_dir``, ``quality_dir``, ``report_file`` and, as lists over
          ``decomposition.n_components``, ``factorization_dirs``, ``maps_dirs``,
          ``figures_dirs``, ``associations_dirs``, ``reliability_dirs``, ``components_file``,
          ``labels_file``, ``shown_components``, ``shown_labels``, ``labels_table``,
          ``regions_table``, ``loadings_file``, ``sidecars``.
    """
    workflow = _workflow(Graph.of_steps(steps_of(config, n_splits)), name)
    workflow.get_node("inputnode").inputs.on_template = config.report.background != "mean"
    return workflow


def _workflow(graph: Graph, name: str) -> Workflow:
    """Translate a graph: one node for each job."""
    workflow = Workflow(name=name)
    fields = list(dict.fromkeys([*GIVEN, *graph.given]))
    inputnode = _Node(IdentityInterface(fields), name="inputnode")
    outputnode = _Node(IdentityInterface(list(RETURNED)), name="outputnode")
    workflow.add_nodes([inputnode, outputnode])
    made: dict[str, Node] = {}
    for job in graph.jobs:
        node = made[job.name] = _node(job)
        workflow.add_nodes([node])
        for field, source in job.step.inputs.items():
            match source:
                case Given(given):
                    workflow.connect(inputnode, given, node, field)
                case Of() | Each() | Every():
                    _connect(workflow, graph, made, job, source, node, field)
    there = {step.name for step in graph.steps}
    several = OF_SEVERAL if "stack" in there else {}
    for field, returned in {**RETURNED, **several}.items():
        sources = returned.outputs if isinstance(returned, Every) else [returned]
        if {source.step for source in sources} <= there:
            _connect(workflow, graph, made, graph.jobs[0], returned, outputnode, field)
    return workflow


def _node(job: Job) -> Node:
    inputs = {
        name: job.numbers[value.name] if isinstance(value, Over) else value
        for name, value in job.step.inputs.items()
        if not isinstance(value, Given | Of | Each | Every)
    }
    node = _Node(getattr(nodes, job.step.stage.name)(**inputs), name=job.name)
    node.ram_estimator = StageMemory(job.step.stage.memory)
    # DataSink then writes the outputs of each k into a separate folder
    node.parameterization = [(name, f"_{name}_{n}") for name, n in job.numbers.items()]
    return node


def _connect(
    workflow: Workflow,
    graph: Graph,
    made: Mapping[str, Node],
    job: Job,
    source: Of | Each | Every,
    node: Node,
    field: str,
) -> None:
    """Connect an input of a node to the outputs that it comes from."""
    sources = [(made[one.name], output) for one, output in graph.sources(job, source)]
    if isinstance(source, Every):
        merge = _Node(
            Merge(len(sources)), name=f"all_{node.name}_{field}", run_without_submitting=True
        )
        for number, (one, output) in enumerate(sources, start=1):
            workflow.connect(one, output, merge, f"in{number}")
        workflow.connect(merge, "out", node, field)
        return
    ((one, output),) = sources
    if isinstance(source, Each):
        number = job.numbers["split"]
        name = f"{output}_{number}"
        pick = workflow.get_node(name)
        if pick is None:
            # A fit depends only on the file of its split: a new split does not repeat other fits
            pick = _Node(Select(index=[number - 1]), name=name, run_without_submitting=True)
            workflow.connect(one, output, pick, "inlist")
        one, output = pick, "out"
    workflow.connect(one, output, node, field)


class StageMemory(RamEstimator):  # type: ignore[misc]
    """Estimates the memory of a node from the size of its inputs, once they exist.

    MultiProc calls it before it starts a node. With Slurm, a run requests this memory for the node.

    Parameters
    ----------
    memory : callable
        Attribute ``memory`` of the stage: takes the inputs by name and returns bytes.
    """

    def __init__(self, memory: Callable[[Mapping[str, Any]], int]) -> None:
        self._memory = memory

    def __call__(self, inputs: Any) -> tuple[float, str]:
        """Return the memory in GB (2**30 bytes), and a description of what uses it."""
        values = {name: value for name, value in inputs.get().items() if isdefined(value)}
        return self._memory(values) / GB, "libraries, matrix and maps of the node"


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
    ConfigError
        A batch system runs the nodes, and its scripts cannot hold the path of ``work_dir``.
    EngineError
        Nodes failed. The message lists them with their errors and the folder of the crash files.
    OutputError
        The disk is full.
    """
    execution = config.execution
    plugin = execution.plugin or DEFAULT_PLUGIN
    if plugin not in POLL_S:
        require_script_path(work_dir, plugin)
    workflow = _workflow(graph, "opnmf_wf")
    base = work_dir / f"nipype-{__version__}"
    base.mkdir(parents=True, exist_ok=True)
    sweep(base)
    Digests(base / "digests.json").drop_others({one.parent for one in base.rglob("_0x*.json")})
    workflow.base_dir, crashes = str(base), base / "crashes"
    workflow.config["execution"] = EXECUTION | {
        "stop_on_first_crash": execution.stop_on_first_crash,
        "crashdump_dir": str(crashes),
        "poll_sleep_duration": POLL_S.get(plugin, 2),
    }
    inputs = workflow.get_node("inputnode").inputs
    for name, value in given.items():
        if value is not None:
            setattr(inputs, name, str(value) if isinstance(value, Path) else value)
    _share_threads(workflow, graph, execution)
    watcher = _Watcher(graph, outcome, str(execution.plugin_args.get("sbatch_args", "")))
    plugin_args = {"n_procs": n_procs_of(execution), "status_callback": watcher}
    if execution.memory_gb is not None:
        plugin_args["memory_gb"] = execution.memory_gb
    shutil.rmtree(crashes, ignore_errors=True)
    os.environ.setdefault("LOGNAME", getpass.getuser())  # the SLURM plugin reads it
    plugin_args |= execution.plugin_args
    runner = _MultiProcPlugin(plugin_args) if plugin == DEFAULT_PLUGIN else plugin
    try:
        with _quiet(), _relative_paths(), _literal_folders():
            workflow.run(plugin=runner, plugin_args=plugin_args)
    except Exception as error:
        if not watcher.failed:
            raise
        for crash in crashes.glob("*.txt"):
            require_space(crash.read_text(), base)
        reasons = [_reason(crashes, node) for _, node in watcher.failed]
        listed = "\n".join(
            f"  {title}: {reason}"
            for (title, _), reason in zip(watcher.failed, reasons, strict=True)
        )
        causes = [reason.partition(":")[0] for reason in reasons]
        raise EngineError(FAILED_MSG.format(reasons=listed, crashes=crashes), causes) from error


class _Node(Node):  # type: ignore[misc]
    """Node that may be in a folder with brackets in its name; also in a worker, or a Slurm job."""

    def run(self, updatehash: bool = False) -> Any:
        try:
            with _literal_folders():
                return super().run(updatehash)
        except FileNotFoundError as error:
            # Nipype goes on if it cannot write this file, and misses it at the end
            if str(error.filename).endswith("_unfinished.json"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), error.filename) from error
            raise

    def is_cached(self, rm_outdated: bool = False) -> tuple[bool, bool]:
        with _literal_folders():
            cached, updated = super().is_cached(rm_outdated)
            return cached, updated


@contextmanager
def _literal_folders() -> Iterator[None]:
    """Let Nipype take the folder of a node for a name: it takes ``study [old]`` for a pattern.

    It would find none of its own files there.
    """
    modules = (
        nipype.pipeline.engine.nodes,
        nipype.pipeline.engine.utils,
        nipype.pipeline.plugins.base,
    )
    before = [module.glob for module in modules]
    for module in modules:
        module.glob = _find
    try:
        yield
    finally:
        for module, function in zip(modules, before, strict=True):
            module.glob = function


def _find(pattern: str) -> list[str]:
    """Search with a pattern whose folder is a name."""
    folder, name = os.path.split(pattern)
    return glob.glob(os.path.join(glob.escape(folder), name))  # noqa: PTH118, PTH207


class _MultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """MultiProc whose workers end with the run.

    If a worker is killed, the nodes that run fail. Nipype itself would wait for them without end.
    """

    def __init__(self, plugin_args: Mapping[str, Any]) -> None:
        super().__init__(plugin_args)
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context(self.plugin_args.get("mp_context"))
        start, folder = _start_worker, (self._cwd,)
        return ProcessPoolExecutor(self.processors, context, initializer=start, initargs=folder)

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run the workflow; if it is interrupted or stops at an error, its workers end at once."""
        gc.freeze()  # Nipype collects garbage each time it looks for results: only in new objects
        try:
            super().run(graph, config, updatehash)
        except BaseException:
            kill((self.pool._processes or {}).values())  # it has no public list of them
            raise
        finally:
            gc.unfreeze()

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        try:
            return int(super()._submit_job(node, updatehash))
        except BrokenProcessPool:
            self.pool = self._new_pool()
            return int(super()._submit_job(node, updatehash))

    def _async_callback(self, args: Future[Any]) -> None:
        if args.exception() is None:
            super()._async_callback(args)

    def _get_result(self, taskid: int) -> Any:
        future = self._task_obj[taskid]
        if future.done() and (error := future.exception()) is not None:
            killed = isinstance(error, BrokenProcessPool)
            text = [f"MemoryError: {KILLED_MSG}"] if killed else format_exception(error)
            return {"result": None, "traceback": text, "taskid": taskid}
        return super()._get_result(taskid)


def _start_worker(folder: str) -> None:
    process_initializer(folder)
    settle()


@contextmanager
def _relative_paths() -> Iterator[None]:
    """Let Nipype store paths relative to each node, so that the folder of a run can be moved."""
    key = "execution", "use_relative_paths"
    before = nipype_config.get(*key)
    nipype_config.set(*key, "true")
    try:
        yield
    finally:
        nipype_config.set(*key, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the log messages of Nipype unless this package logs at DEBUG."""
    loggers = [logging.getLogger(f"nipype.{name}") for name in ("workflow", "interface", "utils")]
    before = [one.level for one in loggers]
    if not logger.isEnabledFor(logging.DEBUG):
        for one in loggers:
            one.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)


def _share_threads(workflow: Workflow, graph: Graph, execution: ExecutionConfig) -> None:
    """Divide the threads among the nodes that can run in parallel."""
    for job in graph.jobs:
        workflow.get_node(job.name).n_procs = threads_of(job.step, execution)


def _reason(crashes: Path, node: str) -> str:
    """Return the error in the crash file of a node, without module name and Nipype's comments."""
    for crash in crashes.glob(f"crash-*-{node}-*.txt"):
        lines = crash.read_text().splitlines()
        starts = [number for number, line in enumerate(lines) if ERROR_LINE.match(line)]
        message = itertools.takewhile(str.strip, lines[starts[-1] if starts else -1 :])
        text = "\n    ".join(line.strip() for line in message)
        return re.sub(r"^[\w.]+\.(?=\w+: )", "", text)
    return "no crash file"


class _Watcher:
    """Callback of Nipype for each node that starts, ends or fails; records the outputs.

    Attributes
    ----------
    failed : list of (str, str)
        Titles of the failed jobs, each with the name of its node in crash files.
    """

    def __init__(self, graph: Graph, outcome: Outcome, sbatch_args: str) -> None:
        self.failed: list[tuple[str, str]] = []
        self._jobs = {job.name: job for job in graph.jobs}
        self._outcome = outcome
        self._sbatch_args = sbatch_args
        self._computed: set[str] = set()

    def __call__(self, node: Any, status: str) -> None:
        job = self._jobs.get(node.name)
        if job is None:  # a node that only passes values on
            if status == "exception":
                self.failed.append((node.name, node._id))
            return
        match status:
            case "start":
                if not all(node.is_cached()):  # the Linear plugin also starts cached nodes
                    self._computed.add(node.name)
                node.plugin_args = {"sbatch_args": self._sized(node)}
            case "exception":
                self._outcome.fail(job, "its node failed")
                self.failed.append((job.title, node._id))
            case "end":
                computed = node.name in self._computed
                if not computed and not all(node.is_cached()):
                    return  # the Linear plugin also reports "end" for nodes that it skips
                if isinstance(sys.exc_info()[1], KeyboardInterrupt | SystemExit):
                    return  # and for the node that was interrupted
                if computed:
                    seal(Path(node.output_dir()))
                self._outcome.finish(job, node.result.outputs.get(), computed=computed)

    def _sized(self, node: Any) -> str:
        """Return the memory and CPUs to request from Slurm, unless the user has set them."""
        n_bytes = GB * node.mem_gb_runtime
        return " ".join(sbatch_options(n_bytes, node.n_procs, self._sbatch_args))
