"""How well solvers find parts that were planted, with signal and noise like those of real maps.

``python -m benchmarks.planted`` prints a table: for each case and solver the adjusted Rand index of
the labels and the mean cosine of matched components, both with the planted ones, the error on the
cohort and on as many others of the same kind, and the seconds; means over seeds. The cohorts are
made by ``planted_cohort.py``, a tool beside the test data. With ``--kinds music --k 32 64``, the
planted parts are those of MuSIC (see `benchmarks.music`), with the weights that explain most of the
real maps.
"""

import argparse
import importlib.util
import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import nibabel as nb
import numpy as np
from nibabel.affines import apply_affine
from scipy.sparse import csr_array, save_npz
from scipy.sparse.linalg import svds
from scipy.spatial import KDTree
from sklearn.metrics import adjusted_rand_score

from benchmarks.datasets import FOLDER
from benchmarks.opponents import OPPONENTS
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.optimality import best_scale, objective
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.exceptions import ConvergenceWarning
from opnmf_pipeline.selection.reproducibility import matched_inner_products

TOOL = FOLDER.parent / "tools" / "planted_cohort.py"
HELD_OUT_SEED = 1000
"""The other subjects are made with a seed that is larger by this."""

COLUMNS = ("ARI", "cosine", "error", "of others", "seconds")

Solve = Callable[[Array, int, int], Array]
"""From X, the number of components and a seed to W."""


def fit(X: Array, k: int, seed: int, **parameters: object) -> Array:
    """Return W of one of our solvers."""
    return OPNMF(k, n_threads=1, random_state=seed, **parameters).fit_transform(X)


def from_orthonormal(X: Array, k: int, seed: int) -> Array:
    """Return W of ``accelerated`` that starts from the solution of ``orthonormal``."""
    start = fit(X, k, seed, solver="orthonormal")
    model = OPNMF(k, n_threads=1, solver="accelerated", init="custom")
    return model.fit_transform(X, W_init=start)


SOLVERS: dict[str, Solve] = {
    "adaptive": partial(fit, solver="adaptive"),
    "orthonormal": partial(fit, solver="orthonormal"),
    "accelerated": partial(fit, solver="accelerated"),
    "accelerated, random": partial(fit, solver="accelerated", init="random"),
    "accelerated from orthonormal": from_orthonormal,
    **OPPONENTS,
}


def tool() -> ModuleType:
    """Import the tool that makes cohorts; FileNotFoundError where there is none."""
    spec = importlib.util.spec_from_file_location("planted_cohort", TOOL)
    if spec is None or spec.loader is None or not TOOL.exists():
        raise FileNotFoundError(TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def error(X: Array, W: Array) -> float:
    """Return ‖X − WWᵀX‖ at the best scale of W."""
    W = W.astype(np.float64)
    M, G = X.T @ W, W.T @ W
    c = best_scale(M, G)
    return objective(float(np.einsum("ij,ij->", X, X, dtype=np.float64)), c * M, c**2 * G)


def scores(solve: Solve, X: Array, others: Array, planted: Array, seed: int) -> tuple[float, ...]:
    """Return what `COLUMNS` names, for one cohort."""
    begin = time.perf_counter()
    W = solve(X, planted.shape[1], seed)
    seconds = time.perf_counter() - begin
    ari = adjusted_rand_score(planted.argmax(axis=1), W.argmax(axis=1))
    cosine = float(matched_inner_products(planted, W).mean())
    return float(ari), cosine, error(X, W), error(others, W), seconds


def with_music(folder: Path) -> Path:
    """Return a copy of the data of the tool that also has the MuSIC parts as components."""
    for name in ("mcic-vbm", "planted"):
        (folder / name).mkdir()
        for path in (FOLDER / name).iterdir():
            (folder / name / path.name).symlink_to(path)
    mask = nb.load(FOLDER / "planted" / "mask.nii.gz")
    inside = np.asarray(mask.dataobj) > 0
    files = sorted((FOLDER / "mcic-vbm").glob("sub-*/anat/*.nii.gz"))
    X = np.stack([np.asarray(nb.load(file).dataobj, np.float32)[inside] for file in files], axis=1)
    here = apply_affine(mask.affine, np.argwhere(inside))
    for k in (32, 64):
        image = nb.load(FOLDER / "music" / f"MuSIC_C{k}.nii.gz")
        labels = np.asarray(image.dataobj).astype(int)
        there = apply_affine(image.affine, np.argwhere(labels > 0))
        nearest = KDTree(there).query(here)[1]
        part = np.unique(labels[labels > 0][nearest], return_inverse=True)[1]
        W = np.zeros((len(X), part.max() + 1))
        for j in range(W.shape[1]):
            W[part == j, j] = np.abs(svds(X[part == j], 1)[0][:, 0])
        save_npz(folder / "planted" / f"music{k}.npz", csr_array(W))
    return folder


def compare(
    case: tuple[str, int, float, int], seeds: int, names: Sequence[str], step: int, data: Path
) -> None:
    """Print the rows of one case: kind of parts, their number, noise, subjects."""
    cohort = partial(tool().cohort, data=data)
    print(f"\n{case[0]}, k = {case[1]}, noise {case[2]:g}, {case[3]} subjects, {seeds} seeds\n")
    print("| solver |", " | ".join(COLUMNS), "|\n|" + " --- |" * (1 + len(COLUMNS)))
    cohorts = [
        (*cohort(*case, seed, step), cohort(*case, HELD_OUT_SEED + seed, step)[0])
        for seed in range(seeds)
    ]
    for name in names:
        found = [
            scores(SOLVERS[name], X, others, W, seed) for seed, (X, W, others) in enumerate(cohorts)
        ]
        cells = np.mean(found, axis=0)
        formats = (".3f", ".3f", ".2f", ".2f", ".2f")
        print("|", name, "|", " | ".join(map(format, cells, formats)), "|", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Compare solvers on all cases asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted", description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=["hard", "soft"])
    parser.add_argument("--k", nargs="+", type=int, default=[10, 20])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.25, 0.5, 1.0])
    parser.add_argument("--subjects", nargs="+", type=int, default=[100, 200, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--step", type=int, default=8, help="use every n-th voxel")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    args = parser.parse_args(argv)
    warnings.simplefilter("ignore", ConvergenceWarning)
    with TemporaryDirectory() as folder:
        data = with_music(Path(folder)) if "music" in args.kinds else FOLDER
        for case in itertools.product(args.kinds, args.k, args.noise, args.subjects):
            compare(case, args.seeds, args.solvers, args.step, data)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
