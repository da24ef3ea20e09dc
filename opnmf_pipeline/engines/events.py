"""Messages from the jobs of a Pydra run to the process that started it: one small file per job."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs
from fileformats.core import FileSet
from pydra.engine.hooks import TaskHooks
from pydra.engine.result import load_result

from opnmf_pipeline.engines.graph import Graph, Job
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.seals import seal
from opnmf_pipeline.files import written_whole

__all__ = ["EVENTS", "Follower", "job_hooks", "unreported"]

EVENTS = "events"
"""Name of the folder for the messages, inside the folder of the results."""
POLL_S = 0.2
FAILED_JOB = re.compile(r"^Job '(\w+?)(?:\((\d+)\))?', \w+\(.*\), errored:", re.MULTILINE)
ERROR_LINE = re.compile(r"[\w.]+: (?!Workflow job)")


def job_hooks() -> TaskHooks:
    """Return the hooks with which a job reports that it was reused, computed, or failed."""
    return TaskHooks(
        pre_run=_report_reused, post_run=_report_computed, post_run_task=_report_failed
    )


def _report_reused(job: Any) -> None:
    result = load_result(job.checksum, job.all_caches)
    if result is not None and not result.errored:
        _report(job, "reused", _paths(result.outputs))


def _report_computed(job: Any, result: Any) -> None:
    _report(job, "computed", _paths(result.outputs))


def _report_failed(job: Any, result: Any) -> None:
    error = sys.exc_info()[1]
    if isinstance(error, Exception):  # not KeyboardInterrupt or SystemExit of a stopped worker
        _report(job, "failed", {}, f"{type(error).__name__}: {error}")


def _paths(outputs: Any) -> dict[str, Any]:
    values = attrs.asdict(outputs, recurse=False)
    return {name: _path(value) for name, value in values.items()}


def _path(value: Any) -> Any:
    if isinstance(value, list):
        return [_path(item) for item in value]
    return str(value) if isinstance(value, FileSet) else None


def _report(job: Any, status: str, outputs: dict[str, Any], error: str | None = None) -> None:
    """Write the message of a job, if the process of the run reads messages."""
    folder = job.cache_root / EVENTS
    if not folder.is_dir():  # the workflow is a task in the workflow of a user
        return
    if status == "computed":
        seal(job.cache_dir)
    record = {
        "name": job.name,
        "number": job.state_index,
        "status": status,
        "outputs": outputs,
        "error": error,
        "folder": str(job.cache_dir),
    }
    with written_whole(folder / f"{time.time_ns()}-{job.uid}-{job.name}.json") as partial:
        partial.write_text(json.dumps(record), encoding="utf-8")


def unreported(result: Any, graph: Graph) -> list[str]:
    """Return the failed jobs with their errors, from the error of a run without messages."""
    text = "".join(result.errors["error message"]) if result.errors else "no error was saved"
    reasons = []
    _, *found = FAILED_JOB.split(text)
    jobs = _by_node(graph)
    for name, number, report in zip(found[::3], found[1::3], found[2::3], strict=True):
        errors = _errors(report)
        job = jobs.get((name, None if number is None else int(number)))
        if job is not None and errors:
            error = re.sub(r"^[\w.]+\.(?=\w+: )", "", errors[-1])
            reasons.append(f"  {job.title}: {error}")
    return reasons or [f"  {(_errors(text) or text.splitlines())[-1]}"]


def _errors(report: str) -> list[str]:
    """Return the lines of a report that name an error; notes of it can follow."""
    return [line for line in report.splitlines() if ERROR_LINE.match(line)]


def _by_node(graph: Graph) -> dict[tuple[str, int | None], Job]:
    """Return the jobs by the name of their node, and by their index among the jobs of that node."""
    jobs: dict[tuple[str, int | None], Job] = {}
    for job in graph.jobs:
        split = job.numbers.get("split")
        jobs[job.node_name, None if split is None else split - 1] = job
    return jobs


class Follower:
    """Context manager that reads the messages of the jobs in a thread.

    Parameters
    ----------
    folder : path
        Existing folder of the messages; a message is deleted when it has been read.
    graph : Graph
        The jobs.
    outcome : Outcome
        Receives the outputs of each finished job.

    Attributes
    ----------
    failed : list of str
        One line for each failed job, with its error.
    causes : list of str
        Name of the class of each error.
    """

    def __init__(self, folder: Path, graph: Graph, outcome: Outcome) -> None:
        self.failed: list[str] = []
        self.causes: list[str] = []
        self._folder = folder
        self._jobs = _by_node(graph)
        self._outcome = outcome
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
        job = self._jobs.get((record["name"], record["number"]))
        if job is None:  # a node that only gathers outputs into a list
            return
        if record["status"] == "failed":
            self._outcome.fail(job, record["error"])
            self.causes.append(record["error"].partition(":")[0])
            reason = f"{job.title}: {record['error']} ({record['folder']})"
            self.failed.append("  " + reason.replace("\n", "\n    "))
        else:
            self._outcome.finish(job, record["outputs"], computed=record["status"] == "computed")
