"""The outputs of the jobs of a run; every engine reports its jobs to the same object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from opnmf_pipeline.engines.graph import Job
from opnmf_pipeline.progress import Display

__all__ = ["Outcome"]

Check = Callable[[Job, Mapping[str, Any]], None]

logger = logging.getLogger(__name__)


class Outcome:
    """Outputs of the jobs that have finished; logs and displays the end of each job.

    Parameters
    ----------
    display : Display
        Shows one line for each job.
    check : callable, optional
        Called by the local engine with each finished job and its outputs. The other engines do not
        call it.

    Attributes
    ----------
    computed : list of str
        Titles of the jobs that were computed; the others were reused from an earlier run.
    failed : list of str
        Titles of the jobs that failed.
    """

    def __init__(self, display: Display, check: Check | None = None) -> None:
        self.check = check
        self.computed: list[str] = []
        self.failed: list[str] = []
        self._display = display
        self._outputs: dict[str, tuple[Job, Mapping[str, Any]]] = {}

    def finish(self, job: Job, outputs: Mapping[str, Any], *, computed: bool) -> None:
        """Record the outputs of a finished job, and log and display that it has finished.

        Parameters
        ----------
        job : Job
            The job.
        outputs : mapping of str to path or list of path
            Its outputs by name.
        computed : bool
            Whether it was computed in this run; if not, it was reused from an earlier run.
        """
        how = "computed" if computed else "reused"
        logger.info("%s %s", job.title, how)
        self._display.note(f"{job.title}: {how}")
        self.add(job, outputs)
        if computed:
            self.computed.append(job.title)

    def add(self, job: Job, outputs: Mapping[str, Any]) -> None:
        """Record the outputs of a job without a message."""
        self._outputs[job.name] = job, outputs

    def fail(self, job: Job, error: object) -> None:
        """Record, log and display that a job has failed."""
        logger.info("%s failed: %s", job.title, error)
        self._display.note(f"{job.title}: failed")
        self.failed.append(job.title)

    def outputs(self, job: Job) -> Mapping[str, Any] | None:
        """Return the outputs of a job, or None if it has not finished."""
        _, outputs = self._outputs.get(job.name, (None, None))
        return outputs

    def path(self, step: str, output: str) -> Path | None:
        """Return an output of a step with one job, or None if the job has not finished."""
        for job, outputs in self._outputs.values():
            if job.step.name == step:
                return Path(outputs[output])
        return None

    def by_rank(self, step: str, output: str) -> dict[int, Path]:
        """Return an output of a step by number of components, for the jobs that have finished."""
        return {
            job.k: Path(outputs[output])
            for job, outputs in self._outputs.values()
            if job.step.name == step and job.k is not None
        }

    def paths(self, step: str, output: str) -> list[Path]:
        """Return an output of a step from each of its jobs that has finished."""
        found = self._outputs.values()
        return [Path(outputs[output]) for job, outputs in found if job.step.name == step]
