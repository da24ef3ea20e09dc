"""Our solvers against those of other authors on real data, one after the other in one process.

``python -m benchmarks.contest`` prints one row per program, means over seeds: the error ‖X − WWᵀX‖
of its W at the best scale, the error once each row keeps its largest weight only (exactly
orthonormal), and its CPU seconds. Each program has one thread and ends by its own rule. Below
stands the error ‖X − WH‖ of scikit-learn, which no W and H of ours can have: H is free there.
"""

import argparse
import time
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
from sklearn.decomposition import NMF, MiniBatchNMF
from threadpoolctl import threadpool_limits

from benchmarks.datasets import faces, mcic_vbm
from benchmarks.opponents import OPPONENTS
from benchmarks.planted import Solve, error, fit
from opnmf_pipeline.decomposition.passes import Array

DATA = {"faces": (faces, (10, 20, 50)), "mcic-vbm": (mcic_vbm, (10, 20))}
SOLVERS: dict[str, Solve] = {
    "orthonormal": partial(fit, solver="orthonormal"),
    "adaptive": partial(fit, solver="adaptive"),
    "accelerated": partial(fit, solver="accelerated"),
    **{name: solve for name, solve in OPPONENTS.items() if name != "plain NMF"},
}
FLOORS = {
    "NMF, cd": partial(NMF, init="nndsvda", max_iter=500),
    "NMF, mu": partial(NMF, init="nndsvda", solver="mu", max_iter=500),
    "MiniBatchNMF": partial(MiniBatchNMF, init="nndsvda"),
}


def hardened(X: Array, W: Array) -> float:
    """Return the error once each row keeps its largest weight, and components follow their rows."""
    labels = W.argmax(axis=1)
    parts = (X[labels == j] for j in range(W.shape[1]))
    explained = sum(
        np.linalg.norm(part.astype(np.float64), ord=2) ** 2 for part in parts if len(part)
    )
    return float(np.sqrt(np.sum(np.square(X, dtype=np.float64)) - explained))


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each data set and number of components."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contest", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--k", nargs="+", type=int, help="numbers of components; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    for name in args.data:
        load, ks = DATA[name]
        X = load()
        for k in args.k or ks:
            print(f"\n{name}, {X.shape[0]} x {X.shape[1]}, k = {k}\n")
            with threadpool_limits(1):
                compare(X, k, args.seeds)
    return 0


def compare(X: Array, k: int, seeds: int) -> None:
    """Print one row per program."""
    print("| program | error | exactly orthonormal | s |\n|" + " --- |" * 4)
    fit(np.ascontiguousarray(X[::40]), 3, 0, solver="adaptive")  # compiles
    for program, solve in SOLVERS.items():
        found = np.mean([scores(X, k, seed, solve) for seed in range(seeds)], axis=0)
        print("|", program, "|", " | ".join(f"{value:.2f}" for value in found), "|", flush=True)
    for program, make in FLOORS.items():
        begin = time.process_time()
        floor = make(k, random_state=0).fit(X).reconstruction_err_
        print(f"| {program}: ‖X - WH‖ | {floor:.2f} | | {time.process_time() - begin:.2f} |")


def scores(X: Array, k: int, seed: int, solve: Solve) -> tuple[float, float, float]:
    """Return both errors and the CPU seconds of one fit."""
    begin = time.process_time()
    W = solve(X, k, seed)
    seconds = time.process_time() - begin
    return error(X, W), hardened(X, W), seconds


if __name__ == "__main__":
    raise SystemExit(main())
