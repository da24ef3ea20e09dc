"""Passes over X on a device against its copy and matrix rates, and against the processor.

    python -m benchmarks.gpu                                          # 200 000 x 1 000, k = 100
    python -m benchmarks.gpu --device cpu --rows 20000 --columns 200 --k 10

Of each solver, the median time of a pass is compared with the tighter of two limits: the time of
its two products at the matrix rate of the device, and the time of its copies at the copy rate. The
solver `adaptive` makes the passes of `accelerated` or of `orthonormal`. Needs torch.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from opnmf_pipeline.decomposition import device as devices
from opnmf_pipeline.decomposition.accelerated import Steps, descend
from opnmf_pipeline.decomposition.device import BLOCK_BYTES, Device, DeviceBlocks
from opnmf_pipeline.decomposition.multiplicative import multiplicative
from opnmf_pipeline.decomposition.orthonormal import alternate
from opnmf_pipeline.decomposition.passes import Array, RowBlocks, moments, squared_norm
from opnmf_pipeline.decomposition.progress import Progress
from opnmf_pipeline.selection.shape import unit_columns

SQUARE = 2048
"""Side of the matrices whose product gives the matrix rate."""

N_PRODUCTS = 10

Pass = Callable[[RowBlocks, Array, Progress], object]


def published(X: RowBlocks, W: Array, progress: Progress) -> object:
    return multiplicative(X, W, progress)


def accelerated(X: RowBlocks, W: Array, progress: Progress) -> object:
    state = moments(X, W)
    return descend(X, W, unit_columns(state.M), state, Steps(), progress)


def orthonormal(X: RowBlocks, W: Array, progress: Progress) -> object:
    return alternate(X, W, unit_columns(moments(X, W).M), progress)


PASSES: dict[str, Pass] = {
    "multiplicative": published,
    "accelerated": accelerated,
    "orthonormal": orthonormal,
}


def data(n_rows: int, n_columns: int, k: int) -> tuple[Array, Array]:
    """Return X with overlapping parts and noise, and the W that it was made of."""
    rng = np.random.default_rng(0)
    H = rng.gamma(1.0, size=(k, n_columns)).astype(np.float32)
    W = np.empty((n_rows, k), np.float32)
    X = np.empty((n_rows, n_columns), np.float32)
    for first in range(0, n_rows, 10_000):
        rows = slice(first, min(first + 10_000, n_rows))
        W[rows] = rng.gamma(0.1, size=(rows.stop - first, k))
        noise = rng.random((rows.stop - first, n_columns), np.float32)
        np.matmul(W[rows], H, out=X[rows])
        X[rows] += 0.1 * noise
    return X, W


def fastest(work: Callable[[], object], n_rounds: int) -> float:
    """Return the least time of a few calls after a first one, which prepares things."""
    times = []
    for _ in range(n_rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def operations(device: Device, shape: tuple[int, int], k: int, n_rounds: int) -> float:
    """Return operations per second of the product of two matrices on the device."""
    one, other = (device.put(np.ones(size, np.float32)) for size in (shape, (shape[1], k)))

    def products() -> None:
        for _ in range(N_PRODUCTS):
            product = one @ other
        device.fetch(product[:1, :1])  # waits until the last one is there

    return N_PRODUCTS * 2 * shape[0] * shape[1] * k / fastest(products, n_rounds)


def rates(device: Device, n_columns: int, k: int, n_rounds: int) -> dict[str, float]:
    """Return bytes per second of copies to and from the device, and operations per second."""
    block = np.ones((BLOCK_BYTES // (4 * n_columns), n_columns), np.float32)
    there = device.put(block)
    return {
        "copy_to": block.nbytes / fastest(lambda: device.put(block), n_rounds),
        "copy_from": block.nbytes / fastest(lambda: device.fetch(there), n_rounds),
        "operations": operations(device, (SQUARE, SQUARE), SQUARE, n_rounds),
        "operations_of_a_block": operations(device, block.shape, k, n_rounds),
    }


def limits(rate: dict[str, float], shape: tuple[int, int], k: int, streams: bool) -> list[float]:
    """Return the seconds of a pass by the matrix rate and by the copy rates."""
    n, c = shape
    to, back = 4 * (n * k + streams * n * c), 4 * n * k  # the new W, X; XM
    copies = to / rate["copy_to"] + back / rate["copy_from"]
    return [4 * n * c * k / rate["operations"], copies]


def seconds(X: RowBlocks, W: Array, run: Pass, n_rounds: int) -> float:
    """Return the median time of a pass."""
    times: list[float] = []
    squared_norm(X)
    run(X, W.copy(), Progress(0, n_rounds + 1, lambda _: times.append(time.perf_counter())))
    return statistics.median(np.diff(times))


@contextmanager
def places(X: Array, name: str) -> Iterator[dict[str, RowBlocks]]:
    """Yield X as row blocks of the processor, on the device, and copied to it in every pass."""
    copied = devices.opened(name)
    copied.room = 0
    with (
        RowBlocks(X, "float32") as here,
        DeviceBlocks(X, "float32", devices.opened(name)) as there,
        DeviceBlocks(X, "float32", copied) as streamed,
    ):
        yield {"processor": here, "device": there, "streamed": streamed}


def measure(name: str, n_rows: int, n_columns: int, k: int, n_rounds: int) -> Iterator[dict]:
    """Yield the rates of the device, and then the times of each solver."""
    rate = rates(devices.opened(name), n_columns, k, n_rounds)
    yield rate
    X, W = data(n_rows, n_columns, k)
    for solver, run in PASSES.items():
        with places(X, name) as blocks:
            times = {place: seconds(each, W, run, n_rounds) for place, each in blocks.items()}
        found: dict[str, object] = {"solver": solver, **times}
        for place in "device", "streamed":
            products, copies = limits(rate, X.shape, k, place == "streamed")
            found[f"{place}_limit"] = max(products, copies)
            found[f"{place}_limited_by"] = "products" if products > copies else "copies"
            found[f"{place}_share_of_limit"] = max(products, copies) / times[place]
            found[f"{place}_times_faster"] = times["processor"] / times[place]
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=1000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    load = {"cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({**vars(args), **load}), flush=True)
    for found in measure(args.device, args.rows, args.columns, args.k, args.rounds):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
