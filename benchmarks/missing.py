"""How well parts are found when values are missing: masked fits against filled data.

``python -m benchmarks.missing --out FILE`` writes a table: the adjusted Rand index of the labels
with the planted ones when a share of the values is missing, at random or as slabs, for masked fits
(``OPNMF(missing='masked')``), for zeros in place of the missing values, and for the mean of each
voxel over the subjects that have it. The cohorts are made by ``planted_cohort.py``, a tool beside
the test data.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks.datasets import FOLDER
from benchmarks.planted import tool
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.exceptions import ConvergenceWarning

SHARES = (0.05, 0.1, 0.2, 0.4)

HEAD = """# Are the planted parts found when values are missing?

Made by `{command}`:
{n_voxels} voxels, {n_subjects} subjects, k = {k}, solver `{solver}`, means over {seeds} seeds.

* The cells are the adjusted Rand index with the planted labels.
* At random: each value is missing with this probability.
* Slabs: each subject lacks whole slices at one end of a random axis, as if they were outside the
  field of view; they have at most this share of its voxels.
* Masked is `matrix.nan: masked`. Its last columns are the relative error of the values that it puts
  in place of the missing ones, and its time, next to that of the fit of zeros.
"""

COLUMNS = (
    "parts",
    "noise",
    "missing",
    "complete",
    "masked",
    "zeros",
    "means",
    "error of filled",
    "s",
    "s, zeros",
)


def at_random(shape: tuple[int, int], share: float, rng: np.random.Generator, _: Array) -> Array:
    """Return which values are missing, (n_voxels, n_subjects), each with the same probability."""
    return rng.random(shape) < share


def slabs(
    shape: tuple[int, int], share: float, rng: np.random.Generator, positions: Array
) -> Array:
    """Return which values are missing: slices of each subject, at one end of a random axis."""
    missing = np.zeros(shape, dtype=bool)
    for subject in range(shape[1]):
        along = positions[:, rng.integers(3)] * rng.choice([-1, 1])
        missing[:, subject] = along < np.quantile(along, share)
    return missing


PATTERNS: dict[str, Callable[..., Array]] = {"at random": at_random, "slabs": slabs}


def with_means(X: Array) -> Array:
    """Return X with the mean of the row in place of NaN."""
    means = np.nanmean(X, axis=1, keepdims=True)
    filled: Array = np.where(np.isnan(X), means, X)
    return filled


def scores(X: Array, missing: Array, W: Array, solver: str, seed: int) -> list[float]:
    """Return the measures of one cohort, in the order of the columns."""
    labels, k = W.argmax(axis=1), W.shape[1]
    observed = np.where(missing, np.nan, X).astype(np.float32)

    def ari(data: Array) -> tuple[float, OPNMF, float]:
        begin = time.perf_counter()
        model = OPNMF(k, solver=solver, random_state=seed, missing="masked").fit(data)
        seconds = time.perf_counter() - begin
        return float(adjusted_rand_score(labels, model.coef_.argmax(axis=1))), model, seconds

    complete, masked = ari(X), ari(observed)
    zeros, means = ari(np.where(missing, 0, X)), ari(with_means(observed))
    filled = (masked[1].coef_ @ masked[1].components_)[missing]
    wrong = float(np.linalg.norm(filled - X[missing]) / np.linalg.norm(X[missing]))
    return [complete[0], masked[0], zeros[0], means[0], wrong, masked[2], zeros[2]]


def main(argv: list[str] | None = None) -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.missing", description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["hard", "soft"])
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--noise", nargs="+", type=float, default=[0.5])
    parser.add_argument("--subjects", type=int, default=100)
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--step", type=int, default=8, help="use every n-th voxel")
    parser.add_argument("--solver", default="adaptive")
    parser.add_argument("--out", type=Path, help="file to write; default: print")
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", ConvergenceWarning)
    mask = nb.load(FOLDER / "planted" / "mask.nii.gz").get_fdata() > 0
    positions = np.argwhere(mask)[:: args.step]
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for kind in args.kinds:
        for noise in args.noise:
            cohorts = [
                tool().cohort(kind, args.k, noise, args.subjects, seed, args.step)
                for seed in range(args.seeds)
            ]
            for pattern, make in PATTERNS.items():
                for share in args.shares:
                    found = []
                    for seed, (X, W) in enumerate(cohorts):
                        missing = make(X.shape, share, np.random.default_rng(seed), positions)
                        found.append(scores(X, missing, W, args.solver, seed))
                    cells = [format(value, ".2f") for value in np.mean(found, axis=0)]
                    row = [kind, f"{noise:g}", f"{share:.0%} {pattern}", *cells]
                    lines.append("| " + " | ".join(row) + " |")
                    print(lines[-1], flush=True)
    command = f"python -m benchmarks.missing --noise {' '.join(map(str, args.noise))} --out FILE"
    head = HEAD.format(
        command=command,
        n_voxels=len(positions),
        n_subjects=args.subjects,
        k=args.k,
        solver=args.solver,
        seeds=args.seeds,
    )
    if args.out is not None:
        args.out.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
