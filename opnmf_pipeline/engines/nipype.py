"""The stages as a Nipype workflow."""

from __future__ import annotations

import getpass
import itertools
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface, Merge, Select
from nipype.pipeline.engine import JoinNode, Node, Workflow
from nipype.utils.ram_estimator import RamEstimator

from opnmf_pipeline import __version__
from opnmf_pipeline.config import PipelineConfig, Section
from opnmf_pipeline.engines.memory import stage_bytes
from opnmf_pipeline.engines.results import Results, compare_finished, stage_title
from opnmf_pipeline.engines.study import Study, work_dir
from opnmf_pipeline.exceptions import EngineError
from opnmf_pipeline.nodes.nipype import (
    BuildMatrix,
    Decompose,
    DrawFigures,
    FitHalves,
    FitPermuted,
    MakeMask,
    MakeSplits,
    SelectRank,
    WriteMaps,
)
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.matrix import MATRIX_FILE

__all__ = ["StageMemory", "compute", "init_opnmf_wf"]

logger = logging.getLogger(__name__)

DEFAULT_PLUGIN = "MultiProc"
POLL_S = {"Linear": 0.2, "MultiProc": 0.2}
"""How often to look for finished nodes; elsewhere as Nipype does, lest a scheduler be flooded."""
FAILED_MSG = (
    "nodes failed:\n{reasons}\n"
    "details are in {crashes}; mend the cause and run the same command again"
)
ERROR_LINE = re.compile(r"\s*[\w.]+(?:Error|Exception|Exit): ")
EXECUTION = {
    "hash_method": "content",
    "crashfile_format": "txt",
    # Shared file systems can show a file of another machine after up to a minute
    "job_finished_timeout": 65,
}
"""Settings of Nipype: results are reused by content."""
MAPS = ["components_file", "labels_file", "labels_table", "loadings_file", "sidecars"]
SELECTED = ["selection_dir", "metrics_file", "metrics_json"]
TEMPLATE = "on_template"
PASSING = (IdentityInterface, Merge, Select)
"""Interfaces that compute nothing."""


def init_opnmf_wf(
    config: PipelineConfig, name: str = "opnmf_wf", *, n_splits: int | None = None
) -> Workflow:
    """Build the workflow from images to maps, figures and metrics.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``inputs`` and ``output`` are not used.
    name : str
        Name of the workflow.
    n_splits : int, optional
        Splits of the cohort. Default: ``selection.n_splits``; with ``selection.leave_out`` it is
        the number of values of that column, such as sites.

    Returns
    -------
    nipype Workflow
        With the nodes

        * ``inputnode``: ``images`` (one 3D image per subject), ``participants`` (their
          identifiers), ``covariates`` (table of the subjects, where the splits need it),
          ``planted`` (true labels, where they are known), ``on_template`` (whether figures are
          drawn on the MNI152 template);
        * ``outputnode``: ``mask_file``, ``matrix_dir``, ``metrics_file``, ``metrics_json``,
          ``selection_dir`` and, as lists over ``decomposition.n_components``,
          ``factorization_dirs``, ``components_file``, ``labels_file``, ``labels_table``,
          ``loadings_file``, ``sidecars``.
    """
    workflow = Workflow(name=name)
    inputnode = _fields("inputnode", "images", "participants", "covariates", "planted", TEMPLATE)
    inputnode.inputs.on_template = config.report.background != "mean"
    outputnode = _fields(
        "outputnode", "mask_file", "matrix_dir", *SELECTED, "factorization_dirs", *MAPS
    )
    mask = Node(MakeMask(**_set(config.mask), **_set(config.matrix)), name="mask")
    matrix = Node(BuildMatrix(**_set(config.matrix)), name="matrix")
    fits = Node(Merge(2), name="fits", run_without_submitting=True)
    select = Node(SelectRank(draw=config.report.figures), name="select")
    if config.selection.rule_used is not None:
        select.inputs.rule = config.selection.rule_used
    if config.selection.range is not None:
        select.inputs.rank_range = config.selection.range
    workflow.connect(
        [
            (inputnode, mask, [("images", "images")]),
            (inputnode, matrix, [("images", "images"), ("participants", "participants")]),
            (mask, matrix, [("mask_file", "mask_file")]),
            (fits, select, [("out", "factorization_dirs")]),
            (mask, select, [("mask_file", "mask_file")]),
            (inputnode, select, [("planted", "planted")]),
            (mask, outputnode, [("mask_file", "mask_file")]),
            (matrix, outputnode, [("matrix_dir", "matrix_dir")]),
            (select, outputnode, [(field, field) for field in SELECTED]),
        ]
    )
    if config.decomposition.n_components:
        gather = _add_maps(workflow, config, inputnode, mask, matrix)
        returned = [(field, field) for field in ["factorization_dirs", *MAPS]]
        workflow.connect(gather, "factorization_dirs", fits, "in1")
        workflow.connect([(gather, outputnode, returned)])
    if candidates := [k for k in config.ranks if k not in config.decomposition.n_components]:
        fit = Decompose(**config.decomposition.of_each_fit())
        varied = {"n_components": candidates}
        gather = _add_fits(workflow, "candidate", fit, matrix, "factorization_dir", varied)
        workflow.connect(gather, "factorization_dir", fits, "in2")
    n_splits = config.selection.n_splits if n_splits is None else n_splits
    if n_splits:
        _add_halves(workflow, config, inputnode, matrix, select, n_splits)
    if seeds := config.selection.permutation_seeds:
        fit = FitPermuted(**config.decomposition.of_each_fit())
        varied = {"n_components": list(config.ranks), "seed": seeds}
        gather = _add_fits(workflow, "permuted", fit, matrix, "permuted_file", varied)
        workflow.connect(gather, "permuted_file", select, "permuted_files")
    for node in map(workflow.get_node, workflow.list_node_names()):
        if not isinstance(node.interface, PASSING):
            node.ram_estimator = StageMemory()
    return workflow


