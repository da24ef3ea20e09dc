"""What adjusting the matrix changes: planted parts, effects of sites, and effects of interest.

``python -m benchmarks.adjustment`` prints two tables. On planted cohorts with sites, head sizes and
a diagnosis of known effect: the adjusted Rand index of the labels with the planted ones, the
largest difference of the loadings between two sites (d), and the effect of the diagnosis, as a
share of the planted one. On the real maps: the largest d of the loadings between the two scanners,
and the mean correlation of the loadings with each other. ``--cost`` measures time and memory.
"""

import argparse
import itertools
import os
import time
import tracemalloc
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from sklearn.metrics import adjusted_rand_score

from benchmarks.datasets import FOLDER
from benchmarks.planted import fit, tool
from benchmarks.ranks import grey_matter
from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.selection.shape import winner_takes_all

SITES = ["a", "b", "c"]
SHARES = [0.5, 0.3, 0.2]
PATIENTS = [0.6, 0.5, 0.3]
"""Share of patients at each site: the diagnosis is confounded with the site."""
SHIFT = 1.0
"""Standard deviation over voxels of the shifts of a site, in standard deviations of the voxel."""
SCALE = 0.3
"""Standard deviation over voxels of the logarithm of the scales of a site."""
WIDTH = 20
"""Width of the maps of shifts and scales, in voxels in the order of the rows."""
HEAD = 0.1
"""Standard deviation of the head size, as a share of its mean."""
AFFECTED, D = 3, 0.8
"""Planted parts that the diagnosis affects, and its effect on their loadings."""

PLANTED: dict[str, Mapping[str, Any]] = {
    "nothing": {},
    "harmonize": {"harmonize": {"batch": "site"}, "keep": "diagnosis"},
    "harmonize, without keep": {"harmonize": {"batch": "site"}},
    "scale": {"scale": {"by": "tiv"}},
    "scale, harmonize": {
        "scale": {"by": "tiv"},
        "harmonize": {"batch": "site"},
        "keep": "diagnosis",
    },
    "scale, covariates: site": {
        "scale": {"by": "tiv"},
        "covariates": "site",
        "keep": "diagnosis",
    },
    "covariates: site + tiv": {"covariates": "site + tiv", "keep": "diagnosis"},
    "covariates: site + tiv, without keep": {"covariates": "site + tiv"},
}
REAL: dict[str, Mapping[str, Any]] = {
    "nothing": {},
    "scale: global": {"scale": {"by": "global"}},
    "harmonize": {"harmonize": {"batch": "site", "covariates": "age + sex"}},
    "scale: global, harmonize": {
        "scale": {"by": "global"},
        "harmonize": {"batch": "site", "covariates": "age + sex"},
    },
    "scale: global, covariates: bs(age) + sex + site": {
        "scale": {"by": "global"},
        "covariates": "bs(age, df=4) + sex + site",
    },
}
"""Settings of the section `matrix`, by their names in the tables."""


def with_sites(clean: Array, W: Array, seed: int) -> tuple[Array, Array, pd.DataFrame]:
    """Add the diagnosis, and then shifts and scales of sites and head sizes.

    Returns
    -------
    X, without : ndarray of shape (n_voxels, n_subjects), float32
        The cohort, and the same cohort with the diagnosis only.
    people : DataFrame
        Site, diagnosis and head size of each subject.
    """
    rng = np.random.default_rng(seed)
    n_voxels, n_subjects = clean.shape
    site = rng.choice(len(SITES), n_subjects, p=SHARES)
    patient = rng.random(n_subjects) < np.array(PATIENTS)[site]
    loadings = W.T @ clean / np.square(W).sum(axis=0)[:, np.newaxis]
    effect = D * loadings[:AFFECTED].std(axis=1, keepdims=True) * patient
    without = clean + W[:, :AFFECTED] @ effect
    shifts, scales = gaussian_filter1d(
        rng.standard_normal((2, n_voxels, len(SITES))), WIDTH, axis=1
    )
    sd, mean = without.std(axis=1, keepdims=True), without.mean(axis=1, keepdims=True)
    shift = SHIFT * sd * shifts[:, site] / shifts.std()
    scale = np.exp(SCALE * scales[:, site] / scales.std())
    tiv = np.maximum(1 + HEAD * rng.standard_normal(n_subjects), 0.5)
    X = tiv * (mean + shift + scale * (without - mean))
    people = pd.DataFrame(
        {
            "site": np.array(SITES)[site],
            "diagnosis": np.where(patient, "patient", "control"),
            "tiv": 1500 * tiv,
        },
        index=[f"sub-{number:04d}" for number in range(n_subjects)],
    )
    return np.maximum(X, 0).astype(np.float32), without.astype(np.float32), people


def adjusted(X: Array, people: pd.DataFrame, settings: Mapping[str, Any]) -> Array:
    """Return the adjusted matrix, with negative values set to 0."""
    if not settings:
        return X
    learned = Adjustment.learn(X, people, MatrixConfig(**settings))
    return np.maximum(learned.apply(X, people, np.empty_like(X)), 0)


def largest_d(loadings: Array, groups: pd.Series) -> float:
    """Return the largest difference of a loading between two groups, in standard deviations."""
    parts = [loadings[:, groups == name] for name in sorted(groups.unique())]
    found = []
    for one, other in itertools.combinations(parts, 2):
        ns = np.array([one.shape[1], other.shape[1]]) - 1
        pooled = (ns[0] * one.var(axis=1, ddof=1) + ns[1] * other.var(axis=1, ddof=1)) / ns.sum()
        found.append(np.abs(one.mean(axis=1) - other.mean(axis=1)) / np.sqrt(pooled))
    return float(np.max(found))


