"""Test the rules that choose k: ``python -m benchmarks.ranks DATA --out FOLDER``.

``DATA`` is the folder with ``music/MuSIC_C32.nii.gz`` and ``mcic-vbm``. The planted parts are the
32 parts of this map, or 16 or 8 parts after merging neighbours. A subject has one loading per part.
``FOLDER`` contains one table of measures per case; cases with a table are not computed again.
Further cohorts come from the tool of ``benchmarks.planted``; without the tool they are left out.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import nibabel as nb
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.ndimage import gaussian_filter

from benchmarks import planted as planted_cohorts
from benchmarks.report import machine
from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.missing import projection_error
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.images.simulation import PLANTED_LABELS, simulate_cohort
from opnmf_pipeline.selection.agreement import agreement_by_chance
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.errors import explained_variance, norm
from opnmf_pipeline.selection.null import Positions, random_parts
from opnmf_pipeline.selection.ranks import permuted
from opnmf_pipeline.selection.reproducibility import (
    label_agreement,
    matched_inner_products,
    stability_coefficient,
)
from opnmf_pipeline.selection.rules import RULES, Choice
from opnmf_pipeline.selection.splits import split_halves

Array = NDArray[Any]

RANGES = {
    8: range(2, 17),
    10: range(4, 19, 2),
    16: range(4, 33, 2),
    20: range(12, 31, 2),
    32: range(8, 57, 4),
}
"""Numbers of components to compare, for each number of planted parts."""

SPREAD = 0.25
"""Standard deviation of the loadings over subjects; their mean is about 1."""

N_SUBJECTS, N_SPLITS, N_NULL = 120, 5, 5
STEP = 16
"""Cohorts of the tool have every so many voxels."""
REAL_RANGE = range(2, 41, 2)
N_SMALL, SMALL_VOXELS, SMALL_RANGE = 5, 2000, range(2, 13)
SMALL_NOISE = (0.3, 1, 10)
SMALL_BOX = 3.0 * np.argwhere(np.ones((20, 10, 10)))
"""Positions of the voxels of the small cohorts, in mm."""


KINDS = ("hard", "soft") if planted_cohorts.TOOL.exists() else ()
"""Kinds of parts of the cohorts of the tool: disjoint and overlapping."""


class Case(NamedTuple):
    """Planted parts, with the standard deviations of the noise and of its blur (voxels)."""

    source: str
    planted: int
    noise: float
    blur: float

    @property
    def file(self) -> str:
        return f"{self.source}-k{self.planted}-noise{self.noise:g}-blur{self.blur:g}.tsv"


CASES = [
    *(Case("music", 8, noise, 0) for noise in (0.1, 0.3, 1)),
    *(Case("music", 16, noise, 0) for noise in (0.1, 0.3, 1)),
    *(Case("music", 32, noise, 0) for noise in (0.3, 1)),
    *(Case("music", k, 0.3, 1.5) for k in (8, 16, 32)),
    *(Case("simulation", 8, noise, 1) for noise in (0.1, 0.3)),
    *(Case(kind, k, noise, 0) for kind in KINDS for k in (10, 20) for noise in (0.5, 1)),
    Case("music", 8, 3, 0),
]
"""The noise of the last case hides all parts, so the rules should choose nothing."""


def main(argv: list[str] | None = None) -> int:
    """Compute the missing cases, and write ``RANKS.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables of measures")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        path = args.out / case.file
        if not path.exists():
            begin = time.perf_counter()
            solver = "adaptive" if case.source in KINDS else "orthonormal"
            X, positions = matrix_of(args.data, case)
            table = study(X, positions, RANGES[case.planted], solver)
            table.to_csv(path, sep="\t", index=False)
            seconds = time.perf_counter() - begin
            print(f"{case}: {X.shape[0]} voxels, {seconds:.0f} s", flush=True)
    real_path = args.out / "mcic-vbm.tsv"
    if not real_path.exists():
        study(*grey_matter(args.data), REAL_RANGE).to_csv(real_path, sep="\t", index=False)
    for noise in SMALL_NOISE:
        path = args.out / f"small-noise{noise:g}.tsv"
        if not path.exists():
            small_cohorts(noise).to_csv(path, sep="\t", index=False)
    small = pd.concat(pd.read_csv(path, sep="\t") for path in args.out.glob("small-*.tsv"))
    tables = {case: pd.read_csv(args.out / case.file, sep="\t") for case in CASES}
    text = REPORT.format(
        machine="\n".join(f"* {line}" for line in machine()),
        n_subjects=N_SUBJECTS,
        n_splits=N_SPLITS,
        n_null=N_NULL,
        spread=SPREAD,
        choices=choices_table(tables),
        n_cases=len(CASES) - 1,
        totals=totals(tables),
        of_tool=OF_TOOL.format(step=STEP) if KINDS else "",
        changes=changes_by_null(tables),
        reasons=reasons(tables),
        n_small=N_SMALL,
        small_voxels=SMALL_VOXELS,
        small=small_table(small),
        real=real_choices(pd.read_csv(real_path, sep="\t")),
    )
    Path(__file__).with_name("RANKS.md").write_text(text, encoding="utf-8")
    return 0


