"""The published updates in their published form: two passes and an SVD of W per iteration."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

Step = Callable[[Array], Array]


def published_mem(X: Array) -> Step:
    """Return the update W ∘ X(XᵀW) ⊘ W(MᵀM), which does not form XXᵀ."""

    def step(W: Array) -> Array:
        M = X.T @ W
        return _finish(W * (X @ M) / (W @ (M.T @ M)))

    return step


def published_xxt(X: Array) -> Step:
    """Return the update W ∘ KW ⊘ W(WᵀKW), which forms K = XXᵀ once."""
    K = X @ X.T

    def step(W: Array) -> Array:
        return _finish(W * (K @ W) / (W @ (W.T @ K @ W)))

    return step


def _finish(W: Array) -> Array:
    W[W < 1e-16] = 1e-16
    W /= np.linalg.norm(W, ord=2)
    return W


def package_opnmf() -> Callable[..., Any] | None:
    """Return the function of the PyPI package opnmf 0.0.2, if it is installed."""
    try:
        from opnmf.opnmf import opnmf
    except ImportError:
        return None
    function: Callable[..., Any] = opnmf
    return function


@dataclass(frozen=True)
class PeerRun:
    """Result of a peer when it stopped."""

    W: Array
    n_iter: int
    seconds_per_iteration: float
    converged: bool


def run(X: Array, W: Array, step: Step, *, tol: float, max_iter: int) -> PeerRun:
    """Iterate until the change is below `tol`, at most `max_iter` times."""
    seconds: list[float] = []
    converged = False
    while not converged and len(seconds) < max_iter:
        begin = time.perf_counter()
        old, W = W, step(W)
        converged = bool(np.linalg.norm(old - W) / np.linalg.norm(old) < tol)
        seconds.append(time.perf_counter() - begin)
    return PeerRun(W, len(seconds), float(np.median(seconds)), converged)
