"""Whole fits of this version against those of an older one, and against their matrix products.

``python -m benchmarks.versions CHECKOUT`` compares with the package in the folder CHECKOUT (such as
a worktree of commit d0279b6) on the real maps, in turn and with one thread. Every fit has a process
of its own, after a small fit that compiles or loads the kernels. The columns are medians:

* CPU seconds (they depend less on other work of the machine), error and times faster;
* pass: time of a pass over all rows, from the second one on, divided by that of X V and XᵀW. The
  pass at the end that only checks the residual counts as a pass;
* fit: time of the fit divided by that of the products of all its passes. A pass over a part of the
  rows or columns counts by that part.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.datasets import mcic_vbm

SOLVERS = {"adaptive": "accelerated", "orthonormal": "orthonormal"}
"""Solvers of this version, and those of the old one that they are compared with."""

OLD_FIT = """
import json, sys, time, warnings
import numpy as np
from opnmf_pipeline.decomposition import OPNMF
warnings.simplefilter("ignore")
path, k, solver = sys.argv[1], int(sys.argv[2]), sys.argv[3]
X, stamps, entries = np.load(path), [], [0]
fit = lambda X, k, **options: OPNMF(k, solver=solver, random_state=0, n_threads=1, **options).fit(X)
stamp = lambda _: stamps.append((time.process_time(), entries[0] / X.size))
fit(np.ascontiguousarray(X[::40]), 3)
"""

TIMED_FIT = """
begin = time.process_time()
model = fit(X, k, callback=stamp)
found = {"seconds": time.process_time() - begin, "error": float(model.mse_)}
"""

COUNTED = """
from opnmf_pipeline.decomposition.passes import RowBlocks
plain = RowBlocks.map
def counting(self, *args, **kwargs):
    entries[0] += self.shape[0] * self.shape[1]
    return plain(self, *args, **kwargs)
RowBlocks.map = counting
"""

PRODUCTS = """
W, V, seconds = np.asarray(model.coef_, X.dtype), np.ones((X.shape[1], k), X.dtype), []
for _ in range(5):
    begin = time.process_time()
    X @ V, X.T @ W
    seconds.append(time.process_time() - begin)
products = float(np.median(seconds))
if len(stamps) > 1:
    spent, passes = np.diff(stamps, axis=0).T
    found["pass"] = float(np.median(spent / passes)) / products
found["fit"] = found["seconds"] / (products * entries[0] / X.size)
"""

REPORT = "print(json.dumps(found))"

NEW = OLD_FIT + COUNTED + TIMED_FIT + PRODUCTS + REPORT
OLD = OLD_FIT + TIMED_FIT + REPORT


def fit(code: str, package: Path, matrix: Path, k: int, solver: str) -> dict[str, float]:
    """Return what one fit of the package in a folder prints."""
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    environment = os.environ | threads | {"PYTHONPATH": str(package)}
    command = [sys.executable, "-c", code, str(matrix), str(k), solver]
    done = subprocess.run(
        command, env=environment, cwd=package, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main(argv: list[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder that contains the old package")
    parser.add_argument("--k", nargs="+", type=int, default=[20, 50, 100])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    here = Path(__file__).parents[1]
    print("| solver | k | old: s | old: error | s | error | times faster | pass | fit |")
    print("|" + " --- |" * 9)
    with tempfile.TemporaryDirectory() as folder:
        matrix = Path(folder) / "matrix.npy"
        np.save(matrix, mcic_vbm())
        for solver in args.solvers:
            for k in args.k:
                runs = [
                    (
                        fit(OLD, args.checkout.resolve(), matrix, k, SOLVERS[solver]),
                        fit(NEW, here, matrix, k, solver),
                    )
                    for _ in range(args.repeats)
                ]
                old, new = (_medians([run[i] for run in runs]) for i in (0, 1))
                print(
                    f"| {solver} | {k} | {old['seconds']:.1f} | {old['error']:.2f} "
                    f"| {new['seconds']:.1f} | {new['error']:.2f} "
                    f"| {old['seconds'] / new['seconds']:.1f} "
                    f"| {new.get('pass', np.nan):.2f} | {new['fit']:.2f} |",
                    flush=True,
                )
    return 0


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


if __name__ == "__main__":
    raise SystemExit(main())
