"""Progress in a terminal: one bar for each running stage, one line for each completed stage.

Without a terminal, as in the log of a batch job, a line per minute says how far the stages are.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TextColumn, TimeElapsedColumn

from opnmf_pipeline.cli.timeleft import Course, left_of_items, words

__all__ = ["Terminal", "TerminalDisplay"]

Item = TypeVar("Item")

LINE_EVERY_S = 60.0


class Terminal(Console):
    """The terminal: texts are shown as they are, and the run continues if nobody reads them.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        # Names of folders and subjects can contain brackets, which Rich takes for markup
        super().__init__(quiet=quiet, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Show no more, instead of ending the run: the reader, such as `head`, has ended."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class TerminalDisplay:
    """Shows the progress of a run in a terminal; use it as a context manager.

    Parameters
    ----------
    console : Terminal
        Console to draw on.
    line_every : float
        Seconds between two lines, if the console is not a terminal.
    """

    def __init__(self, console: Console, line_every: float = LINE_EVERY_S) -> None:
        self.console = console
        self._line_every = line_every
        self._last_note = ""
        self._stop = threading.Event()
        self._lines = threading.Thread(target=self._print_lines, daemon=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        if self.console.is_terminal:
            self._progress.start()
        else:
            self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._progress.stop()
        self._stop.set()
        if self._lines.is_alive():
            self._lines.join()

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._last_note = text
        self.console.print(text, soft_wrap=True)

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items``, count them, and estimate the time for the others."""
        task = self._progress.add_task(description, total=total, state=f"0/{total}", left="")
        start = time.monotonic()
        try:
            for number, item in enumerate(items, start=1):
                yield item
                left = words(left_of_items(time.monotonic() - start, number, total))
                self._progress.update(task, completed=number, state=f"{number}/{total}", left=left)
        finally:
            self._progress.remove_task(task)

    @contextmanager
    def fit(self, description: str) -> Iterator[Callable[[Any], None]]:
        """Show the iterations of a fit; the bar shows how far its measure of convergence fell."""
        task = self._progress.add_task(description, total=1, state="looking for a start", left="")
        course, start = Course(), time.monotonic()

        def show(record: Any) -> None:
            course.add(time.monotonic() - start, record.distance)
            self._progress.update(
                task,
                completed=course.share_done(),
                state=f"iteration {record.iteration}, error {record.objective:.5g}, "
                f"change {record.change:.1e}",
                left=words(course.left()),
            )

        try:
            yield show
        finally:
            self._progress.remove_task(task)

    def _print_lines(self) -> None:
        start = time.monotonic()
        while not self._stop.wait(self._line_every):
            minutes = round((time.monotonic() - start) / 60)
            running = [_line(task) for task in self._progress.tasks]
            for text in running or [f"running; finished last: {self._last_note}"]:
                self.console.print(f"after {minutes} min: {text}", soft_wrap=True)


def _line(task: Task) -> str:
    left = task.fields["left"]
    return f"{task.description}: {task.fields['state']}" + (f", {left}" if left else "")
