"""
OPNMF beside PCA, ICA, NMF and clustering
=========================================

Several methods divide the covariance of brain maps into a few patterns. This example applies six of
them to the same simulated grey-matter maps, with the same number of patterns. It shows what their
patterns look like, and how well they find the planted parts.
"""

# %%
# The data are 60 subjects with eight planted parts, 8 mm voxels, and noise. The parts do not
# overlap, except at their borders. X has one row per voxel and one column per subject.
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd
from nilearn import plotting
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA, FastICA
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import OPNMF
from opnmf_pipeline.config import MaskConfig, MatrixConfig, SimulationConfig
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.images.volumes import open_mask
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix

K = 8
work = Path(mkdtemp())
dataset = simulate(SimulationConfig(n_subjects=60, voxel_size=8, noise=0.2), work / "dataset")
cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
mask_file = make_mask(cohort["image"], work / "mask.nii.gz", MaskConfig(), MatrixConfig())
build_matrix(cohort["image"], cohort["participant_id"], mask_file, work, MatrixConfig())
X = np.load(work / "matrix.npy").astype(np.float64)
mask = open_mask(mask_file)
planted = np.asarray(nb.load(dataset / PLANTED_LABELS).dataobj)[mask.inside]
print(f"X: {X.shape[0]} voxels × {X.shape[1]} subjects")

# sphinx_gallery_thumbnail_number = 1

# %%
# Six methods
# -----------
# All methods get the same X. PCA and ICA need values about the mean image: here, spatial ICA, whose
# maps are as independent as possible. k-means groups voxels whose values are similar across
# subjects, after division by the mean of each voxel; its pattern is 1 in the voxels of a cluster.
centred = X - X.mean(axis=1, keepdims=True)
clusters = KMeans(K, n_init=10, random_state=0).fit_predict(X / X.mean(axis=1, keepdims=True))
patterns = {
    "PCA": PCA(K, random_state=0).fit(X.T).components_.T,
    "ICA": FastICA(K, random_state=0, max_iter=1000, tol=1e-3).fit_transform(centred),
    "NMF": NMF(K, init="nndsvda", max_iter=2000, random_state=0).fit_transform(X),
    "k-means": np.eye(K)[clusters],
    "OPNMF, published": OPNMF(K, solver="multiplicative").fit(X).coef_,
    "OPNMF, adaptive": OPNMF(K, solver="adaptive", random_state=0).fit(X).coef_,
}
patterns = {name: W / np.linalg.norm(W, axis=0) for name, W in patterns.items()}

# %%
# The figure shows the pattern of each method that is most similar to the first planted part. Red is
# positive, blue is negative. PCA has values of both signs nearly everywhere: each pattern is a
# contrast between regions. The pattern of NMF extends over most of the brain, because the patterns
# of NMF may overlap. Those of OPNMF and k-means are parts.
part = (planted == 1).astype(float)
cuts = plotting.find_xyz_cut_coords(mask.unmasked(part))
whole_figure = {"left": 0, "right": 1, "bottom": 0, "top": 1, "hspace": 0.02, "wspace": 0.02}
fig, axes = plt.subplots(3, 2, figsize=(10, 6), gridspec_kw=whole_figure)
for axis, (name, W) in zip(axes.flat, patterns.items(), strict=True):
    similarity = part @ W
    best = np.abs(similarity).argmax()
    component = W[:, best] * np.sign(similarity[best])
    plotting.plot_stat_map(
        mask.unmasked(component),
        axes=axis,
        title=name,
        cut_coords=cuts,
        threshold=np.abs(component).max() / 10,
        cmap="RdBu_r",
        symmetric_cbar=True,
        colorbar=False,
        draw_cross=False,
        annotate=False,
    )


# %%
# In numbers
# ----------
# * *R² of the space*: the variance about the mean image that any linear combination of the patterns
#   can describe. No eight patterns can describe more than those of PCA.
# * *negative*: share of the values below 0.
# * *largest cosine* of two patterns, without its sign: 0 if the patterns are orthogonal.
# * *planted ARI*: agreement with the planted parts, if each voxel goes to its largest pattern. 1 is
#   perfect. This is the question that OPNMF and clustering answer, and PCA does not ask it.
def measures(W):
    basis, _ = np.linalg.qr(W)
    left = np.linalg.norm(centred - basis @ (basis.T @ centred)) / np.linalg.norm(centred)
    inside = planted > 0
    return {
        "R² of the space": 1 - left**2,
        "negative": np.mean(W < 0),
        "largest cosine": np.abs(W.T @ W - np.eye(K)).max(),
        "planted ARI": adjusted_rand_score(planted[inside], np.abs(W).argmax(axis=1)[inside]),
    }


table = pd.DataFrame({name: measures(W) for name, W in patterns.items()}).T
table.style.format("{:.2f}")

# %%
# The planted parts do not overlap, so k-means finds them as well as OPNMF does, and the largest
# patterns of NMF do, too. OPNMF differs from k-means in two ways: each voxel has a weight, so that
# the loading of a subject, H = WᵀX, is a weighted sum; and a voxel can have weights in two
# components. It differs from NMF in that its patterns almost do not overlap (*largest cosine*), so
# each pattern can be read as a part of the brain.
#
# One simulated cohort cannot show which method is best for a question. PCA describes the most
# variance. ICA looks for independent patterns, which need not be compact. :doc:`/method` compares
# the methods.
