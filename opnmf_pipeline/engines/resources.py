"""CPUs and memory that are available to this process, and how jobs share them."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path

import joblib
import psutil

from opnmf_pipeline.config import ExecutionConfig
from opnmf_pipeline.engines.graph import Step
from opnmf_pipeline.exceptions import ConfigError

__all__ = [
    "available_memory",
    "n_procs_of",
    "n_threads_of",
    "require_script_path",
    "sbatch_options",
    "threads_of",
]

SCRIPT_PATH_MSG = (
    "execution.work_dir: {folder}: the plugin {plugin} writes this path into scripts without "
    "quotes; choose a folder whose path has no spaces and no special characters with --work-dir"
)
MIB = 2**20
CGROUP_ROOT = Path("/sys/fs/cgroup")
CGROUP_OF_PROCESS = Path("/proc/self/cgroup")
LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Files of a control group that hold its memory limit, in cgroup versions 2 and 1."""


def n_procs_of(execution: ExecutionConfig) -> int:
    """Return the number of processes and threads that a run may use.

    Without ``n_procs`` it is the number of CPUs that are available to the process. The affinity of
    the process, the quota of its control group and the allocation of a Slurm job can limit it.
    """
    if execution.n_procs is not None:
        return execution.n_procs
    cpus = int(joblib.cpu_count())
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(cpus, int(given)) if given.isdecimal() and int(given) else cpus


def n_threads_of(execution: ExecutionConfig) -> int:
    """Return the largest number of threads that one fit may use."""
    n_procs = n_procs_of(execution)
    return min(execution.omp_nthreads or n_procs, n_procs)


def threads_of(step: Step, execution: ExecutionConfig) -> int:
    """Return the number of threads for each job of a step when all its jobs run in parallel."""
    n_procs = n_procs_of(execution)
    most = n_threads_of(execution) if step.is_fit else n_procs
    return min(most, max(1, n_procs // step.n_runs))


def require_script_path(work_dir: Path, plugin: str) -> None:
    """Require a folder whose path a script of a batch system can hold without quotes.

    Raises
    ------
    ConfigError
        The path contains a space, a quotation mark or another special character.
    """
    if shlex.quote(str(work_dir)) != str(work_dir):
        raise ConfigError(SCRIPT_PATH_MSG.format(folder=work_dir, plugin=plugin))


def sbatch_options(n_bytes: float, n_procs: int, given: str) -> list[str]:
    """Return the options of sbatch that request memory and CPUs for one job.

    Parameters
    ----------
    n_bytes : float
        Most memory that the job needs, in bytes.
    n_procs : int
        CPUs of the job.
    given : str
        Options of the user; what they set is left out.
    """
    wanted = {"--mem": f"{math.ceil(n_bytes / MIB)}M", "--cpus-per-task": str(n_procs)}
    return [f"{name}={value}" for name, value in wanted.items() if name not in given]


def available_memory() -> int:
    """Return the memory available to this process, in bytes.

    It is the smallest of the memory of the machine, the limits of the control groups of the process
    (a container has one), and the allocation of a Slurm job.
    """
    machine = int(psutil.virtual_memory().total)
    return min([machine, *_cgroup_limits(), *_slurm_limits()])


def _cgroup_limits() -> list[int]:
    """Return the memory limits of the control groups of this process and of their parents."""
    try:
        lines = CGROUP_OF_PROCESS.read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = CGROUP_ROOT / "memory" if controllers else CGROUP_ROOT
        if controllers and "memory" not in controllers.split(","):
            continue
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                limits += _limit(folder)
    return limits


def _limit(folder: Path) -> list[int]:
    for name in LIMIT_FILES:
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        return [int(text)] if text.isdecimal() else []  # "max" means that there is no limit
    return []


def _slurm_limits() -> list[int]:
    limits = []
    per_node = os.environ.get("SLURM_MEM_PER_NODE", "")
    if per_node.isdecimal() and int(per_node):
        limits.append(int(per_node) * MIB)
    per_cpu, cpus = (
        os.environ.get(f"SLURM_{name}", "") for name in ("MEM_PER_CPU", "CPUS_ON_NODE")
    )
    if per_cpu.isdecimal() and cpus.isdecimal() and int(per_cpu):
        limits.append(int(per_cpu) * int(cpus) * MIB)
    return limits
