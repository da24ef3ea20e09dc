"""Command line of the benchmarks."""

import argparse
import sys
from pathlib import Path

from benchmarks import report, scaling
from benchmarks.datasets import DATASETS, QUICK
from benchmarks.measure import Limits, measure, reproducibility

QUICK_LIMITS = Limits(max_iter=300, max_seconds=10, n_restarts=5, n_timed=5, accelerated_iter=300)
QUICK_BASE = (2000, 40, 5)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m benchmarks``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small simulated data, two minutes")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--k", nargs="+", type=int, help="numbers of components; default: all")
    parser.add_argument(
        "--minutes", type=float, default=20, help="time that published-mem gets per case"
    )
    parser.add_argument("--restarts", type=int, default=50, help="plain restarts to compare with")
    parser.add_argument(
        "--splits", type=int, default=3, help="split halves of mcic-vbm, 0 for none"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks and write ``README.md`` and ``scaling.png``."""
    args = build_parser().parse_args(argv)
    limits = Limits(max_seconds=60 * args.minutes, n_restarts=args.restarts)
    chosen = {name: DATASETS[name] for name in args.datasets}
    if args.quick:
        limits, chosen = QUICK_LIMITS, QUICK
    results: report.Results = {}
    for name, (load, ks) in chosen.items():
        X = load()
        for k in args.k or ks:
            print(f"{name} {X.shape[0]} x {X.shape[1]}, k = {k}", flush=True)
            found = measure(X, k, limits)
            if args.splits and (args.quick or (name == "mcic-vbm" and k in (10, 20))):
                found |= reproducibility(X, k, args.splits, limits)
            results[name, k] = found
    args.out.mkdir(parents=True, exist_ok=True)
    costs = scaling.scaling(limits.n_timed, QUICK_BASE if args.quick else scaling.BASE)
    scaling.plot(costs, args.out / "scaling.png")
    slopes = {name: scaling.slope(points) for name, points in costs.items()}
    command = "python -m benchmarks " + " ".join(sys.argv[1:] if argv is None else argv)
    notes = [
        f"published-mem: at most {limits.max_iter} iterations or {limits.max_seconds:g} s a case",
        f"{limits.n_restarts} plain restarts",
    ]
    report.write(results, slopes, command.strip(), notes, args.out / "README.md")
    print(report.bounds_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
