"""Fit a matrix that is larger than the memory, and compare with the time of reading it.

    python -m benchmarks.outofcore FOLDER                  # 75 120 voxels, 70 000 subjects: 21 GB
    python -m benchmarks.outofcore FOLDER --subjects 5000 --memory-gb 1

Writes a cohort with 20 planted parts and the covariance of the real maps into FOLDER, in the form
of the matrix of a run, and fits it in a process whose memory, page cache included, the kernel
limits (control groups, version 1; needs root). The file is read once before each fit, and its pages
are dropped before each of both.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.planted import tool
from opnmf_pipeline.decomposition.passes import Array

GROUPS = Path("/sys/fs/cgroup/memory")
N_COMPONENTS, NOISE, SEED = 20, 0.5, 0
ROWS, CHUNK = 1024, 2**26

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


def write(path: Path, kind: str, n_subjects: int) -> None:
    """Write the matrix in blocks of rows, and the planted labels next to it.

    The values are distributed as those of the cohort maker beside the test data.
    """
    maker = tool()
    real, W = maker.cohort(kind, N_COMPONENTS, 0.0, 162, SEED)
    H, R = parts_of_real(maker, W)
    del real
    rng = np.random.default_rng(SEED)

    def mix() -> Array:
        return rng.standard_normal((H.shape[1], n_subjects), dtype=np.float32) / np.float32(
            np.sqrt(H.shape[1])
        )

    mean = H.mean(axis=1, keepdims=True)
    loadings = np.maximum(mean + (H - mean) @ mix(), 0).astype(np.float32)
    of_noise, sd = mix(), NOISE * R.std()
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(W), n_subjects))
    for start in range(0, len(W), ROWS):
        rows = slice(start, start + ROWS)
        block = W[rows].astype(np.float32) @ loadings + NOISE * (R[rows] @ of_noise)
        block += np.float32(sd) * rng.standard_normal(block.shape, dtype=np.float32)
        np.maximum(block, 0, out=out[rows])
    out.flush()
    np.save(path.with_name("labels.npy"), W.argmax(axis=1))


def parts_of_real(maker: object, W: Array) -> tuple[Array, Array]:
    """Return the loadings and the residuals of the real maps on planted components."""
    import nibabel as nb

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
    (group / "memory.max_usage_in_bytes").write_text("0")
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
    if not path.exists():
        begin = time.perf_counter()
        write(path, args.kind, args.subjects)
        print(f"written in {time.perf_counter() - begin:.0f} s")
    shape, size = np.load(path, mmap_mode="r").shape, path.stat().st_size
    print(f"{shape[0]} voxels, {shape[1]} subjects: {size / 1e9:.1f} GB", flush=True)
    group = limited(args.memory_gb)
    try:
        for solver in args.solvers:
            seconds = read(path)
            drop(path)
            command = [sys.executable, "-c", FIT, str(path), str(N_COMPONENTS), solver, str(group)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(solver, "failed:", done.returncode, done.stderr[-500:])
                continue
            found = json.loads(done.stdout)
            peak = int((group / "memory.max_usage_in_bytes").read_text()) / 2**30
            ratio = found["seconds"] / (found["passes"] * seconds)
            print(f"{solver}: {found}; peak in the group {peak:.2f} GB")
            print(f"  one reading {seconds:.0f} s, {size / seconds / 1e9:.2f} GB/s", flush=True)
            print(f"  fit / (passes * reading): {ratio:.2f}", flush=True)
    finally:
        group.rmdir()
    return 0


if __name__ == "__main__":
    sys.exit(main())
