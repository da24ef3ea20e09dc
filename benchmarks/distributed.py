"""Passes over X on Dask workers against the same passes in memory: time, bytes, and the model.

    python -m benchmarks.distributed FOLDER                # three sizes, the largest of 2 GB
    python -m benchmarks.distributed FOLDER --rows 20000   # one size

The sweeps of both take turns in one run, so that other load on the machine hits both alike. The
memory in use is three times the largest matrix. The model is that of docs/howto/distributed.md.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from distributed import Client, LocalCluster

from opnmf_pipeline.decomposition.crew import Crew
from opnmf_pipeline.decomposition.distributed import DistributedBlocks
from opnmf_pipeline.decomposition.multiplicative import orthonormal_rule
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, sweep

N_COLUMNS, K = 1000, 20
ROWS = (20_000, 100_000, 500_000)
N_WORKERS = 2


def matrix(folder: Path, n_rows: int) -> Path:
    """Write random rows, and return the path."""
    path = folder / f"matrix-{n_rows}.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_COLUMNS))
    rng = np.random.default_rng(0)
    for first in range(0, n_rows, 10_000):
        block = X[first : first + 10_000]
        block[...] = rng.random(block.shape, dtype=np.float32)
    X.flush()
    return path


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the workers so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


class Sweeps:
    """Published updates, one at a time."""

    def __init__(self, X: RowBlocks, W: Array) -> None:
        self.X = X
        self.W = X.held(W)
        self.state = moments(X, self.W)

    def step(self) -> None:
        """Make one update."""
        norm = float(np.sqrt(np.linalg.eigvalsh(self.state.G)[-1]))
        M, rule = orthonormal_rule(*self.state.of_scaled(norm))
        self.state = sweep(self.X, self.W, M, rule)


def received(client: Client) -> int:
    """Return how many bytes workers have received from other workers."""

    def total(dask_worker: object) -> int:
        log = dask_worker.transfer_incoming_log  # type: ignore[attr-defined]
        return sum(entry["total"] for entry in log)

    return int(sum(client.run(total).values()))


def compare(path: Path, n_rounds: int) -> dict[str, float]:
    """Return seconds per sweep of both, and what workers received, measured and by the formula."""
    X = np.load(path, mmap_mode="r")
    W = np.random.default_rng(1).random((len(X), K), dtype=np.float32)
    options = {"n_workers": N_WORKERS, "threads_per_worker": 1, "dashboard_address": ":0"}
    orders = []
    with (
        LocalCluster(**options) as cluster,
        Client(cluster, set_as_default=False) as client,
        RowBlocks(np.array(X), "float32", N_WORKERS) as local,
        DistributedBlocks(X, "float32", Crew(client, len(X))) as remote,
    ):
        ours, theirs = Sweeps(local, W.copy()), Sweeps(remote, W)
        theirs.step()
        ours.step()
        plain = remote.crew.send
        remote.crew.send = lambda order: orders.append(len(order)) or plain(order)  # type: ignore
        before, times = received(client), []
        for _ in range(n_rounds):
            times.append((*timed(ours.step), *timed(theirs.step)))
        moved = (received(client) - before) / n_rounds
        np.testing.assert_allclose(theirs.state.M, ours.state.M, rtol=1e-4)
    walls, cpus = ([(row[i], row[i + 2]) for row in times] for i in (0, 1))
    sums = 8 * (N_COLUMNS * K + K**2)
    return {
        "rows": len(X),
        "wall_memory": statistics.median(one for one, _ in walls),
        "wall_workers": statistics.median(other for _, other in walls),
        "wall_ratio": statistics.median(other / one for one, other in walls),
        "cpu_memory": statistics.median(one for one, _ in cpus),
        "cpu_workers": statistics.median(other for _, other in cpus),
        "cpu_ratio": statistics.median(other / one for one, other in cpus),
        "order_bytes": statistics.mean(orders),
        "received_bytes": moved,
        "formula_bytes": (N_WORKERS - 1) * (4 * N_COLUMNS * K + 8 * K**2 + sums),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    for n_rows in args.rows:
        path = matrix(args.folder, n_rows)
        found = compare(path, args.rounds)
        path.unlink()
        print(json.dumps({**found, "cpus": os.cpu_count(), "load": os.getloadavg()[0]}), flush=True)


if __name__ == "__main__":
    main()
