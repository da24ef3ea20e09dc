"""Measure one case: one data set and one number of components."""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from unittest import mock

import numpy as np
from sklearn.metrics import adjusted_rand_score

from benchmarks import peers
from opnmf_pipeline.decomposition import OPNMF, Iteration
from opnmf_pipeline.decomposition.initialization import initial_weights
from opnmf_pipeline.decomposition.orthonormal import alternate
from opnmf_pipeline.decomposition.passes import Array, RowBlocks
from opnmf_pipeline.decomposition.progress import Progress
from opnmf_pipeline.decomposition.reproducibility import matched_inner_products
from opnmf_pipeline.decomposition.spectrum import spectrum
from opnmf_pipeline.decomposition.splits import split_halves
from opnmf_pipeline.exceptions import ConvergenceWarning

T = TypeVar("T")

XXT_BYTES = 500e6
"""XXᵀ is formed for published-xxt up to this size."""

TOL = 1e-5


@dataclass(frozen=True)
class Limits:
    """How long a case may take."""

    max_iter: int = 20_000
    max_seconds: float = 1200.0
    n_restarts: int = 50
    n_timed: int = 10
    accelerated_iter: int = 5000


Measures = dict[str, float]
"""Name of a quantity and its value; a quantity that was not measured is absent."""


def measure(X: Array, k: int, limits: Limits) -> Measures:
    """Run all solvers and peers on X."""
    W, found = start(X, k)
    found |= iteration_times(X, W, limits.n_timed)
    peer = published(X, W.copy(), limits)
    found |= {
        "published: error": peer.error,
        "published: iterations": peer.n_iter,
        "published: seconds": peer.seconds,
        "published: converged": float(peer.converged),
    }
    found |= accelerated(X, k, peer.error, limits)
    found |= orthonormal(X, k)
    return found | restarts(X, k, limits.n_restarts)


def published(X: Array, W: Array, limits: Limits) -> peers.PeerRun:
    """Run published-mem until it stops or has used up its limits."""
    return peers.run(
        X,
        W,
        peers.published_mem(X),
        tol=TOL,
        max_iter=limits.max_iter,
        max_seconds=limits.max_seconds,
    )


def start(X: Array, k: int) -> tuple[Array, Measures]:
    """Return the NNDSVD start and the time that it takes."""
    begin = time.perf_counter()
    with RowBlocks(X, "float32") as blocks:
        found = spectrum(blocks, k)
        rng = np.random.RandomState(0)
        W = initial_weights(blocks, k, "nndsvd", found, float(X.mean()), rng)
    seconds = time.perf_counter() - begin
    return W, {"start: seconds": seconds, "lower bound": found.lower_bound(k)}


def iteration_times(X: Array, W: Array, n: int) -> Measures:
    """Return seconds per iteration of the reference, its peers, and the two products alone."""
    M = X.T @ W
    found = {
        "products: seconds per iteration": _median_time(lambda: (X @ M, X.T @ W), n),
        "published-mem: seconds per iteration": _median_step(peers.published_mem(X), W, n),
        "multiplicative: seconds per iteration": _multiplicative_time(X, W, n),
    }
    if X.shape[0] ** 2 * X.itemsize <= XXT_BYTES:
        step = peers.published_xxt(X)
        found["published-xxt: seconds per iteration"] = _median_step(step, W, n)
    return found


def accelerated(X: Array, k: int, goal: float, limits: Limits) -> Measures:
    """Run ``accelerated`` to its own stop, noting when it had the error of the published update."""
    reached: Measures = {}
    begin = time.perf_counter()

    def look(record: Iteration) -> None:
        if not reached and record.objective <= goal:
            reached["accelerated: passes to the published error"] = passes()
            reached["accelerated: seconds to the published error"] = time.perf_counter() - begin

    with count_passes(X.shape[0]) as passes:
        model = _fit(X, k, "accelerated", callback=look, max_iter=limits.accelerated_iter)
    return reached | {
        "accelerated: error": model.mse_,
        "accelerated: iterations": model.n_iter_,
        "accelerated: passes": passes(),
        "accelerated: seconds": time.perf_counter() - begin,
        "accelerated: KKT residual": model.kkt_residual_,
        "accelerated: largest rise": _largest_rise(model),
    }


