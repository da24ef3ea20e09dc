"""Measure the time and the memory of `opnmf-pipeline select` on the real maps.

    python -m benchmarks.selection                       # k = 2, 4, …, 40, 10 splits: 400 half fits
    python -m benchmarks.selection --k 2 10 20 40 --splits 2        # fewer fits

Runs `opnmf-pipeline select` in an empty folder, measures the memory of all its processes twice per
second, and writes `selection.md` next to this file.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

from benchmarks.datasets import FOLDER

BOUNDS = {"minutes": 6.0, "GB": 1.5}
"""Limits for 400 half fits on two cores."""

N_INIT = 3
"""Number of starts of the solver orthonormal."""


def settings(ks: list[int], n_splits: int, n_permutations: int, solver: str) -> dict[str, object]:
    """Return the settings of the study."""
    data = (FOLDER / "mcic-vbm").resolve()
    return {
        "inputs": {"bids": str(data), "filters": {"label": "GM", "suffix": "probseg"}},
        "decomposition": {"n_components": ks, "solver": solver, "n_init": N_INIT},
        "selection": {
            "n_splits": n_splits,
            "stratify": ["age", "sex", "site"],
            "n_permutations": n_permutations,
        },
    }


def tree_memory(root: int) -> int:
    """Return the memory (PSS) of a process and its descendants, in bytes."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(path.name))
    total, waiting = 0, [root]
    while waiting:
        process = waiting.pop()
        waiting += children.get(process, [])
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def measure(command: list[str], log: Path) -> tuple[float, int]:
    """Run a command; return its time in seconds and its peak memory in bytes."""
    start, peak = time.perf_counter(), 0
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the command failed:\n{log.read_text()[-2000:]}")
    return time.perf_counter() - start, peak


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks.selection``."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.selection")
    parser.add_argument("--k", nargs="+", type=int, default=list(range(2, 41, 2)))
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--permutations", type=int, default=0)
    parser.add_argument("--solver", default="accelerated")
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser


def main(argv: list[str] | None = None) -> int:
    """Measure the study and write the table."""
    args = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "study.yaml"
        config.write_text(
            yaml.safe_dump(settings(args.k, args.splits, args.permutations, args.solver))
        )
        results, log = Path(folder) / "out", Path(folder) / "log"
        command = [str(Path(sys.executable).with_name("opnmf-pipeline")), "select", str(config)]
        command += ["--output", str(results), "--nprocs", str(args.nprocs)]
        seconds, peak = measure(command, log)
        table = (results / "group" / "desc-opnmf_metrics.tsv").read_text().splitlines()
        said = log.read_text().replace(folder, "FOLDER")
        fits = seconds_of_fits((results / "logs" / "opnmf-pipeline.log").read_text())
    assert len(table) == len(args.k) + 1, "a number of components is missing"
    text = report(args, seconds, fits, peak, said)
    args.out.write_text(text)
    print(text)
    return 0


def seconds_of_fits(log: str) -> float:
    """Return the time from the splits to the last fit of a half or from a random start."""
    ends = {
        "splits" if " splits computed" in line else "fits": datetime.fromisoformat(line[:19])
        for line in log.splitlines()
        if re.search(r"INFO - (splits|halves.*|start.*) computed$", line)
    }
    return (ends["fits"] - ends["splits"]).total_seconds()


def report(args: argparse.Namespace, seconds: float, fits: float, peak: int, said: str) -> str:
    """Return the page about the run."""
    n_ranks = len(args.k)
    rows = {
        "data": "mcic-vbm, 162 grey-matter maps at 3 mm, the default mask",
        "k": ", ".join(map(str, args.k)),
        "solver": args.solver + (f", {N_INIT} starts" if args.solver == "orthonormal" else ""),
        "half fits": f"{2 * args.splits * n_ranks} ({args.splits} splits)",
        "other fits": f"{n_ranks} of all subjects, {3 * n_ranks} from random starts, "
        f"{args.permutations * n_ranks} of shuffled data",
        "time of the fits of halves and from random starts": f"{fits / 60:.1f} minutes "
        f"(bound for 400 half fits: {BOUNDS['minutes']:g})",
        "time of the whole command": f"{seconds / 60:.1f} minutes",
        "largest memory of all processes": f"{peak / 1e9:.2f} GB (bound: {BOUNDS['GB']:g})",
        "machine": f"{os.cpu_count()} CPUs, {args.nprocs} used; {platform.platform()}",
    }
    lines = ["# Time and memory of `opnmf-pipeline select`", ""]
    lines += ["Measured with `python -m benchmarks.selection`:", ""]
    lines += [
        "| what | |",
        "| --- | --- |",
        *(f"| {name} | {text} |" for name, text in rows.items()),
    ]
    _, _, end = said.partition("quality: computed")
    return "\n".join([*lines, "", "The end of the output:", "", "```", end.strip(), "```", ""])


if __name__ == "__main__":
    sys.exit(main())
