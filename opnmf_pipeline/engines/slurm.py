"""The Slurm jobs of a Pydra run."""

from __future__ import annotations

import re
from typing import Any

import attrs
from pydra.workers import slurm

from opnmf_pipeline.engines.processes import RESULT
from opnmf_pipeline.engines.resources import sbatch_options
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.nodes import pydra as nodes

__all__ = ["SlurmWorker"]

ERROR_FILE_MSG = (
    "execution.plugin_args: sbatch_args: remove {option}; Pydra needs to choose the file itself"
)


@attrs.define(getstate_setstate=False)  # keep Pydra's own methods: the worker must be picklable
class SlurmWorker(slurm.Worker):  # type: ignore[misc]
    """Slurm worker that requests memory for each job, estimated from the size of its inputs.

    Parameters
    ----------
    threads : int
        CPUs to request for each job.
    sbatch_args : str
        Further arguments of sbatch. ``--mem`` and ``--cpus-per-task`` in it replace the estimates.

    Raises
    ------
    ConfigError
        ``sbatch_args`` sets the error file, which Pydra has to choose itself.
    """

    _plugin_name = "slurm"

    threads: int = 1

    def __attrs_post_init__(self) -> None:
        """Refuse an error file of the user: Pydra could not read the errors of its jobs."""
        if option := re.search(r"(?:^|\s)(-e|--error)\b", self.sbatch_args):
            raise ConfigError(ERROR_FILE_MSG.format(option=option[1]))

    async def run(self, job: Any, rerun: bool = False) -> Any:
        """Submit one job and wait for its end; gather outputs and look up a known result here."""
        is_known = not rerun and (job.cache_dir / RESULT).exists()
        if is_known or type(job.task).__name__ not in nodes.STAGES:
            return job.run(rerun)
        added = sbatch_options(_memory(job.task), self.threads, self.sbatch_args)
        sized = attrs.evolve(  # type: ignore[call-arg]
            self, sbatch_args=" ".join([*added, self.sbatch_args]).strip()
        )
        return await super(SlurmWorker, sized).run(job, rerun)

    async def _verify_exit_code(self, jobid: str) -> Any:
        """Treat a job that ran out of time as failed; Pydra would submit it again without end."""
        try:
            status = await super()._verify_exit_code(jobid)
        except (LookupError, OSError):  # the job wrote no error file
            status = "FAILED"
        if status in ("CANCELLED", "TIMEOUT", "FAILED"):
            raise RuntimeError(f"Slurm job {jobid}: {status}; see {self.error[jobid]}")
        return status


def _memory(task: Any) -> int:
    """Return the most memory that a task needs, in bytes."""
    stage = nodes.STAGES[type(task).__name__]
    values = attrs.asdict(task, recurse=False)
    return stage.memory({name: value for name, value in values.items() if value is not None})
