"""Progress in a terminal: one bar for each running stage, one line for each completed stage."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["Terminal", "TerminalDisplay"]

Item = TypeVar("Item")


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
    """

    def __init__(self, console: Terminal) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self.console.print(text, soft_wrap=True)

    def track(self, items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
        """Yield ``items`` and count them."""
        task = self._progress.add_task(description, total=total, state=f"0/{total}")
        try:
            for number, item in enumerate(items, start=1):
                yield item
                self._progress.update(task, completed=number, state=f"{number}/{total}")
        finally:
            self._progress.remove_task(task)

    @contextmanager
    def fit(self, description: str, tol: float) -> Iterator[Callable[[Any], None]]:
        """Show the iterations of a fit; the bar shows log(change) on its way to log(tol)."""
        task = self._progress.add_task(description, total=1, state="starting")
        first = 0.0

        def show(record: Any) -> None:
            nonlocal first
            first = max(first, record.change)
            self._progress.update(
                task,
                completed=_decades_done(first, record.change, tol),
                state=f"iteration {record.iteration}, error {record.objective:.5g}, "
                f"change {record.change:.1e}",
            )

        try:
            yield show
        finally:
            self._progress.remove_task(task)


def _decades_done(first: float, change: float, tol: float) -> float:
    """Return the progress of the change from its first value to ``tol``, in [0, 1], in log."""
    if not 0 < tol < change <= first or first == change:
        return float(0 <= change <= tol)
    return math.log(first / change) / math.log(first / tol)