def _fields(name: str, *fields: str) -> Node:
    return Node(IdentityInterface(list(fields)), name=name)


def _set(section: Section) -> dict[str, Any]:
    """Return the settings of a section that have a value, as inputs of a node."""
    return section.model_dump(mode="json", exclude_none=True)


def _add_maps(
    workflow: Workflow, config: PipelineConfig, inputnode: Node, mask: Node, matrix: Node
) -> Node:
    """Add fits with maps and figures; return the node that gathers them."""
    rank = _fields("rank", "n_components")
    rank.iterables = ("n_components", list(config.decomposition.n_components))
    decompose = Node(Decompose(**config.decomposition.of_each_fit()), name="decompose")
    maps = Node(WriteMaps(), name="maps")
    gather = _gathering("gather", "rank", "factorization_dirs", *MAPS)
    workflow.connect(
        [
            (matrix, decompose, [("matrix_dir", "matrix_dir")]),
            (rank, decompose, [("n_components", "n_components")]),
            (decompose, maps, [("factorization_dir", "factorization_dir")]),
            (mask, maps, [("mask_file", "mask_file")]),
            (decompose, gather, [("factorization_dir", "factorization_dirs")]),
            (maps, gather, [(field, field) for field in MAPS]),
        ]
    )
    if config.report.figures:
        _add_figures(workflow, inputnode, mask, matrix, maps)
    return gather


def _gathering(name: str, source: str, *fields: str) -> JoinNode:
    return JoinNode(
        IdentityInterface(list(fields)),
        joinsource=source,
        joinfield=list(fields),
        name=name,
        run_without_submitting=True,
    )


def _add_figures(workflow: Workflow, inputnode: Node, mask: Node, matrix: Node, maps: Node) -> None:
    figures = Node(DrawFigures(), name="figures")
    workflow.connect(
        [
            (inputnode, figures, [("on_template", "on_template")]),
            (mask, figures, [("mask_file", "mask_file")]),
            (matrix, figures, [("matrix_dir", "matrix_dir")]),
            (maps, figures, [(field, field) for field in ("components_file", "labels_file")]),
        ]
    )


