"""Memory and CPU of a run, second by second: of this process and of all that it starts."""

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
        "Description": "Resident memory of the processes; pages that they share count in each",
        "Units": "B",
    },
    "cpu": {
        "Description": "Time that processors worked for them, per time; 100 is one processor",
        "Units": "%",
    },
    "n_processes": {"Description": "Number of processes"},
}


@contextmanager
def resources_watched(output: OutputFolder, wanted: bool) -> Iterator[None]:
    """Write what the block takes to ``logs/resources.tsv``, however it ends.

    Parameters
    ----------
    output : OutputFolder
        The folder of the run.
    wanted : bool
        Whether to do so.
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
    this.cpu_percent()  # what it took before does not count
    known = {this.pid: this}
    with table.open("w", encoding="utf-8") as stream:
        stream.write("\t".join(COLUMNS) + "\n")
        while True:
            last = stop.wait(INTERVAL_S)
            _write_row(stream, time.monotonic() - start, known)
            if last:
                return


def _write_row(stream: TextIO, seconds: float, known: dict[int, psutil.Process]) -> None:
    """Add up the processes; ``known`` are those of the last row, since CPU is measured between."""
    this = psutil.Process()
    memory, cpu, number = 0, 0.0, 0
    for process in (this, *this.children(recursive=True)):
        process = known.setdefault(process.pid, process)
        try:
            with process.oneshot():
                memory += process.memory_info().rss
                cpu += process.cpu_percent()
            number += 1
        except psutil.Error:  # it has ended meanwhile
            known.pop(process.pid, None)
    stream.write(f"{seconds:.1f}\t{memory}\t{cpu:.0f}\t{number}\n")
    stream.flush()
