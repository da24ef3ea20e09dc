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
from opnmf_pipeline.decomposition.spectrum import spectrum
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.selection.reproducibility import matched_inner_products
from opnmf_pipeline.selection.splits import split_halves

T = TypeVar("T")

XXT_BYTES = 500e6
"""Maximum size of XXᵀ; peers that need a larger XXᵀ are not run."""

TOL = 1e-5
SOLVERS = ("accelerated", "orthonormal")


@dataclass(frozen=True)
class Limits:
    """Time limits of a case.

    Attributes
    ----------
    max_iter : int
        Maximum number of iterations of published-mem.
    max_seconds : float
        Time limit of published-mem, in seconds.
    n_watched : int
        Number of iterations that published-mem runs itself. ``multiplicative`` runs the others,
        which give the same iterates; each counts with the time of one iteration of published-mem.
    n_restarts : int
        Number of restarts of the plain alternation.
    restart_seconds : float
        No restart begins after this number of seconds.
    n_timed : int
        Number of repetitions of each timed step.
    """

    max_iter: int = 20_000
    max_seconds: float = 1200.0
    n_watched: int = 20
    n_restarts: int = 50
    restart_seconds: float = 60.0
    n_timed: int = 9


Measures = dict[str, float]
"""Name of a quantity and its value; a quantity that was not measured is absent."""


def times(X: Array, k: int, limits: Limits) -> Measures:
    """Return the seconds of a start, and of one iteration of each program and of the products.

    The steps are timed in turn, so that other work slows all of them equally. The results are
    medians.
    """
    W = start(X, k)
    M, mem = X.T @ W, peers.published_mem(X)
    steps: dict[str, Callable[[], object]] = {
        "start: seconds": lambda: start(X, k),
        "products: seconds per iteration": lambda: (X @ M, X.T @ W),
        "published-mem: seconds per iteration": lambda: mem(W),
    }
    if X.shape[0] ** 2 * X.itemsize <= XXT_BYTES:
        xxt = peers.published_xxt(X)
        steps["published-xxt: seconds per iteration"] = lambda: xxt(W)
    found: dict[str, list[float]] = {name: [] for name in steps}
    ours: list[float] = []
    with np.errstate(invalid="ignore", divide="ignore"):
        for _ in range(limits.n_timed):
            for name, step in steps.items():
                begin = time.perf_counter()
                step()
                found[name].append(time.perf_counter() - begin)
            ours += iteration_times(X, W, 3)
    found["multiplicative: seconds per iteration"] = ours
    measures = {name: float(np.median(seconds)) for name, seconds in found.items()}
    if X.shape[0] ** 2 * X.itemsize <= XXT_BYTES and (package := peers.package_opnmf()):
        measures["opnmf 0.0.2: seconds per iteration"] = _package_time(package, X, k)
    return measures


def published(X: Array, k: int, limits: Limits) -> tuple[Array, Measures]:
    """Return the W of published-mem when it stops or reaches its limits."""
    run = peers.run(X, start(X, k), peers.published_mem(X), tol=TOL, max_iter=limits.n_watched)
    n_left = min(limits.max_iter, int(limits.max_seconds / run.seconds_per_iteration)) - run.n_iter
    W, n_iter, converged = run.W, run.n_iter, run.converged
    if n_left > 0 and not converged:
        model = _fit(X, k, "multiplicative", init="custom", max_iter=n_left, W_init=W)
        W, n_iter, converged = model.coef_, n_iter + model.n_iter_, model.converged_
    return W, {
        "published: error": float(np.linalg.norm(X - W @ (W.T @ X))),
        "published: iterations": n_iter,
        "published: converged": float(converged),
    }


