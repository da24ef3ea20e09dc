"""Compare the time of the solvers with that of other programs, and write README.md."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import measure, memory, report, scaling
from benchmarks.datasets import DATASETS, QUICK
from benchmarks.measure import Limits, Measures
from opnmf_pipeline.decomposition.passes import Array

QUICK_LIMITS = Limits(max_iter=300, max_seconds=10, n_timed=3, restart_seconds=5)
QUICK_BASE = (2000, 40, 5)
RESULTS = "results.json"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="use small simulated data; takes two minutes"
    )
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--k", nargs="+", type=int, help="numbers of components; default: all")
    parser.add_argument(
        "--minutes", type=float, default=20, help="time limit of published-mem per case"
    )
    parser.add_argument(
        "--splits", type=int, default=3, help="number of split halves of mcic-vbm; 0: none"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).parent,
        help="output folder; measures in its results.json are not measured again",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks and write ``README.md`` and ``scaling.png``."""
    args = build_parser().parse_args(argv)
    limits = QUICK_LIMITS if args.quick else Limits(max_seconds=60 * args.minutes)
    args.out.mkdir(parents=True, exist_ok=True)
    results = Results(args.out / RESULTS)
    for name, (load, ks) in (QUICK if args.quick else DATASETS).items():
        if name not in args.datasets and not args.quick:
            continue
        X = load()
        for k in args.k or ks:
            print(f"{name} {X.shape[0]} x {X.shape[1]}, k = {k}", flush=True)
            splits = args.splits if args.quick or (name == "mcic-vbm" and k in (10, 20)) else 0
            measure_case(results, f"{name}, k = {k}", X, k, limits, splits)
    results.add(
        "memory", "memory", lambda: memory.measure(memory.QUICK if args.quick else memory.FULL)
    )
    costs = scaling.scaling(limits.n_timed, QUICK_BASE if args.quick else scaling.BASE)
    scaling.plot(costs, args.out / "scaling.png")
    slopes = {name: scaling.slope(points) for name, points in costs.items()}
    command = "python -m benchmarks " + " ".join(sys.argv[1:] if argv is None else argv)
    notes = [
        f"published-mem: at most {limits.max_iter} iterations or {limits.max_seconds:g} s per case."
        f" It runs the first {limits.n_watched} iterations itself. `multiplicative` runs the other "
        "iterations, which give the same iterates; each counts with the time of one iteration of "
        "published-mem",
        f"{limits.n_restarts} plain restarts: no restart begins after {limits.restart_seconds:g} s,"
        " and the total time is extrapolated from the completed restarts",
    ]
    report.write(results.merged(), slopes, command.strip(), notes, args.out / "README.md")
    print(report.bounds_table(results.merged()))
    return 0


class Results:
    """Measures that are stored in a file, so that an interrupted run can continue."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, dict[str, Measures]] = (
            json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        )

    def add(self, case: str, group: str, function: Callable[[], Measures]) -> Measures:
        """Return the measures of a group; measure them if the file does not contain them."""
        groups = self.found.setdefault(case, {})
        if group not in groups:
            groups[group] = function()
            text = json.dumps(self.found, indent=1, ensure_ascii=False)
            self.path.write_text(text + "\n", encoding="utf-8")
        return groups[group]

    def merged(self) -> report.Results:
        """Return all measures of each case."""
        return {
            case: {name: value for group in groups.values() for name, value in group.items()}
            for case, groups in self.found.items()
        }


def measure_case(
    results: Results, case: str, X: Array, k: int, limits: Limits, n_splits: int
) -> None:
    results.add(case, "times", lambda: measure.times(X, k, limits))
    peer = results.add(case, "published", lambda: measure.published(X, k, limits)[1])
    results.add(case, "accelerated", lambda: measure.accelerated(X, k, peer["published: error"]))
    results.add(case, "orthonormal", lambda: measure.orthonormal(X, k))
    results.add(case, "restarts", lambda: measure.restarts(X, k, limits))
    if n_splits:
        splits = lambda: measure.reproducibility(X, k, n_splits, limits)  # noqa: E731
        results.add(case, "reproducibility", splits)


if __name__ == "__main__":
    sys.exit(main())
