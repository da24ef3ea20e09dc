#!/usr/bin/env python3
"""Plant faults in the code, one at a time, and report those that no test notices.

Every fault of ``tests/faults.yaml`` is planted in a temporary copy of the tree, and its tests are
run there. A fault that they pass over has survived: it needs a test. One whose text no longer
occurs in its file exactly once is stale: it needs a new text.

    python scripts/plant_faults.py                     # all; half an hour
    python scripts/plant_faults.py --room selection    # one room
    python scripts/plant_faults.py --match tie-break   # those whose description has this word
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "opnmf_pipeline",
    "tests",
    "benchmarks",
    "configs",
    "containers",
    "docs",
    "pydra",
    "pyproject.toml",
)
"""What the tests need; an entry that a tree lacks is passed over."""

TIMEOUT = 600
"""Seconds. A fault that makes the tests run longer than this is noticed, too."""

CAUGHT, SURVIVED, STALE, BROKEN = "caught", "SURVIVED", "STALE", "BROKEN"
"""BROKEN: the tests fail without the fault, or cannot be collected with it."""

TESTS_PASSED, TESTS_FAILED = 0, 1
"""Exit statuses of pytest; all others mean that it could not run the tests."""


@dataclass(frozen=True)
class Fault:
    """One entry of the file: in `file` of the tree, `old` becomes `new`."""

    room: str
    fault: str
    """What is wrong then, in words."""
    file: str
    old: str
    new: str
    tests: str
    """Arguments for pytest, separated by blanks."""


def read_faults(path: Path) -> list[Fault]:
    """Read a YAML file that lists, for each room, its faults."""
    rooms = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Fault(room=room, **entry) for room, entries in rooms.items() for entry in entries]


def try_faults(faults: Sequence[Fault], root: Path) -> Iterator[tuple[Fault, str]]:
    """Yield each fault and what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(root, Path(folder))
        sound = {
            tests: run_tests(tree, tests) == TESTS_PASSED
            for tests in dict.fromkeys(each.tests for each in faults)
        }
        for fault in faults:
            yield fault, try_fault(fault, tree) if sound[fault.tests] else BROKEN


def copy_tree(root: Path, folder: Path) -> Path:
    """Copy code and tests, so that the working tree is left alone."""
    tree = folder / root.name
    tree.mkdir()
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (root / name).exists():
            shutil.copy(root / name, tree / name)
    return tree


def try_fault(fault: Fault, tree: Path) -> str:
    """Plant a fault, run its tests, take it out again."""
    path = tree / fault.file
    sound = path.read_text(encoding="utf-8") if path.exists() else ""
    if sound.count(fault.old) != 1:
        return STALE
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    status = run_tests(tree, fault.tests)
    path.write_text(sound, encoding="utf-8")
    return {TESTS_PASSED: SURVIVED, TESTS_FAILED: CAUGHT}.get(status, BROKEN)


def run_tests(tree: Path, tests: str) -> int:
    """Run tests on the code of a tree; return the exit status of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    # compiled files are trusted by time and size, which a fault may leave as they are
    settings = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            command, cwd=tree, env=settings, capture_output=True, timeout=TIMEOUT
        ).returncode
    except subprocess.TimeoutExpired:
        return TESTS_FAILED


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what became of each fault; return 1 if one was not caught."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="default: tests/faults.yaml of the tree")
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree, left alone")
    parser.add_argument("--room", help="only the faults of this room")
    parser.add_argument("--match", default="", help="only those whose description contains this")
    options = parser.parse_args(arguments)
    faults = [
        each
        for each in read_faults(options.file or options.root / "tests" / "faults.yaml")
        if options.room in (None, each.room) and options.match in each.fault
    ]
    outcomes = Counter[str]()
    for fault, outcome in try_faults(faults, options.root.resolve()):
        outcomes[outcome] += 1
        print(f"{outcome:8} {fault.room}: {fault.fault}", flush=True)
    print(", ".join(f"{number} {outcome}" for outcome, number in outcomes.items()) or "no faults")
    return int(set(outcomes) != {CAUGHT})


if __name__ == "__main__":
    sys.exit(main())
