"""What the jobs of a Pydra run tell the process that started it: one small file each."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs
import nibabel as nb
from fileformats.generic import FileSet
from pydra.engine.hooks import TaskHooks
from pydra.engine.result import load_result

from opnmf_pipeline.engines.results import Results, stage_title
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, read_factorization
from opnmf_pipeline.stages.matrix import MATRIX_FILE

__all__ = ["EVENTS", "Follower", "job_hooks", "rank_hooks", "unreported"]

EVENTS = "events"
"""Folder in that of the results in which jobs say that they have ended, one file each."""
POLL_S = 0.2
FAILED_JOB = re.compile(r"^Job '(\w+)(?:\(\d+\))?', (\w+\(.*\)), errored:", re.MULTILINE)
ERROR_LINE = re.compile(r"[\w.]+: (?!Workflow job)")
JOBS_OF_A_RANK = {
    "decompose": "factorization_dir",
    "maps": "maps_dir",
    "figures": "figures_dir",
}
"""Jobs of the workflow of one number of components, and the outputs of it that they make."""


def job_hooks() -> TaskHooks:
    """Return the hooks by which a job says how it ended."""
    return TaskHooks(
        pre_run=_report_reused, post_run=_report_computed, post_run_task=_report_failed
    )


def rank_hooks() -> TaskHooks:
    """Return the hooks by which the workflow of one number of components says it is reused."""
    return TaskHooks(pre_run=_report_reused_rank)


def _report_reused(job: Any) -> None:
    if (outputs := _earlier_outputs(job)) is not None:
        _report(job, job.name, "reused", outputs)


def _report_reused_rank(job: Any) -> None:
    if (outputs := _earlier_outputs(job)) is not None:
        for name, field in JOBS_OF_A_RANK.items():
            if field in outputs:
                _report(job, name, "reused", {field: outputs[field]})


def _report_computed(job: Any, result: Any) -> None:
    _report(job, job.name, "computed", _paths(result.outputs))


def _report_failed(job: Any, result: Any) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, Exception):  # and not the end of a worker that was told to go
        _report(job, job.name, "failed", {}, f"{type(error).__name__}: {error}")


def _earlier_outputs(job: Any) -> dict[str, str] | None:
    result = load_result(job.checksum, job.all_caches)
    return None if result is None or result.errored else _paths(result.outputs)


def _paths(outputs: Any) -> dict[str, str]:
    values = attrs.asdict(outputs, recurse=False)
    return {name: str(value) for name, value in values.items() if isinstance(value, FileSet)}


def _report(
    job: Any, name: str, status: str, outputs: dict[str, str], error: str | None = None
) -> None:
    """Leave a note about a job for the process of the run, if one is waiting for it."""
    folder = job.cache_root / EVENTS
    if not folder.is_dir():  # the workflow runs as a part of somebody else's
        return
    record = {
        "name": name,
        "status": status,
        "n_components": _rank(job.task),
        "number": _number(job.task),
        "outputs": outputs,
        "error": error,
        "folder": str(job.cache_dir),
    }
    partial = folder / f"{time.time_ns()}-{job.uid}-{name}.partial"
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.rename(partial.with_suffix(".json"))  # is read whole or not at all


def _rank(task: Any) -> int | None:
    """Return the number of components that a task is about."""
    if hasattr(task, "factorization_dir"):
        return int(read_factorization(Path(task.factorization_dir) / FACTORIZATION_FILE).W.shape[1])
    if hasattr(task, "components_file"):
        return int(nb.load(task.components_file).shape[3])
    return getattr(task, "n_components", None)


def _number(task: Any) -> int | None:
    """Return which of the tasks it is that run several times for each number of components."""
    if hasattr(task, "split_file"):
        return int(json.loads(Path(task.split_file).read_text(encoding="utf-8"))["Split"])
    return getattr(task, "seed", None)


def unreported(result: Any) -> list[str]:
    """Return what failed, and why, from the error of a run in which no job could tell."""
    text = "".join(result.errors["error message"]) if result.errors else "no error was saved"
    reasons = []
    _, *jobs = FAILED_JOB.split(text)
    for name, arguments, report in zip(jobs[::3], jobs[1::3], jobs[2::3], strict=True):
        errors = [line for line in report.splitlines() if ERROR_LINE.match(line)]
        k = re.search(r"n_components=(\d+)", arguments)
        if name != "rank" and errors:
            reasons.append(f"  {stage_title(name, int(k[1]) if k else None)}: {errors[-1]}")
    return reasons or [f"  {text.splitlines()[-1]}"]


class Follower:
    """Takes the notes of :func:`_report` as they come, in a thread; used as a context.

    Attributes
    ----------
    failed : list of str
        What failed, and why.
    """

    def __init__(self, folder: Path, results: Results, display: Display) -> None:
        self.failed: list[str] = []
        self._folder = folder
        self._results = results
        self._display = display
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._take_all()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self._take_all()

    def _take_all(self) -> None:
        for path in sorted(self._folder.glob("*.json")):
            self._take(json.loads(path.read_text(encoding="utf-8")))
            path.unlink()

    def _take(self, record: dict[str, Any]) -> None:
        name = "decompose" if record["name"] == "candidate" else record["name"]
        title = stage_title(name, record["n_components"], record["number"])
        self._display.note(f"{title}: {record['status']}")
        if record["status"] == "failed":
            self.failed.append(f"  {title}: {record['error']} ({record['folder']})")
        if record["status"] == "computed":
            self._results.computed.append(title)
        self._note(record)

    def _note(self, record: dict[str, Any]) -> None:
        results, k = self._results, record["n_components"]
        outputs = {name: Path(path) for name, path in record["outputs"].items()}
        match record["name"], outputs:
            case "mask", {"mask_file": path}:
                results.mask = path
            case "matrix", {"matrix_dir": path}:
                results.matrix = path / MATRIX_FILE
            case "decompose" | "candidate", {"factorization_dir": path}:
                results.fits[k] = path / FACTORIZATION_FILE
            case "halves", {"halves_file": path}:
                results.halves.append(path)
            case "permuted", {"permuted_file": path}:
                results.permuted.append(path)
            case "maps", {"maps_dir": path}:
                results.maps[k] = path
            case "figures", {"figures_dir": path}:
                results.figures[k] = path
            case "select", {"selection_dir": path}:
                results.selection = path
