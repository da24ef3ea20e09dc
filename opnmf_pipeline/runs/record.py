"""The record of a run: its time, memory and command, for the registry and the report."""

from __future__ import annotations

import platform
import resource
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["run_record"]

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


def run_record(computed: Sequence[str], seconds: float, n_procs: int) -> dict[str, Any]:
    """Return the record of the current run, at its end.

    Parameters
    ----------
    computed : sequence of str
        Titles of the jobs that were computed.
    seconds : float
        Time since the start of the run, in seconds.
    n_procs : int
        Number of processes and threads that were available.

    Returns
    -------
    dict
        ``Date`` (UTC), ``Command``, ``Seconds``, ``PeakMemoryBytes``, ``System``, ``Processes`` and
        ``Computed``; convertible to JSON.
    """
    program, *arguments = sys.argv
    return {
        "Date": datetime.now(UTC).isoformat(timespec="seconds"),
        "Command": shlex.join([Path(program).name, *arguments]),
        "Seconds": round(seconds, 1),
        "PeakMemoryBytes": _peak_memory(),
        "System": platform.platform(),
        "Processes": n_procs,
        "Computed": list(computed),
    }


def _peak_memory() -> int:
    """Return the peak memory of the largest process, in bytes.

    Processes are this one and its children; jobs on other machines are not included.
    """
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(usage.ru_maxrss for usage in usages) * MAXRSS_BYTES
