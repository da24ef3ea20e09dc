"""Compare ``build_matrix`` with nilearn's ``NiftiMasker`` on the same files, in alternating runs.

``python -m benchmarks.reading DATASET``: DATASET is a BIDS dataset of grey-matter maps.
"""

import argparse
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from nilearn.maskers import NiftiMasker

from benchmarks.report import machine
from opnmf_pipeline.config import InputsConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.images.cohort import find_cohort
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix


def main() -> None:
    """Print the seconds of both programs, their medians, and the ratio of the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--n-procs", type=int, default=1)
    args = parser.parse_args()
    cohort, _ = find_cohort(InputsConfig(bids=args.dataset, filters={"label": "GM"}))
    images, subjects = cohort["image"].tolist(), cohort["participant_id"].tolist()
    ours, theirs = [], []
    with TemporaryDirectory() as folder:
        mask = make_mask(images, Path(folder) / "mask.nii.gz", MaskConfig(), MatrixConfig())
        for _ in range(args.turns):
            start = time.perf_counter()
            build_matrix(images, subjects, mask, Path(folder), MatrixConfig(), n_procs=args.n_procs)
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            X = NiftiMasker(mask, standardize=None, dtype="float32").fit_transform(images)
            theirs.append(time.perf_counter() - start)
        assert np.array_equal(np.load(Path(folder) / "matrix.npy"), X.T)
    print("\n".join(machine()))
    print(f"{len(images)} images, {X.shape[1]} voxels, {args.n_procs} process(es); seconds:")
    for name, seconds in {"build_matrix": ours, "NiftiMasker": theirs}.items():
        print(f"  {name:13} median {statistics.median(seconds):.2f}  {np.round(seconds, 2)}")
    print(f"  ratio of medians {statistics.median(theirs) / statistics.median(ours):.1f}")


if __name__ == "__main__":
    main()
