"""Memory of a fit, and the speed of a sweep over a memory-mapped matrix."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.measure import Measures
from opnmf_pipeline.decomposition.multiplicative import orthonormal_rule
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, sweep
from opnmf_pipeline.decomposition.solvers import SOLVERS

FULL = (200_000, 300, 20)
QUICK = (20_000, 60, 5)

FIT = """
import resource, sys, warnings
import numpy as np
from opnmf_pipeline.decomposition import OPNMF
warnings.simplefilter("ignore")
X = np.load(sys.argv[1])
OPNMF(int(sys.argv[2]), solver=sys.argv[3], max_iter=3, n_init=2, random_state=0).fit(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(shape: tuple[int, int, int]) -> Measures:
    """Return the memory of each solver without X and 4 W, and the cost of a sweep from a file."""
    n_voxels, n_subjects, k = shape
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "matrix.npy"
        X = rng.random((n_voxels, n_subjects), dtype=np.float32)
        np.save(path, X)
        data = (X.nbytes + 4 * 4 * n_voxels * k) / 1e6
        found = {
            f"memory of {solver} beside X and 4 W: MB": _peak(path, k, solver) - data
            for solver in SOLVERS
        }
        return found | _mapped(path, X, k)


def _peak(path: Path, k: int, solver: str) -> float:
    """Return the peak memory of a fit in a separate process, in MB."""
    command = [sys.executable, "-c", FIT, str(path), str(k), solver]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024 / 1e6


def _mapped(path: Path, X: Array, k: int) -> Measures:
    """Time three steps in turn: read the file, the two products, sweep over the memory map."""
    W = np.random.default_rng(1).random((len(X), k), dtype=np.float32)
    M = X.T @ W
    seconds: dict[str, list[float]] = {"read": [], "products": [], "sweep": []}
    for _ in range(7):
        begin = time.perf_counter()
        np.fromfile(path, dtype=np.float32)
        seconds["read"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        X @ M, X.T @ W
        seconds["products"].append(time.perf_counter() - begin)
        with RowBlocks(np.load(path, mmap_mode="r"), "float32") as blocks:
            state = moments(blocks, W)
            scaled, rule = orthonormal_rule(state.M, state.G)
            begin = time.perf_counter()
            sweep(blocks, W.copy(), scaled, rule)
            seconds["sweep"].append(time.perf_counter() - begin)
    read, products, mapped = (float(np.median(times)) for times in seconds.values())
    return {"memory-mapped sweep / reading the file and the products": mapped / (read + products)}