def _add_fits(
    workflow: Workflow, name: str, fit: Any, matrix: Node, result: str, varied: dict[str, list[int]]
) -> Node:
    """Add one fit of the matrix for each combination; return the node that gathers the results."""
    varying = _fields(f"{name}_of", *varied)
    varying.iterables = list(varied.items())
    node = Node(fit, name=name)
    gather = _gathering(f"gather_{name}", varying.name, result)
    taken = [(field, field) for field in varied if field in fit.inputs.copyable_trait_names()]
    workflow.connect(
        [
            (varying, node, taken),
            (matrix, node, [("matrix_dir", "matrix_dir")]),
            (node, gather, [(result, result)]),
        ]
    )
    return gather


def _add_halves(
    workflow: Workflow,
    config: PipelineConfig,
    inputnode: Node,
    matrix: Node,
    select: Node,
    n_splits: int,
) -> None:
    options = {name: value for name, value in config.selection.of_splits().items() if value}
    splits = Node(MakeSplits(**options), name="splits")
    # The file of one split is what a fit depends on: a further split leaves the others as they are
    pick = Node(Select(), name="split", run_without_submitting=True)
    fit = FitHalves(**config.decomposition.of_each_fit())
    varied = {"n_components": list(config.ranks), "split_number": list(range(n_splits))}
    gather = _add_fits(workflow, "halves", fit, matrix, "halves_file", varied)
    workflow.connect(
        [
            (inputnode, splits, [(field, field) for field in ("participants", "covariates")]),
            (splits, pick, [("split_files", "inlist")]),
            (workflow.get_node("halves_of"), pick, [("split_number", "index")]),
            (pick, workflow.get_node("halves"), [("out", "split_file")]),
            (gather, select, [("halves_file", "halves_files")]),
        ]
    )


class StageMemory(RamEstimator):  # type: ignore[misc]
    """Memory of a node, from the size of what it reads, once that is there.

    MultiProc asks for it before it starts a node, and the Slurm of a run is asked for it.
    """

    def __call__(self, inputs: Any) -> tuple[float, str]:
        """Return GB, and how they came about."""
        return stage_bytes(inputs) / 2**30, "libraries, matrix and maps of the node"


