"""Cost of one iteration for different numbers of voxels, subjects and components."""

from pathlib import Path

import numpy as np

from benchmarks.measure import iteration_times

AXES = {"voxels": 0, "subjects": 1, "components": 2}
BASE = (20_000, 100, 20)
FACTORS = (1, 2, 4)


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
