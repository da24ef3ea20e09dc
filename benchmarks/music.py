"""How far are the parts of a small cohort from parts that were published for 50 699 people?

``python -m benchmarks.music`` compares k = 32 on the grey-matter maps of mcic-vbm with the MuSIC
C32 parts (Wen et al. 2023, PNAS 120, e2300842120, https://doi.org/10.1073/pnas.2300842120), and
prints a table. The published label map is not aligned with the MNI152 template. It is compared as
it is, and aligned by the affine transform that maximizes the correlation of its support with the
mean grey matter of the cohort. Chance is the agreement of random compact parts that have the sizes
of ours.
"""

from collections.abc import Sequence
from functools import cache

import nibabel as nb
import numpy as np
from nibabel.affines import apply_affine
from nilearn.image import smooth_img
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import minimize
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from benchmarks.datasets import FOLDER
from benchmarks.planted import fit
from opnmf_pipeline.decomposition.passes import Array
from opnmf_pipeline.selection.null import random_parts
from opnmf_pipeline.selection.shape import winner_takes_all

K = 32
N_NULL = 20
STEP = 0.01
"""Change of a term of the matrix that has the effect of about 1 mm, as one mm of the shift has."""
BLURS = ((4.0, 2.0), (2.0, 1.0), (1.0, 0.5))
"""Standard deviations of the smoothing: in voxels of the published map (2 mm), and of ours (3 mm).
"""


@cache
def volumes(fwhm: float) -> tuple[Array, Array]:
    """Return the maps, (x, y, z, subjects), smoothed by ``fwhm`` mm, and their affine."""
    images = [nb.load(path) for path in sorted((FOLDER / "mcic-vbm").glob("sub-*/**/*.nii.gz"))]
    smooth = [smooth_img(image, fwhm) if fwhm else image for image in images]
    values = [np.asarray(image.dataobj, dtype=np.float32) for image in smooth]
    return np.stack(values, axis=-1), images[0].affine


class Published:
    """The published label map, on the grid of our maps."""

    def __init__(self) -> None:
        image = nb.load(FOLDER / "music" / "MuSIC_C32.nii.gz")
        self.labels = np.asarray(image.dataobj).astype(int)
        maps, affine = volumes(0)
        self.grey = maps.mean(axis=-1, dtype=np.float64)
        places = np.indices(self.grey.shape).reshape(3, -1).T
        self.xyz = apply_affine(affine, places)
        self.from_mm = np.linalg.inv(image.affine)

    def at(self, transform: Array) -> Array:
        """Return voxel indices of the published map for each of our voxels, (3, n_voxels)."""
        matrix = np.eye(3) + STEP * transform[3:].reshape(3, 3)
        indices: Array = apply_affine(self.from_mm, self.xyz @ matrix.T + transform[:3]).T
        return indices

    def on_our_grid(self, transform: Array) -> Array:
        """Return the labels on the grid of our maps, 0 outside."""
        nearest = np.round(self.at(transform))
        labels: Array = map_coordinates(self.labels, nearest, order=0)
        return labels.reshape(self.grey.shape)

    def aligned(self) -> tuple[Array, float, float]:
        """Return the transform, and the correlation of support and grey matter before and after."""
        transform, correlations = np.zeros(12), []
        for ours, theirs in ((blur[1], blur[0]) for blur in BLURS):
            support = gaussian_filter((self.labels > 0).astype(np.float64), theirs)
            grey = gaussian_filter(self.grey, ours).ravel()

            def cost(at: Array, support: Array = support, grey: Array = grey) -> float:
                found = map_coordinates(support, self.at(at), order=1)
                return -float(np.corrcoef(found, grey)[0, 1])

            before = -cost(np.zeros(12))
            found = minimize(cost, transform, method="Powell", options={"maxiter": 6})
            transform = found.x
            correlations = [before, -float(found.fun)]
        return transform, correlations[0], correlations[1]


def standardized(X: Array) -> Array:
    """Divide each subject by its mean, standardize each voxel, and shift to be non-negative."""
    Z = X.astype(np.float64) / X.mean(axis=0, dtype=np.float64)
    Z -= Z.mean(axis=1, keepdims=True)
    Z /= Z.std(axis=1, keepdims=True)
    return (Z - Z.min()).astype(np.float32)


def agreement(labels: Array, published: Array) -> tuple[float, float]:
    """Return the adjusted Rand index and the adjusted mutual information of the shared voxels."""
    return (
        float(adjusted_rand_score(published, labels)),
        float(adjusted_mutual_info_score(published, labels)),
    )


def row(title: str, X: Array, inside: Array, published: Array, affine: Array) -> str:
    """Return one row of the table: a fit, and its agreement with the published parts."""
    labels = winner_takes_all(fit(X, K, 0, solver="adaptive"))
    shared = (published[inside] > 0) & (labels > 0)
    theirs, ours = published[inside][shared], labels[shared]
    xyz = apply_affine(affine, np.argwhere(inside))[shared]
    sizes = np.bincount(ours, minlength=K + 1)[1:]
    chance = [
        agreement(random_parts(xyz, sizes, np.random.default_rng(seed)), theirs)
        for seed in range(N_NULL)
    ]
    cells = [f"{len(X):,}"]
    for value, null in zip(agreement(ours, theirs), np.transpose(chance), strict=True):
        cells += [f"{value:.2f}", f"{null.mean():.2f} ± {null.std():.2f}"]
    return f"| {title} | {' | '.join(cells)} |"


def main(blurs: Sequence[float] = (0, 8, 12)) -> None:
    """Print the transform and the table."""
    published = Published()
    transform, before, after = published.aligned()
    print(f"correlation of support and grey matter: {before:.3f} before, {after:.3f} after")
    print("shift in mm:", transform[:3].round(1), "matrix:", STEP * transform[3:].round(1), "\n")
    print("| data | voxels | ARI | by chance | AMI | by chance |")
    print("| --- | --- | --- | --- | --- | --- |")
    as_published, moved = (published.on_our_grid(at) for at in (np.zeros(12), transform))
    for fwhm in blurs:
        maps, affine = volumes(fwhm)
        mean = maps.mean(axis=-1, dtype=np.float64)
        for place, labels, inside in (
            ("mean > 0.1, as published", as_published, mean > 0.1),
            ("mean > 0.1, aligned", moved, mean > 0.1),
            ("published support, aligned", moved, (moved > 0) & (mean > 0.05)),
        ):
            X = np.ascontiguousarray(maps[inside])
            title = f"{place}, {fwhm:g} mm"
            print(row(title, X, inside, labels, affine), flush=True)
            print(row(f"{title}, z", standardized(X), inside, labels, affine), flush=True)


if __name__ == "__main__":
    main()