def compute(study: Study, results: Results, display: Display) -> None:
    """Run the workflow and note the files of each finished node in ``results``.

    Parameters
    ----------
    study : Study
        Settings and cohort.
    results : Results
        Gets the files of each finished node.
    display : Display
        Shows one line per node; the log of Nipype is shown where this package logs at DEBUG.

    Raises
    ------
    EngineError
        Nodes failed; names them, their errors, and the folder of their crash files.
    """
    execution = study.config.execution
    plugin = execution.plugin or DEFAULT_PLUGIN
    workflow = init_opnmf_wf(study.config, n_splits=study.n_splits)
    workflow.base_dir = str(work_dir(study.config) / f"nipype-{__version__}")
    crashes = Path(workflow.base_dir) / "crashes"
    workflow.config["execution"] = EXECUTION | {
        "stop_on_first_crash": execution.stop_on_first_crash,
        "crashdump_dir": str(crashes),
        "poll_sleep_duration": POLL_S.get(plugin, 2),
    }
    inputs = workflow.get_node("inputnode").inputs
    inputs.images, inputs.participants = study.images, study.participants
    inputs.on_template, inputs.covariates = study.on_template, str(study.cohort_file)
    if study.planted is not None:
        inputs.planted = str(study.planted)
    _share_threads(workflow, study)
    watcher = _Watcher(results, display, str(execution.plugin_args.get("sbatch_args", "")))
    plugin_args = {"n_procs": study.n_procs, "status_callback": watcher}
    if execution.memory_gb is not None:
        plugin_args["memory_gb"] = execution.memory_gb
    shutil.rmtree(crashes, ignore_errors=True)
    os.environ.setdefault("LOGNAME", getpass.getuser())  # the SLURM plugin reads it
    try:
        with _quiet():
            workflow.run(plugin=plugin, plugin_args=plugin_args | execution.plugin_args)
    except Exception as error:
        if not watcher.failed:
            raise
        compare_finished(study, results)
        reasons = "\n".join(
            f"  {title}: {_reason(crashes, node)}" for title, node in watcher.failed
        )
        raise EngineError(FAILED_MSG.format(reasons=reasons, crashes=crashes)) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Show what Nipype logs only where this package logs at DEBUG."""
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


def _share_threads(workflow: Workflow, study: Study) -> None:
    """Divide the threads among the fits that can run side by side."""
    config = study.config
    n_ranks = len(config.ranks)
    sharing = {
        "mask": 1,
        "matrix": 1,
        "decompose": n_ranks,
        "candidate": n_ranks,
        "halves": n_ranks * study.n_splits,
        "permuted": n_ranks * config.selection.n_permutations,
    }
    for name, number in sharing.items():
        if (node := workflow.get_node(name)) is not None:
            most = study.n_procs if name in ("mask", "matrix") else study.n_threads
            node.n_procs = min(most, max(1, study.n_procs // number))


def _reason(crashes: Path, node: str) -> str:
    """Return the error that a node left, without its module and what Nipype says after it."""
    for crash in crashes.glob(f"crash-*-{node}-*.txt"):
        lines = crash.read_text().splitlines()
        starts = [number for number, line in enumerate(lines) if ERROR_LINE.match(line)]
        message = itertools.takewhile(str.strip, lines[starts[-1] if starts else -1 :])
        text = "\n    ".join(line.strip() for line in message)
        return re.sub(r"^[\w.]+\.(?=\w+: )", "", text)
    return "no crash file"


class _Watcher:
    """Hears of each node that starts, ends or fails, and notes its files.

    Attributes
    ----------
    failed : list of (str, str)
        Titles and names of the nodes that failed.
    """

    def __init__(self, results: Results, display: Display, sbatch_args: str) -> None:
        self.failed: list[tuple[str, str]] = []
        self._results = results
        self._display = display
        self._sbatch_args = sbatch_args
        self._computed: set[str] = set()

    def __call__(self, node: Any, status: str) -> None:
        if isinstance(node.interface, PASSING):
            return
        title = _title(node)
        match status:
            case "start":
                if not all(node.is_cached()):  # the Linear plugin starts what is there as well
                    self._computed.add(node.itername)
                node.plugin_args = {"sbatch_args": self._sized(node)}
            case "exception":
                self._display.note(f"{title}: failed")
                self.failed.append((title, node._id))
            case "end":
                computed = node.itername in self._computed
                if not computed and not all(node.is_cached()):
                    return  # the Linear plugin "ends" what it skips after a failure
                self._display.note(f"{title}: {'computed' if computed else 'reused'}")
                if computed:
                    self._results.computed.append(title)
                self._note(node)

    def _sized(self, node: Any) -> str:
        """Return what a node asks of Slurm, where the user has not said it."""
        wanted = {
            "--mem": f"{math.ceil(1024 * node.mem_gb_runtime)}M",
            "--cpus-per-task": str(node.n_procs),
        }
        return " ".join(
            f"{name}={value}" for name, value in wanted.items() if name not in self._sbatch_args
        )

    def _note(self, node: Any) -> None:
        outputs, results = node.result.outputs, self._results
        match node.name:
            case "mask":
                results.mask = Path(outputs.mask_file)
            case "matrix":
                results.matrix = Path(outputs.matrix_dir) / MATRIX_FILE
            case "decompose" | "candidate":
                results.fits[_rank(node)] = Path(outputs.factorization_dir) / FACTORIZATION_FILE
            case "halves":
                results.halves.append(Path(outputs.halves_file))
            case "permuted":
                results.permuted.append(Path(outputs.permuted_file))
            case "maps":
                results.maps[_rank(node)] = Path(outputs.components_file).parent
            case "figures":
                results.figures[_rank(node)] = Path(outputs.components_figure).parent
            case "select":
                results.selection = Path(outputs.selection_dir)


def _title(node: Any) -> str:
    found = _parameters(node)
    number = found["split_number"] + 1 if "split_number" in found else found.get("seed")
    name = "decompose" if node.name == "candidate" else node.name
    return stage_title(name, found.get("n_components"), number)


def _rank(node: Any) -> int:
    return _parameters(node)["n_components"]


def _parameters(node: Any) -> dict[str, int]:
    """Return what the iterables of the workflow are in this node."""
    text = "".join(node.parameterization or ())
    pairs = re.findall(r"_(n_components|split_number|seed)_(\d+)", text)
    return {name: int(value) for name, value in pairs}
