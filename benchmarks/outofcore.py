"""Build and fit a matrix that is larger than the memory, and compare with the time of reading it.

    python -m benchmarks.outofcore FOLDER                  # 75 120 voxels, 70 000 subjects: 21 GB
    python -m benchmarks.outofcore FOLDER --subjects 5000 --memory-gb 1

Writes the images of a cohort with 20 planted parts and the covariance of the real maps into FOLDER
(uint8, as the real maps). The stage of the pipeline makes the matrix of them, and each solver fits
it. The kernel limits the memory of each process, page cache included (control groups, version 1;
needs root). The file is read once before each fit, and its pages are dropped before each of both.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from benchmarks.datasets import FOLDER
from benchmarks.planted import tool
from opnmf_pipeline.decomposition.passes import Array

GROUPS = Path("/sys/fs/cgroup/memory")
N_COMPONENTS, NOISE, SEED = 20, 0.5, 0
BATCH, CHUNK = 500, 2**26
LARGEST = 1.5
"""The images hold values up to this in steps of 1/255 of it."""

BUILD = """
import json, os, sys, time
from pathlib import Path
if sys.argv[2]:
    Path(sys.argv[2], "cgroup.procs").write_text(str(os.getpid()))
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.stages.matrix import build_matrix
folder = Path(sys.argv[1])
images = sorted((folder / "images").rglob("*.nii"))
names = [image.stem.split("_")[0] for image in images]
begin = time.perf_counter()
build_matrix(images, names, folder / "mask.nii.gz", folder, MatrixConfig(), n_procs=2)
print(json.dumps({"seconds": time.perf_counter() - begin}))
"""

FIT = """
import json, os, sys, time, warnings
from pathlib import Path
import numpy as np
if sys.argv[4]:
    Path(sys.argv[4], "cgroup.procs").write_text(str(os.getpid()))
from sklearn.metrics import adjusted_rand_score
from opnmf_pipeline.decomposition import OPNMF
X, k = np.load(sys.argv[1], mmap_mode="r"), int(sys.argv[2])
begin = time.perf_counter()
model = OPNMF(k, solver=sys.argv[3], random_state=0).fit(X)
seconds = time.perf_counter() - begin
labels = np.load(Path(sys.argv[1]).with_name("labels.npy"))
print(json.dumps({
    "seconds": seconds, "passes": model.n_passes_, "error": float(model.reconstruction_err_),
    "kkt": float(model.kkt_residual_), "converged": bool(model.converged_),
    "ari": float(adjusted_rand_score(labels, model.coef_.argmax(axis=1))),
}))
"""


def write(folder: Path, kind: str, n_subjects: int) -> None:
    """Write the images, the mask and the planted labels.

    The values are distributed as those of the cohort maker beside the test data.
    """
    maker = tool()
    real, W = maker.cohort(kind, N_COMPONENTS, 0.0, 162, SEED)
    H, R = parts_of_real(maker, W)
    del real
    rng, weights = np.random.default_rng(SEED), W.astype(np.float32)
    mean, sd = H.mean(axis=1, keepdims=True), np.float32(NOISE * R.std())
    mask = cropped(nb.load(FOLDER / "planted" / "mask.nii.gz"))
    mask.to_filename(folder / "mask.nii.gz")
    inside = np.asarray(mask.dataobj) > 0
    values = np.zeros(inside.shape, np.uint8)
    header = nb.Nifti1Image(values, mask.affine).header
    header.set_slope_inter(LARGEST / 255, 0)
    header["vox_offset"] = 352
    start = header.binaryblock + bytes(4)
    for first in range(0, n_subjects, BATCH):
        target = folder / "images" / f"{first // BATCH:04d}"
        target.mkdir(parents=True)
        size = min(BATCH, n_subjects - first)
        mix, of_noise = (
            rng.standard_normal((H.shape[1], size)) / np.sqrt(H.shape[1]) for _ in range(2)
        )
        loadings = np.maximum(mean + (H - mean) @ mix, 0).astype(np.float32)
        X = weights @ loadings + R @ (NOISE * of_noise).astype(np.float32)
        X += sd * rng.standard_normal(X.shape, dtype=np.float32)
        np.rint(np.clip(X, 0, LARGEST, out=X) * (255 / LARGEST), out=X)
        for number, column in enumerate(X.T.astype(np.uint8), first):
            values[inside] = column
            (target / f"sub-{number:06d}_probseg.nii").write_bytes(start + values.tobytes("F"))
    np.save(folder / "labels.npy", W.argmax(axis=1))


def cropped(mask: nb.Nifti1Image) -> nb.Nifti1Image:
    """Return the part of an image that is not zero everywhere."""
    places = np.nonzero(np.asarray(mask.dataobj))
    box = tuple(slice(axis.min(), axis.max() + 1) for axis in places)
    return mask.slicer[box]


def parts_of_real(maker: object, W: Array) -> tuple[Array, Array]:
    """Return the loadings and the residuals of the real maps on planted components."""
    folder = maker.DATA  # type: ignore[attr-defined]
    mask = nb.load(folder / "planted" / "mask.nii.gz").get_fdata() > 0
    files = sorted((folder / "mcic-vbm").glob("sub-*/anat/*.nii.gz"))
    X = np.stack([nb.load(file).get_fdata(dtype=np.float32)[mask] for file in files], axis=1)
    H = np.linalg.lstsq(W, X, rcond=None)[0]
    return H, (X - W @ H).astype(np.float32)


def read(path: Path) -> float:
    """Return the seconds of reading a file once, from the disk."""
    drop(path)
    begin = time.perf_counter()
    with path.open("rb", buffering=0) as stream:
        while stream.read(CHUNK):
            pass
    return time.perf_counter() - begin


def drop(path: Path) -> None:
    """Drop the pages of a file from the page cache."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def limited(gigabytes: float) -> Path:
    """Return a new control group with a limit of memory."""
    group = GROUPS / "opnmf-benchmark"
    group.mkdir(exist_ok=True)
    (group / "memory.limit_in_bytes").write_text(str(int(gigabytes * 2**30)))
    return group


