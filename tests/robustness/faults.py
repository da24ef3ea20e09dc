"""Faults on purpose: damaged files, and runs that end or fail at one change of the file system.

To try another kind of damage, add a function to :data:`DAMAGES`. To try another fault, add a
function to :data:`FAULTS` and call :func:`run_with_faults` with its name.
"""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.robustness.generated import tried


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path):
    path.write_bytes(b"")


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _extend(path):
    path.write_bytes(path.read_bytes() + b"\0")


DAMAGES = {
    "truncated": _truncate,
    "empty": _empty,
    "one bit": _flip,
    "a byte more": _extend,
    "missing": Path.unlink,
}
"""Functions that damage a file, by name."""


WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
"""Events of :func:`sys.addaudithook` that change the file system; so does an ``open`` to write."""


def _kill(event):
    os.killpg(0, signal.SIGKILL)


def _full(event):
    if event in ("os.remove", "os.rmdir"):  # a full disk does not refuse them
        return
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS = {"kill": _kill, "full": _full}
"""What happens at a change, by name."""
MOMENT = "kill at a moment"
"""Instead of one of :data:`FAULTS`: the run is killed at random moments, wherever it is."""


@dataclass
class Case:
    """A run with a fault at one change of the file system, and the same run again without it.

    Attributes
    ----------
    change : int
        Number of the change, from 1.
    event : str
        The change.
    code, again : int
        Exit codes of both runs; negative: number of the signal that ended it.
    text, text_again : str
        What they printed.
    out : path
        The output folder after the second run.
    """

    change: int
    event: str
    code: int
    text: str
    again: int
    text_again: str
    out: Path


class _Hook:
    """Counts the changes in a folder by this process and its children; one has a fault."""

    def __init__(self, folder, change=None, fault=None, *, once=True):
        self.count = multiprocessing.Value("i", 0)
        self.folder, self.change, self.fault, self.once = folder, change, fault, once

    def __call__(self, event, args):
        if not self._counts(event, args):
            return
        with self.count.get_lock():
            self.count.value += 1
            number = self.count.value
        if number == self.change or (not self.once and number > (self.change or number)):
            os.write(2, f"\nFAULT {event} {args[0]!r}\n".encode())
            FAULTS[self.fault](event)

    def _counts(self, event, args):
        if event == "open":
            flags = args[2]
            if not isinstance(flags, int) or not flags & WRITES:
                return False
        elif event not in CHANGES:
            return False
        path = args[0]
        if not isinstance(path, str | os.PathLike):
            return False
        folder = Path.cwd()
        if event in ("os.remove", "os.rmdir", "os.mkdir") and args[-1] not in (-1, None):
            folder = Path(f"/proc/self/fd/{args[-1]}").readlink()
        return (folder / path).is_relative_to(self.folder)


def _run(arguments, log, hook=None, seconds=None):
    """Run a command in a fork of this process; return its exit code and what it printed.

    If ``seconds`` is given, the process and its workers are killed after this time.
    """
    from opnmf_pipeline.cli.main import main

    process = os.fork()
    if process == 0:
        os.setsid()
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = 1
        try:
            if hook is not None:
                sys.addaudithook(hook)
            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), Path(log).read_text(errors="replace")


def _spread(n_changes, n_cases):
    """Return numbers of changes: all, or some from the first to the last."""
    if n_cases is None:
        return range(1, n_changes + 1)
    return sorted({1 + round(i * (n_changes - 1) / (n_cases - 1)) for i in range(n_cases)})


def _runner(folder, arguments, fault, n_cases, once):
    """Print one line of JSON for each change; every change has a folder of its own."""
    from opnmf_pipeline.cli.main import main

    def command(change):
        return [*arguments, "--output", str(folder / f"change-{change}"), "--quiet"]

    # This process imports what all runs need; each run is a fork of it
    assert main(command(0)) == 0
    counted, start = _Hook(folder / "change-1"), time.monotonic()
    assert _run(command(1), folder / "log.txt", counted)[0] == 0
    length, rng = time.monotonic() - start, random.Random(0)
    shutil.rmtree(folder / "change-1")
    if fault == MOMENT:
        plan = {number: {"seconds": rng.uniform(0, length)} for number in range(1, n_cases + 1)}
    else:
        plan = {
            number: {"hook": _Hook(folder / f"change-{number}", number, fault, once=once)}
            for number in _spread(counted.count.value, n_cases)
        }
    for number, broken in plan.items():
        code, text = _run(command(number), folder / "log.txt", **broken)
        again, text_again = _run(command(number), folder / "log.txt")
        event = text.partition("FAULT ")[2].partition("\n")[0]
        print(json.dumps([number, event, code, text, again, text_again]), flush=True)


def run_with_faults(folder, arguments, fault, n_cases=None, *, once=True):
    """Yield a :class:`Case` for each change of the file system in a run, or for some moments.

    Parameters
    ----------
    folder : path
        Folder for the output folders of the runs; ``change-0`` is of a run without fault.
    arguments : list of str
        Command line after ``opnmf-pipeline``, without ``--output``.
    fault : str
        Key of :data:`FAULTS`, or :data:`MOMENT`.
    n_cases : int, optional
        Number of changes to try, spread over the run, or of moments. Default: all changes.
    once : bool
        Whether the fault happens at this change only, or at all later changes too.
    """
    given = json.dumps([str(folder), arguments, fault, n_cases, once])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.robustness.faults", given]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as runner:
        for line in runner.stdout:
            case = json.loads(line)
            tried()
            yield Case(*case, folder / f"change-{case[0]}")
    assert runner.returncode == 0


if __name__ == "__main__":
    folder, *rest = json.loads(sys.argv[1])
    _runner(Path(folder), *rest)
