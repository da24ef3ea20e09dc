"""Memory and CPU use of a run, once per second: this process and its child processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

import psutil

from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.dataset.folder import OutputFolder

__all__ = ["resources_watched"]

INTERVAL_S = 1.0
COLUMNS = {
    "seconds": {"Description": "Time since the run began", "Units": "s"},
    "memory": {
        "Description": "Resident memory of the processes, summed; pages that processes share are "
        "counted once for each process",
        "Units": "B",
    },
    "cpu": {
        "Description": "CPU use of the processes, summed; 100 means one CPU",
        "Units": "%",
    },
    "n_processes": {"Description": "Number of processes"},
}


@contextmanager
def resources_watched(output: OutputFolder, wanted: bool) -> Iterator[None]:
    """Record memory and CPU use inside the with block in ``logs/resources.tsv``.

    The file is written at the end of the block, also after an error.

    Parameters
    ----------
    output : OutputFolder
        The folder of the run.
    wanted : bool
        Whether to record; if False, nothing is done.
    """
    if not wanted:
        yield
        return
    stop = threading.Event()
    with TemporaryDirectory() as folder:
        table = Path(folder) / "resources.tsv"
        watcher = threading.Thread(target=_watch, args=(table, stop), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
            output.publish("resources", table)
            output.write_text("resources_json", json_text(COLUMNS))


def _watch(table: Path, stop: threading.Event) -> None:
    start = time.monotonic()
    this = psutil.Process()
    this.cpu_percent()  # starts the measurement, so that earlier CPU time does not count
    known = {this.pid: this}
    with table.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(COLUMNS) + "\n")
        while True:
            last = stop.wait(INTERVAL_S)
            _write_row(stream, time.monotonic() - start, known)
            if last:
                return


def _write_row(stream: TextIO, seconds: float, known: dict[int, psutil.Process]) -> None:
    """Sum over the processes, and write a row.

    CPU use is measured since the previous row, so ``known`` keeps the processes of that row.
    """
    this = psutil.Process()
    memory, cpu, number = 0, 0.0, 0
    for process in (this, *this.children(recursive=True)):
        process = known.setdefault(process.pid, process)
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                cpu += process.cpu_percent()
            number += 1
        except psutil.Error:  # the process has just ended
            known.pop(process.pid, None)
    stream.write(f"{seconds:.1f}\t{memory}\t{cpu:.0f}\t{number}\n")
    stream.flush()