def accelerated(X: Array, k: int, goal: float) -> Measures:
    """Run ``accelerated`` until it stops; record when it reaches the error of the published W."""
    reached: Measures = {}
    begin = time.perf_counter()

    def look(record: Iteration) -> None:
        if not reached and record.objective <= goal:
            reached["accelerated: passes to the published error"] = passes()
            reached["accelerated: seconds to the published error"] = time.perf_counter() - begin

    with count_passes(X.shape[0]) as passes:
        model = _fit(X, k, "accelerated", callback=look)
    return reached | {
        "accelerated: error": model.mse_,
        "accelerated: iterations": model.n_iter_,
        "accelerated: passes": passes(),
        "accelerated: seconds": time.perf_counter() - begin,
        "accelerated: KKT residual": model.kkt_residual_,
        "accelerated: largest rise": _largest_rise(model),
        "lower bound": model.lower_bound_,
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


def restarts(X: Array, k: int, limits: Limits) -> Measures:
    """Run the plain alternation from random voxels several times, and keep the best result."""
    begin = time.perf_counter()
    errors: list[float] = []
    with RowBlocks(X, "float32") as blocks:
        while len(errors) < limits.n_restarts:
            rows = np.random.default_rng(len(errors)).choice(len(X), k, replace=False)
            V = X[rows].T.astype(np.float64)
            V /= np.maximum(np.linalg.norm(V, axis=0), 1e-12)
            progress = Progress(TOL, 300)
            alternate(blocks, np.zeros((len(X), k), dtype=np.float32), V, progress)
            errors.append(progress.history[-1].objective)
            if time.perf_counter() - begin > limits.restart_seconds:
                break
    seconds = (time.perf_counter() - begin) / len(errors) * limits.n_restarts
    return {
        "restarts: number": len(errors),
        "restarts: error": min(errors),
        f"restarts: seconds of {limits.n_restarts}": seconds,
    }


def reproducibility(X: Array, k: int, n_splits: int, limits: Limits) -> Measures:
    """Return mean matched inner product and adjusted Rand index of split halves, per solver."""
    found: Measures = {}
    for solver in ("published", *SOLVERS):
        scores = []
        for first, second in split_halves(X.shape[1], n_splits, random_state=0):
            A, B = (_weights(X[:, half], k, solver, limits) for half in (first, second))
            labels = A.argmax(axis=1), B.argmax(axis=1)
            inner = float(np.mean(matched_inner_products(A, B)))
            scores.append((inner, adjusted_rand_score(*labels)))
        inner, rand = np.mean(scores, axis=0)
        found |= {f"{solver}: inner product": inner, f"{solver}: Rand index": rand}
    return found


def start(X: Array, k: int) -> Array:
    """Return the NNDSVD start."""
    with RowBlocks(X, "float32") as blocks:
        found = spectrum(blocks, k)
        return initial_weights(
            blocks, k, "nndsvd", found, float(X.mean()), np.random.RandomState(0)
        )


@contextmanager
def count_passes(n_rows: int) -> Iterator[Callable[[], float]]:
    """Count the rows that are read, in units of all rows; a sample counts as its fraction."""
    plain, rows_read = RowBlocks.map, [0]

    def counting(self: RowBlocks, function: Callable[[slice, Array], T]) -> Iterator[T]:
        rows_read[0] += self.shape[0]
        return plain(self, function)

    with mock.patch.object(RowBlocks, "map", counting):
        yield lambda: rows_read[0] / n_rows


def _weights(X: Array, k: int, solver: str, limits: Limits) -> Array:
    X = np.ascontiguousarray(X)
    if solver != "published":
        return _fit(X, k, solver).coef_
    return published(X, k, limits)[0]


def _fit(X: Array, k: int, solver: str, W_init: Array | None = None, **parameters: Any) -> OPNMF:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return OPNMF(k, solver=solver, random_state=0, **parameters).fit(X, W_init=W_init)


def _largest_rise(model: OPNMF) -> float:
    """Return the largest rise of the error between iterations, relative to the error."""
    objectives = np.array([record.objective for record in model.history_])
    return float(np.max(np.diff(objectives) / objectives[1:], initial=0.0))


def iteration_times(X: Array, W: Array, n: int) -> list[float]:
    """Return the seconds of iterations of ``multiplicative``."""
    stamps: list[float] = []
    _fit(
        X,
        W.shape[1],
        "multiplicative",
        W_init=W,
        init="custom",
        tol=0,
        max_iter=n + 1,
        callback=lambda _: stamps.append(time.perf_counter()),
    )
    return np.diff(stamps).tolist()


def _package_time(opnmf: Callable[..., Any], X: Array, k: int) -> float:
    """Return the seconds per iteration of the package: (time of 25 − time of 5 iterations) / 20."""
    seconds = []
    for n in (5, 25):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            begin = time.perf_counter()
            opnmf(X, k, max_iter=n)
            seconds.append(time.perf_counter() - begin)
    return (seconds[1] - seconds[0]) / 20
