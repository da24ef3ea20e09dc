"""How well do solvers agree between halves of the subjects of the real maps?

``python -m benchmarks.halves`` prints one row per solver and number of components: the mean cosine
of matched components and the adjusted Rand index of the labels of two halves, each fitted from a
start of its own; means over splits of mcic-vbm. Behind each stands by how much the first solver is
better on the same splits, with the standard deviation of these differences over splits.
"""

import argparse
import os
from collections.abc import Sequence
from functools import partial

import joblib
import numpy as np

from benchmarks.datasets import mcic_vbm
from benchmarks.planted import Solve, fit
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.selection.reproducibility import cosine_and_rand_index
from opnmf_pipeline.selection.splits import Split, split_halves

SOLVERS: dict[str, Solve] = {
    "adaptive": partial(fit, solver="adaptive"),
    "accelerated": partial(fit, solver="accelerated", init="random"),
    "accelerated, NNDSVD in both halves": partial(fit, solver="accelerated"),
    "orthonormal": partial(fit, solver="orthonormal"),
}
MEASURES = ("cosine", "ARI")


def agreement(X: Array, split: Split, number: int, k: int, solve: Solve) -> tuple[float, float]:
    """Return cosine and Rand index of two halves; seeds differ between all halves."""
    seeds = (2 * number, 2 * number + 1)
    first, second = (
        solve(np.ascontiguousarray(X[:, half]), k, seed)
        for half, seed in zip(split, seeds, strict=True)
    )
    return cosine_and_rand_index(first, second)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--k", nargs="+", type=int, default=[5, 10, 20, 40])
    parser.add_argument("--splits", type=int, default=20)
    args = parser.parse_args(arguments)
    X = mcic_vbm()
    splits = list(enumerate(split_halves(X.shape[1], args.splits, 0)))
    head = [f"{measure} | better by" for measure in MEASURES]
    print("|", " | ".join(["k", "solver", *head]), "|")
    print("| --- | --- | --- | --- | --- | --- |")
    parallel = joblib.Parallel(n_jobs=os.cpu_count())
    for k in args.k:
        reference = None
        for name, solve in SOLVERS.items():
            jobs = (joblib.delayed(agreement)(X, split, n, k, solve) for n, split in splits)
            found = np.array(parallel(jobs))
            reference = found if reference is None else reference
            better = reference - found
            cells = [
                f"{found[:, i].mean():.3f} | {better[:, i].mean():+.3f} ± {better[:, i].std():.3f}"
                for i in range(len(MEASURES))
            ]
            print("|", " | ".join([str(k), name, *cells]), "|", flush=True)


if __name__ == "__main__":
    main()
