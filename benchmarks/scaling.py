"""Cost of one iteration for different numbers of voxels, subjects and components.

``python -m benchmarks.scaling MATRIX.npy`` compares fits with and without compression, for the
first 1100, 1500, 2000, … columns of a matrix with many subjects, with one thread.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.measure import iteration_times
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import Array

AXES = {"voxels": 0, "subjects": 1, "components": 2}
BASE = (20_000, 100, 20)
FACTORS = (1, 2, 4)

SUBJECTS = (1100, 1500, 2000, 3000)


def scaling(n_timed: int, base: tuple[int, int, int] = BASE) -> dict[str, list[tuple[int, float]]]:
    """Return (size, seconds per iteration) along each axis; the other axes have size `base`."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name, axis in AXES.items():
        found[name] = []
        for factor in FACTORS:
            sizes = list(base)
            sizes[axis] *= factor
            found[name].append((sizes[axis], _seconds(sizes, n_timed)))
    return found


def slope(points: list[tuple[int, float]]) -> float:
    """Return the exponent of the power law through the points."""
    sizes, seconds = np.log(np.array(points)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def plot(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Draw one panel per axis."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True)
    for ax, (name, points) in zip(axes, found.items(), strict=True):
        ax.loglog(*np.transpose(points), "o-", color="tab:blue")
        ax.set_xlabel(name)
        ax.set_title(f"slope {slope(points):.2f}")
    axes[0].set_ylabel("seconds per iteration")
    figure.savefig(path, dpi=100)


def _seconds(sizes: list[int], n_timed: int) -> float:
    n_voxels, n_subjects, k = sizes
    rng = np.random.default_rng(0)
    X = rng.random((n_voxels, n_subjects), dtype=np.float32)
    W = rng.random((n_voxels, k), dtype=np.float32)
    return float(np.median(iteration_times(X, W, n_timed)))


def compression(
    X: Array, k: int, solver: str, subjects: tuple[int, ...] = SUBJECTS
) -> Iterator[tuple[int, str, float, OPNMF]]:
    """Yield (subjects, ``direct`` or ``compressed``, seconds, fit) for the first columns of X."""
    limit = "opnmf_pipeline.decomposition.compression.GRAM_COLUMNS"
    for n in subjects:
        part = np.ascontiguousarray(X[:, :n])
        for name, most in (("direct", n), ("compressed", n - 1)):
            with patch(limit, most):
                start = time.perf_counter()
                fit = OPNMF(k, solver=solver, random_state=0, n_threads=1).fit(part)
                yield n, name, time.perf_counter() - start, fit


def main() -> None:
    """Print a table for each solver that compresses."""
    X, k = np.load(sys.argv[1], mmap_mode="r"), 20
    for solver in sys.argv[2:] or ("accelerated", "orthonormal", "adaptive"):
        print(f"{solver}, {len(X)} voxels, k = {k}")
        print("| subjects | fit | s | error | KKT residual | iterations | passes | lost |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for n, name, seconds, fit in compression(X, k, solver):
            print(
                f"| {n} | {name} | {seconds:.1f} | {fit.reconstruction_err_:.2f} "
                f"| {fit.kkt_residual_:.1e} | {fit.n_iter_} | {fit.n_passes_} "
                f"| {fit.compression_loss_:.2%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