def grey_matter(data: Path) -> tuple[Array, Array]:
    """Return the real maps on every ninth voxel of the mask, and the positions of the voxels."""
    images = sorted((data / "mcic-vbm").glob("sub-*/**/*.nii.gz"))
    maps = [np.asarray(nb.load(path).dataobj, dtype=np.float32) for path in images]
    inside = np.mean(maps, axis=0) > 0.1
    X = np.stack([image[inside][::9] for image in maps], axis=1)
    return np.maximum(X, 0), 3.0 * np.argwhere(inside)[::9]


def matrix_of(data: Path, case: Case) -> tuple[Array, Array]:
    """Return the cohort of a case, and the positions of its voxels in mm."""
    if case.source == "simulation":
        return simulated(case)
    if case.source in KINDS:
        make = planted_cohorts.tool().cohort
        X: Array = make(case.source, case.planted, case.noise, N_SUBJECTS, 1, STEP)[0]
        mask = np.asarray(nb.load(data / "planted" / "mask.nii.gz").dataobj)
        return X, 2.0 * np.argwhere(mask)[::STEP]
    labels = parts(data, case.planted)
    return cohort(labels, case.noise, case.blur), 4.0 * np.argwhere(labels)


def simulated(case: Case) -> tuple[Array, Array]:
    """Return a cohort from the simulation of the pipeline, in its parts, and the positions."""
    options = SimulationConfig(
        n_subjects=N_SUBJECTS, n_components=case.planted, noise=case.noise, random_state=1
    )
    with TemporaryDirectory() as folder:
        simulate_cohort(Path(folder), options)
        labels = np.asarray(nb.load(Path(folder) / PLANTED_LABELS).dataobj)
        images = sorted(Path(folder).glob("sub-*/anat/*_probseg.nii.gz"))
        maps = [np.asarray(nb.load(path).dataobj)[labels > 0] for path in images]
        return np.stack(maps, axis=1), 6.0 * np.argwhere(labels)


def parts(data: Path, n_parts: int) -> Array:
    """Return the MuSIC labels on every second voxel (4 mm), with neighbouring parts merged."""
    labels = np.asarray(nb.load(data / "music" / "MuSIC_C32.nii.gz").dataobj)[::2, ::2, ::2]
    labels = labels.astype(np.int64)
    numbers = np.unique(labels[labels > 0])
    centres = np.array([np.argwhere(labels == number).mean(axis=0) for number in numbers])
    centres[:, 0] = np.abs(centres[:, 0] - labels.shape[0] / 2)  # symmetric hemispheres
    merged = fcluster(linkage(centres, "ward"), n_parts, "maxclust")
    return np.r_[0, merged][np.searchsorted(np.r_[0, numbers], labels)]


def cohort(labels: Array, noise: float, blur: float, seed: int = 1) -> Array:
    """Return voxels × subjects: loadings (mean 1) of the parts plus noise, clipped at zero."""
    rng = np.random.default_rng(seed)
    inside = labels > 0
    loadings = np.exp(SPREAD * rng.standard_normal((labels.max(), N_SUBJECTS)))
    X = loadings[labels[inside] - 1]
    for subject in range(N_SUBJECTS):
        field = gaussian_filter(rng.standard_normal(labels.shape), blur)[inside]
        X[:, subject] += noise * field / field.std()
    return np.maximum(X, 0).astype(np.float32)


def small_cohorts(noise: float) -> pd.DataFrame:
    """Return the result of each rule for small cohorts with 4 to 9 parts of random sizes."""
    rows = []
    for seed in range(N_SMALL):
        rng = np.random.default_rng(seed)
        n_parts = int(rng.integers(4, 10))
        sizes = 50 + rng.multinomial(SMALL_VOXELS - 50 * n_parts, rng.dirichlet(np.ones(n_parts)))
        labels = random_parts(SMALL_BOX, sizes, rng) + 1
        table = study(cohort(labels, noise, blur=0, seed=seed), SMALL_BOX, SMALL_RANGE)
        for rule in RULES:
            word = said(choose_rank(table, rule), n_parts)
            rows.append({"noise": noise, "rule": rule, "said": word})
    return pd.DataFrame(rows)


