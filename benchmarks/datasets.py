"""The data of the benchmarks: voxels × subjects, float32."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

FOLDER = Path(os.environ.get("OPNMF_TEST_DATA", "../shared/data"))


def planted() -> Array:
    """Eight overlapping parts, 4000 × 60: the data of ``--quick``."""
    return _simulated(np.arange(4000) * 8 // 4000, 60)


def faces() -> Array:
    """The Olivetti faces transposed, 4096 × 400."""
    from sklearn.datasets import fetch_olivetti_faces

    home = FOLDER / "scikit_learn_data"
    return np.ascontiguousarray(fetch_olivetti_faces(data_home=home).data.T)


def mcic_vbm() -> Array:
    """162 real grey-matter maps at 3 mm: the voxels with a mean above 0.1."""
    import nibabel as nb

    paths = sorted((FOLDER / "mcic-vbm").glob("sub-*/**/*.nii.gz"))
    maps = np.stack([np.asarray(nb.load(path).dataobj, dtype=np.float32) for path in paths])
    return np.ascontiguousarray(maps[:, maps.mean(axis=0) > 0.1].T)


def music() -> Array:
    """300 subjects simulated at 2 mm from the MuSIC C32 components."""
    import nibabel as nb

    labels = np.asarray(nb.load(FOLDER / "music" / "MuSIC_C32.nii.gz").dataobj).astype(int)
    _, part = np.unique(labels[labels > 0], return_inverse=True)
    return _simulated(part, 300)


def _simulated(part: Array, n_subjects: int) -> Array:
    rng = np.random.default_rng(0)
    loadings = 0.5 + 0.1 * rng.random((part.max() + 1, n_subjects), dtype=np.float32)
    X = loadings[part] * (0.5 + rng.random((len(part), 1), dtype=np.float32))
    X += 0.05 * rng.random(X.shape, dtype=np.float32)
    return np.ascontiguousarray(X)


DATASETS: dict[str, tuple[Callable[[], Array], tuple[int, ...]]] = {
    "faces": (faces, (10, 20, 50, 100)),
    "mcic-vbm": (mcic_vbm, (10, 20, 50, 100)),
    "music-2mm": (music, (10, 20, 50)),
}
"""Loader and numbers of components of each data set."""

QUICK: dict[str, tuple[Callable[[], Array], tuple[int, ...]]] = {"planted": (planted, (4, 8))}