def orthonormal(X: Array, k: int) -> Measures:
    """Run ``orthonormal``."""
    begin = time.perf_counter()
    with count_passes(X.shape[0]) as passes:
        model = _fit(X, k, "orthonormal")
    W = model.coef_.astype(np.float64)
    return {
        "orthonormal: error": model.mse_,
        "orthonormal: passes": passes(),
        "orthonormal: seconds": time.perf_counter() - begin,
        "orthonormal: deviation of WᵀW from I": float(np.abs(W.T @ W - np.eye(k)).max()),
        "orthonormal: largest rise": _largest_rise(model),
    }


def restarts(X: Array, k: int, n: int) -> Measures:
    """Run the plain alternation from random voxels, n times, and keep the best."""
    begin = time.perf_counter()
    errors = []
    with RowBlocks(X, "float32") as blocks:
        for seed in range(n):
            rows = np.random.default_rng(seed).choice(len(X), k, replace=False)
            V = X[rows].T.astype(np.float64)
            V /= np.maximum(np.linalg.norm(V, axis=0), 1e-12)
            progress = Progress(TOL, 300)
            alternate(blocks, np.zeros((len(X), k), dtype=np.float32), V, progress)
            errors.append(progress.history[-1].objective)
    return {"restarts: error": min(errors), "restarts: seconds": time.perf_counter() - begin}


def reproducibility(X: Array, k: int, n_splits: int, limits: Limits) -> Measures:
    """Return mean matched inner product and adjusted Rand index of split halves, per solver."""
    found: Measures = {}
    for solver in ("published", "accelerated", "orthonormal"):
        scores = []
        for first, second in split_halves(X.shape[1], n_splits, random_state=0):
            A, B = (_weights(X[:, half], k, solver, limits) for half in (first, second))
            labels = A.argmax(axis=1), B.argmax(axis=1)
            inner = float(np.mean(matched_inner_products(A, B)))
            scores.append((inner, adjusted_rand_score(*labels)))
        inner, rand = np.mean(scores, axis=0)
        found |= {f"{solver}: inner product": inner, f"{solver}: Rand index": rand}
    return found


@contextmanager
def count_passes(n_rows: int) -> Iterator[Callable[[], float]]:
    """Count rows that are read, in units of all rows: samples of rows count as their share."""
    plain, rows_read = RowBlocks.map, [0]

    def counting(self: RowBlocks, function: Callable[[slice, Array], T]) -> Iterator[T]:
        rows_read[0] += self.shape[0]
        return plain(self, function)

    with mock.patch.object(RowBlocks, "map", counting):
        yield lambda: rows_read[0] / n_rows


def _weights(X: Array, k: int, solver: str, limits: Limits) -> Array:
    X = np.ascontiguousarray(X)
    if solver != "published":
        return _fit(X, k, solver, max_iter=limits.accelerated_iter).coef_
    W, _ = start(X, k)
    return published(X, W, limits).W


def _fit(X: Array, k: int, solver: str, **parameters: Any) -> OPNMF:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return OPNMF(k, solver=solver, random_state=0, **parameters).fit(X)


def _largest_rise(model: OPNMF) -> float:
    """Return the largest rise of the error between iterations, relative to the error."""
    objectives = np.array([record.objective for record in model.history_])
    return float(np.max(np.diff(objectives) / objectives[1:], initial=0.0))


def _multiplicative_time(X: Array, W: Array, n: int) -> float:
    stamps: list[float] = []
    model = OPNMF(
        W.shape[1],
        init="custom",
        tol=0,
        max_iter=n + 1,
        callback=lambda _: stamps.append(time.perf_counter()),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, W_init=W)
    return float(np.median(np.diff(stamps)))


def _median_step(step: peers.Step, W: Array, n: int) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _median_time(lambda: step(W), n)


def _median_time(function: Callable[[], object], n: int) -> float:
    times = []
    for _ in range(n):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