def study(X: Array, positions: Positions, ks: range, solver: str = "orthonormal") -> pd.DataFrame:
    """Return the table of measures that the rules use."""
    halves = split_halves(X.shape[1], N_SPLITS, 0)
    shuffled = permuted(X, 0)
    rows = []
    for k in ks:
        fit = partial(fitted, k=k, solver=solver)
        scores = pd.DataFrame(
            [split_measures(X, positions, split, fit, 2 * n + 1) for n, split in enumerate(halves)]
        )
        rows.append(
            {
                "n_components": k,
                "reconstruction_error": fit(X).reconstruction_err_,
                "null_error": fit(shuffled).reconstruction_err_,
                **scores.mean(),
                **scores.std().add_suffix("_sd"),
            }
        )
    return pd.DataFrame(rows)


def split_measures(
    X: Array,
    positions: Positions,
    split: tuple[Array, Array],
    fit: Callable[..., OPNMF],
    start: int,
) -> dict[str, float]:
    """Compare the two halves, each from a random start of its own."""
    halves = [np.ascontiguousarray(X[:, half]) for half in split]
    W = [fit(half, start=start + n).coef_.astype(np.float64) for n, half in enumerate(halves)]
    labels = [w.argmax(axis=1) + 1 for w in W]
    missed = np.hypot(*(projection_error(x, w) for x, w in zip(halves[::-1], W, strict=True)))
    means = [half.mean(axis=1, dtype=np.float64) for half in halves]
    about_means = np.hypot(*map(norm, halves[::-1], means))
    return {
        "inner_product": matched_inner_products(*W).mean(),
        "label_ari": label_agreement(*labels, W[0].shape[1])["ari"],
        **agreement_by_chance(W, positions, N_NULL, [W[0].shape[1], start]),
        "stability": float(np.nanmean(stability_coefficient(*W))),
        "out_of_sample_error": missed,
        "out_of_sample_explained_variance": explained_variance(missed, about_means),
    }


def fitted(X: Array, k: int, solver: str, start: int = 0) -> OPNMF:
    """Return a fit; from a random start, unless its number is 0."""
    settings = {"solver": solver, "n_init": 10, "tol": 1e-4, "max_iter": 500, "random_state": start}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return OPNMF(k, init="random" if start else "nndsvd", **settings).fit(X)


def choices_table(tables: dict[Case, pd.DataFrame]) -> str:
    """Return one row per case, one column per rule."""
    head = ["parts", "k compared", "noise", "blur", *RULES]
    rows = [
        [
            f"{case.planted}, {case.source}",
            f"{RANGES[case.planted][0]} … {RANGES[case.planted][-1]}",
            f"{case.noise:g}",
            f"{case.blur:g}",
            *(verdict(case, table, rule) for rule in RULES),
        ]
        for case, table in tables.items()
    ]
    return markdown(head, rows)


def verdict(case: Case, table: pd.DataFrame, rule: str) -> str:
    """Return the choice; ✓: planted k, (✓): planted k only in the list of good k, ✗: another k."""
    choice = choose_rank(table, rule)
    if choice.flat:
        return f"none ({choice.k})"
    others = [str(k) for k in choice.good if k != choice.k]
    mark = {"chosen": "✓", "listed": "(✓)", "no": "✗"}[said(choice, case.planted)]
    return f"{choice.k} {mark}" + (f", also {', '.join(others)}" if others else "")


def said(choice: Choice, n_parts: int) -> str:
    """Return one of ``WORDS``."""
    if choice.flat:
        return "none"
    if choice.k == n_parts:
        return "chosen"
    return "listed" if n_parts in choice.good else "no"


def totals(tables: dict[Case, pd.DataFrame]) -> str:
    """Count the results of each rule for the cases in which parts can be found."""
    rows = []
    for rule in RULES:
        words = [said(choose_rank(tables[case], rule), case.planted) for case in CASES[:-1]]
        rows.append([f"`{rule}`", *(str(words.count(word)) for word in WORDS)])
    return markdown(["rule", "planted k", "planted k in the list", "no clear k", "another k"], rows)