def main(argv: list[str] | None = None) -> int:
    """Write, fit, read, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.outofcore")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=70_000)
    parser.add_argument("--kind", choices=["hard", "soft"], default="hard")
    parser.add_argument("--memory-gb", type=float, default=4.0)
    parser.add_argument("--solvers", nargs="+", default=["accelerated", "orthonormal", "adaptive"])
    args = parser.parse_args(argv)
    path = args.folder / "matrix.npy"
    group = limited(args.memory_gb)
    try:
        if not (args.folder / "labels.npy").exists():
            write(args.folder, args.kind, args.subjects)
        if not path.exists():
            print(f"matrix: {in_group(group, BUILD, args.folder)}", flush=True)
        shape, size = np.load(path, mmap_mode="r").shape, path.stat().st_size
        print(f"{shape[0]} voxels, {shape[1]} subjects: {size / 1e9:.1f} GB", flush=True)
        for solver in args.solvers:
            seconds = read(path)
            drop(path)
            if found := in_group(group, FIT, path, N_COMPONENTS, solver):
                ratio = found["seconds"] / (found["passes"] * seconds)
                print(f"{solver}: {found}")
                print(f"  one reading {seconds:.0f} s, {size / seconds / 1e9:.2f} GB/s")
                print(f"  fit / (passes * reading): {ratio:.2f}", flush=True)
    finally:
        group.rmdir()
    return 0


def in_group(group: Path, code: str, *arguments: object) -> dict[str, Any]:
    """Return what code prints in a process of the group, and the peak of the group in GB."""
    (group / "memory.max_usage_in_bytes").write_text("0")
    command = [sys.executable, "-c", code, *map(str, arguments), str(group)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(*arguments, "failed:", done.returncode, done.stderr[-500:], flush=True)
        return {}
    peak = int((group / "memory.max_usage_in_bytes").read_text()) / 2**30
    return {**json.loads(done.stdout), "peak, GB": round(peak, 2)}


if __name__ == "__main__":
    sys.exit(main())
