"""Projective NMF with automatic relevance determination (ARD), as a way to choose k.

``python -m benchmarks.relevance`` prints two tables. On planted cohorts: the number of components
that remain of `LARGEST_K`, after half of the iterations and after all, the adjusted Rand index of
their labels with the planted ones, and the seconds. On the two halves of the real maps: the numbers
that remain, and the index between the halves.

The method is that of Yang, Zhu & Oja 2010 (Automatic rank determination in projective nonnegative
matrix factorization, LVA/ICA, LNCS 6365, 514-521, https://doi.org/10.1007/978-3-642-15995-4_64).
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.linalg import norm
from sklearn.metrics import adjusted_rand_score

from benchmarks.datasets import FOLDER
from benchmarks.planted import fit, tool
from benchmarks.ranks import grey_matter
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.selection.splits import split_halves

LARGEST_K = 40
N_ITER = 2000
REMAINS = 1e-3
"""A component remains if its norm is more than this share of the largest norm."""

GONE = 1e-6
"""Below this share, a component cannot grow again in practice; it is dropped to save time."""

NOTHING = 1e-16
"""Smaller weights are 0, because arithmetic with the smallest numbers is slow."""

TINY = 1e-30
STRENGTHS_OF_REAL = (1.0, 10.0, 30.0)


class Case(NamedTuple):
    """A kind of cohort, as in the table: see `planted_cohort.py`.

    Without ``mean``, the smallest value of each voxel is subtracted, and with it most of the mean
    image. The data stay non-negative.
    """

    kind: str
    planted: int
    noise: float
    subjects: int
    mean: bool = True

    def cohort(self, seed: int, step: int) -> tuple[Array, Array]:
        """Return X on every ``step``-th voxel, and the planted W."""
        X, planted = tool().cohort(self.kind, self.planted, self.noise, self.subjects, seed, step)
        return X if self.mean else X - X.min(axis=1, keepdims=True), planted


CASES = {
    **{Case(kind, k, 0.5, 200): (1.0, 10.0, 30.0) for kind in ("hard", "soft") for k in (10, 20)},
    Case("hard", 10, 0.25, 200): (10.0,),
    Case("hard", 10, 1.0, 200): (10.0,),
    Case("hard", 10, 0.5, 100): (10.0,),
    Case("hard", 10, 0.5, 200, mean=False): (0.3, 1.0, 3.0),
    Case("hard", 20, 0.5, 200, mean=False): (0.3, 1.0, 3.0),
}
"""Cohorts, and the strengths of the prior to compare on each."""


def relevant(X: Array, W: Array, strength: float, n_iter: int) -> Iterator[Array]:
    """Yield W after each iteration, without the components that are gone.

    The noise is Gaussian. The weights of component j have a half-normal prior of precision γⱼ, and
    γⱼ has the prior of Jeffreys. In the EM algorithm, γⱼ is replaced by 1/‖wⱼ‖² (as in the program
    of the authors; the expectation has the factor n_voxels, which is a factor of s here):
    W ← W ∘ 2XXᵀW ⊘ (WWᵀXXᵀW + XXᵀWWᵀW + s W diag(1/‖wⱼ‖²)), W ← W / ‖W‖₂.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects), non-negative
        The data.
    W : ndarray of shape (n_voxels, k), non-negative
        The start, with as many components as there may be.
    strength : float
        s, the variance of the noise in the units of X squared. The published algorithm has 1, so
        its result depends on these units. 0 is projective NMF without ARD.
    n_iter : int
        Number of iterations.

    Yields
    ------
    ndarray of shape (n_voxels, at most k), dtype of X
    """
    W = W.astype(X.dtype)
    W /= norm(W, 2)
    for _ in range(n_iter):
        norms = norm(W, axis=0)
        W = W[:, norms > GONE * norms.max()]
        XXtW, WtW = X @ (X.T @ W), W.T @ W
        # the factor 2 is lost in the division by the norm
        prior = strength * W / WtW.diagonal()
        W *= XXtW / (W @ (W.T @ XXtW) + XXtW @ WtW + prior + TINY)
        W /= np.sqrt(np.linalg.eigvalsh(W.T @ W)[-1])  # the spectral norm
        W[W < NOTHING] = 0
        yield W


def remaining(W: Array) -> int:
    """Count the components that remain."""
    norms = norm(W, axis=0)
    return int((norms > REMAINS * norms.max()).sum())


def fitted(X: Array, seed: int, strength: float, start: str = "random") -> tuple[Array, int]:
    """Return W after `N_ITER` iterations, and the number that remained after half of them."""
    W = np.random.default_rng(seed).random((len(X), LARGEST_K))
    if start != "random":
        W = fit(X, LARGEST_K, seed, solver=start)
    course = relevant(X, W, strength, N_ITER)
    half, end = itertools.islice(course, N_ITER // 2 - 1, None, N_ITER // 2)
    return end, remaining(half)


def planted_row(case: Case, seeds: int, step: int, strength: float, start: str) -> list[str]:
    """Return one row of the table of cohorts: all numbers, and means over the seeds."""
    found = []
    for seed in range(seeds):
        X, planted = case.cohort(seed, step)
        begin = time.perf_counter()
        W, half = fitted(X, seed, strength, start)
        ari = adjusted_rand_score(planted.argmax(axis=1), W.argmax(axis=1))
        found.append((half, remaining(W), ari, time.perf_counter() - begin))
    halves, ends, aris, seconds = zip(*found, strict=True)
    mean = "" if case.mean else ", without minimum"
    what = [f"{case.planted}, {case.kind}{mean}", f"{case.noise:g}", str(case.subjects)]
    ks = [", ".join(map(str, numbers)) for numbers in (halves, ends)]
    return [*what, start, f"{strength:g}", *ks, f"{np.mean(aris):.2f}", f"{np.mean(seconds):.0f}"]


def real_row(X: Array, strength: float) -> list[str]:
    """Return one row of the table of the two halves of the real maps."""
    begin = time.perf_counter()
    (split,) = split_halves(X.shape[1], 1, 0)
    W = [fitted(np.ascontiguousarray(X[:, half]), n, strength)[0] for n, half in enumerate(split)]
    ari = adjusted_rand_score(*(w.argmax(axis=1) for w in W))
    ks = ", ".join(str(remaining(w)) for w in W)
    return [f"{strength:g}", ks, f"{ari:.2f}", f"{time.perf_counter() - begin:.0f}"]


def show(row: list[str]) -> None:
    """Print a row of a table, at once."""
    print(f"| {' | '.join(row)} |", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Print the two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relevance", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--step", type=int, default=32, help="use every n-th voxel")
    args = parser.parse_args(argv)
    head = ["planted", "noise", "subjects", "start", "s", f"k, {N_ITER // 2} iterations"]
    head += [f"k, {N_ITER} iterations", "ARI", "seconds"]
    show(head)
    show(["---"] * len(head))
    for case, strengths in CASES.items():
        for strength in strengths:
            show(planted_row(case, args.seeds, args.step, strength, "random"))
        if len(strengths) > 1 and case.mean:
            show(planted_row(case, 1, args.step, strengths[-1], "orthonormal"))
    print()
    show(["s", "k of each half", "ARI of halves", "seconds"])
    show(["---"] * 4)
    X, _ = grey_matter(FOLDER)  # on every ninth voxel
    X = X[::3]
    for strength in STRENGTHS_OF_REAL:
        show(real_row(X, strength))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
