"""The published updates, as published: two passes over X and an SVD of W per iteration."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

Step = Callable[[Array], Array]


def published_mem(X: Array) -> Step:
    """W ∘ X(XᵀW) ⊘ W(MᵀM), which never forms XXᵀ."""

    def step(W: Array) -> Array:
        M = X.T @ W
        return _finish(W * (X @ M) / (W @ (M.T @ M)))

    return step


def published_xxt(X: Array) -> Step:
    """W ∘ KW ⊘ W(WᵀKW), with K = XXᵀ formed once."""
    K = X @ X.T

    def step(W: Array) -> Array:
        return _finish(W * (K @ W) / (W @ (W.T @ K @ W)))

    return step


def _finish(W: Array) -> Array:
    W[W < 1e-16] = 1e-16
    W /= np.linalg.norm(W, ord=2)
    return W


@dataclass(frozen=True)
class PeerRun:
    """What a peer had when it stopped."""

    W: Array
    error: float
    n_iter: int
    seconds: float
    converged: bool


def run(
    X: Array, W: Array, step: Step, *, tol: float, max_iter: int, max_seconds: float
) -> PeerRun:
    """Iterate until the change is below `tol`, or a limit is reached."""
    begin = time.perf_counter()
    n_iter, converged = 0, False
    while not converged and n_iter < max_iter and time.perf_counter() - begin < max_seconds:
        old, W = W, step(W)
        converged = bool(np.linalg.norm(old - W) / np.linalg.norm(old) < tol)
        n_iter += 1
    seconds = time.perf_counter() - begin
    error = float(np.linalg.norm(X - W @ (W.T @ X)))
    return PeerRun(W, error, n_iter, seconds, converged)