def diagnosis_d(X: Array, W: Array, people: pd.DataFrame, *, at_equal_sites: bool) -> float:
    """Return the mean effect of the diagnosis on the affected planted parts, in residual SDs."""
    loadings = (W.T @ X)[:AFFECTED].T
    sites = pd.get_dummies(people["site"]).to_numpy(dtype=float)
    others = sites if at_equal_sites else np.ones((len(people), 1))
    model = np.column_stack([people["diagnosis"] == "patient", others]).astype(float)
    found = np.linalg.lstsq(model, loadings, rcond=None)[0]
    residuals = loadings - model @ found
    sd = np.sqrt(np.square(residuals).sum(axis=0) / (len(people) - model.shape[1]))
    return float((found[0] / sd).mean())


def planted_rows(kind: str, k: int, seeds: int, step: int) -> Iterator[str]:
    """Yield one row of the table for each setting; means over seeds."""
    names = ["no sites, no head sizes", *PLANTED]
    found: dict[str, list[list[float]]] = {name: [] for name in names}
    for seed in range(seeds):
        clean, W = tool().cohort(kind, k, 0.5, 200, seed, step)
        X, without, people = with_sites(clean, W, seed)
        truth = diagnosis_d(without, W, people, at_equal_sites=True)
        for name in names:
            values = adjusted(X, people, PLANTED[name]) if name in PLANTED else without
            fitted = fit(values, k, seed, solver="adaptive")
            ari = adjusted_rand_score(winner_takes_all(W), winner_takes_all(fitted))
            d = largest_d(fitted.T @ values, people["site"])
            effect = diagnosis_d(values, W, people, at_equal_sites=False)
            found[name].append([ari, d, effect / truth])
    for name in names:
        ari, d, effect = np.mean(found[name], axis=0)
        yield f"| {k}, {kind} | {name} | {ari:.2f} | {d:.2f} | {effect:.0%} |"


def real_rows(k: int) -> Iterator[str]:
    """Yield one row of the table of the real maps for each setting."""
    X, _ = grey_matter(FOLDER)
    people = pd.read_csv(FOLDER / "mcic-vbm" / "participants.tsv", sep="\t", index_col=0)
    for name, settings in REAL.items():
        values = adjusted(X, people, settings)
        fitted = fit(values, k, 0, solver="adaptive")
        loadings = fitted.T @ values
        correlations = np.corrcoef(loadings)[np.triu_indices(k, 1)]
        d = largest_d(loadings, people["site"])
        yield f"| {k} | {name} | {d:.2f} | {correlations.mean():.2f} |"


def cost_rows(n_voxels: int, n_subjects: int) -> Iterator[str]:
    """Yield the seconds of reading a matrix, learning and applying, and the largest memory."""
    rng = np.random.default_rng(0)
    people = pd.DataFrame(
        {
            "site": rng.choice(list("abcde"), n_subjects),
            "age": rng.uniform(20, 80, n_subjects),
            "sex": rng.choice(["F", "M"], n_subjects),
            "tiv": rng.uniform(1300, 1700, n_subjects),
        }
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        shape = (n_voxels, n_subjects)
        X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
        for first in range(0, n_voxels, 4096):
            X[first : first + 4096] = 1 + rng.random((len(X[first : first + 4096]), n_subjects))
        out = np.lib.format.open_memmap(
            path.with_name("out.npy"), mode="w+", dtype=np.float32, shape=shape
        )
        X.flush()
        for name, settings in {
            "scale": {"scale": {"by": "tiv"}},
            "covariates": {"covariates": "bs(age, df=4) + sex"},
            "harmonize": {"harmonize": {"batch": "site", "covariates": "age + sex"}},
        }.items():
            with path.open("rb") as stream:  # so that it is read from the disk
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            X.sum(dtype=np.float64)
            seconds = {"disk": time.perf_counter() - start}
            seconds["memory"] = _seconds(lambda: float(X.sum(dtype=np.float64)))
            tracemalloc.start()
            start = time.process_time()
            learned = Adjustment.learn(X, people, MatrixConfig(**settings))
            seconds["learning"] = time.process_time() - start
            seconds["applying"] = _seconds(lambda one=learned: one.apply(X, people, out))
            peak = tracemalloc.get_traced_memory()[1] / 2**20
            tracemalloc.stop()
            columns = " | ".join(f"{value:.1f}" for value in seconds.values())
            yield f"| {name} | {columns} | {peak:.0f} |"


def _seconds(call: Any) -> float:
    """Return the seconds of the processor: the machine may be shared."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adjustment", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="number of planted cohorts")
    parser.add_argument("--step", type=int, default=16, help="take every such voxel")
    parser.add_argument("--cost", type=int, nargs=2, metavar=("VOXELS", "SUBJECTS"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.cost:
        print("| step | reading from disk | from memory | learning | applying | peak MiB |")
        print("|" + " --- |" * 6)
        for row in cost_rows(*args.cost):
            print(row, flush=True)
        return
    print("| planted | matrix | ARI | largest d of site | effect of the diagnosis |")
    print("| --- | --- | --- | --- | --- |")
    for kind in ("hard", "soft"):
        for row in planted_rows(kind, 10, args.seeds, args.step):
            print(row, flush=True)
    print("\n| k | matrix | largest d of site | mean correlation of loadings |")
    print("| --- | --- | --- | --- |")
    for row in real_rows(10):
        print(row, flush=True)


if __name__ == "__main__":
    main()