def changes_by_null(tables: dict[Case, pd.DataFrame]) -> str:
    """Return the choices that differ if the rules do not subtract the agreement by chance."""
    rows = []
    for case, table in tables.items():
        without = table.drop(columns=[name for name in table if "_null" in name])
        for rule in ("reproducibility-peak", "weighted"):
            found, raw = verdict(case, table, rule), verdict(case, without, rule)
            if found != raw:
                rows.append([described(case), f"`{rule}`", found, raw])
    head = ["case", "rule", "beyond chance", "chance not subtracted"]
    return markdown(head, rows) if rows else "No choice differs."


def described(case: Case) -> str:
    return f"{case.planted} {case.source} parts, noise {case.noise:g}, blur {case.blur:g}"


def reasons(tables: dict[Case, pd.DataFrame]) -> str:
    """Return the reasons of the rules in the cases in which they do not choose the planted k."""
    lines = []
    for case, table in tables.items():
        for rule in RULES:
            choice = choose_rank(table, rule)
            if choice.k != case.planted:
                lines.append(f"* {described(case)}, `{rule}`: {choice.reason}")
    return "\n".join(lines)


def small_table(said: pd.DataFrame) -> str:
    counts = said.value_counts(["noise", "rule", "said"])
    rows = [
        [
            f"{noise:g}",
            *(
                " / ".join(str(counts.get((noise, rule, word), 0)) for word in WORDS)
                for rule in RULES
            ),
        ]
        for noise in SMALL_NOISE
    ]
    return markdown(["noise", *RULES], rows)


def real_choices(table: pd.DataFrame) -> str:
    lines = [f"* `{rule}`: {choose_rank(table, rule).reason}" for rule in RULES]
    measures = ("inner_product", "label_ari", "stability")
    columns = ["n_components", *(name + end for name in measures for end in ("", "_sd", "_null"))]
    rows = [[f"{row[0]:.0f}", *(f"{x:.3f}" for x in row[1:])] for row in table[columns].to_numpy()]
    return "\n".join([*lines, "", markdown(columns, rows)])


def markdown(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


WORDS = ("chosen", "listed", "none", "no")

OF_TOOL = """\
* hard, soft: cohorts of `planted_cohort.py`, with disjoint or overlapping parts of real grey-matter
  maps, and signal and noise with the covariance of these maps; every {step}th voxel. Solver:
  `adaptive`.
"""

REPORT = """# Do the rules choose the planted number of components?

Made by `python -m benchmarks.ranks DATA --out FOLDER`, one thread.

{machine}

## Choices

{choices}

✓: the rule chose the planted k. (✓): the planted k is in the list of good k. ✗: the planted k is
not in the list. none (k): the rule reports that no k is clearly better, and k is a convention.

The {n_cases} cases in which the parts can be found:

{totals}

## Agreement beyond chance

`reproducibility-peak` and `weighted` subtract the agreement of random compact parts, of {n_null}
random pairs per split. Choices that differ without this:

{changes}

## Simulated data

* music: the 32 parts of MuSIC C32 at 4 mm (10 550 voxels), or 16 or 8 parts after merging
  neighbours. The parts differ in size: the smallest of the 8 and of the 16 parts has 83 voxels, the
  largest of the 8 parts has 2355.
* simulation: `images/simulation.py` at 6 mm. The borders of its parts are blurred.
* {n_subjects} subjects, with one loading per part (log-normal, standard deviation {spread:g},
  mean about 1).
* The noise is white, or blurred by a Gaussian. The column "blur" is the standard deviation of the
  Gaussian in voxels. The column "noise" is the standard deviation of the noise, relative to the
  mean of the data (simulation: relative to the largest tissue density).
{of_tool}* {n_splits} split halves, in which each half has a random start of its own, and
  one null data set. Solver: `orthonormal` with 10 starts.
* The noise of the last case hides all parts, so the correct result is "none".

## Reasons, if the planted k was not chosen

{reasons}

## Small cohorts

The rules and their margins were revised after some of the cases above had been seen. The cohorts
in this table were simulated afterwards, {n_small} per row: {small_voxels} voxels, {n_subjects}
subjects, 4 to 9 compact parts of random sizes (50 voxels or more), white noise, k from 2 to 12. The
counts are: planted k chosen / planted k only in the list of good k / no clear k / another k. With
noise of 10, no part can be found.

{small}

## Real maps, for which the true number is unknown

mcic-vbm: 162 subjects, every ninth of 75 119 voxels, the same settings.

{real}

## A method that is not a rule

`RELEVANCE.md`: projective NMF with automatic relevance determination, on planted cohorts.
"""

if __name__ == "__main__":
    sys.exit(main())
