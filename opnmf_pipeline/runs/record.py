"""What a run took: for the registry of the output folder and the report."""

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
    """Return date, command, time, memory and machine of the run that is ending.

    Parameters
    ----------
    computed : sequence of str
        Stages that it computed.
    seconds : float
        Time since it began.
    n_procs : int
        Processes and threads that it could use.
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
    """Return the most that this process or one of its children took; no jobs on other machines."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(usage.ru_maxrss for usage in usages) * MAXRSS_BYTES
