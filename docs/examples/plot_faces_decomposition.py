"""
Parts of faces: NMF, PNMF and OPNMF
===================================

This example compares three factorizations of 400 photographs of faces with six components.
Photographs are easier to check by eye than brain images. The data are the Olivetti faces, which
scikit-learn downloads (4 MB): 40 persons, ten photographs per person, 64 × 64 pixels.

X contains one photograph per row: 400 × 4096, with values from 0 (black) to 1 (white).

========  =========  ========================================  ===========================
method    model      unknown                                   H
========  =========  ========================================  ===========================
NMF       X ≈ WH     W ≥ 0 and H ≥ 0                           free
PNMF      X ≈ WWᵀX   W ≥ 0                                     H = WᵀX
OPNMF     X ≈ WWᵀX   W ≥ 0, whose columns tend to orthonormal  H = WᵀX
========  =========  ========================================  ===========================
"""

# %%
# The data
# --------
# The figure shows the first photograph of each of the first six persons. The mean face is
# subtracted to show the differences: white is brighter than the mean, black is darker. The
# factorizations below use the original photographs, since centred photographs have negative values.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.datasets import fetch_olivetti_faces
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from opnmf_pipeline import OPNMF, PNMF, configure_logging

SETTINGS = {"n_components": 6, "init": "nndsvd", "tol": 5e-3}
SIDE = 64

faces = fetch_olivetti_faces()
X, person = faces.data, faces.target
print(f"X: {X.shape}, {X.dtype}, from {X.min():.2f} to {X.max():.2f}")


def draw_faces(images, title, centred=False):
    """Draw six rows of 4096 pixels: from 0 to the maximum of each, or centred on one scale."""
    fig, axes = plt.subplots(1, 6, figsize=(10, 2.2), layout="constrained")
    fig.suptitle(title)
    limit = np.abs(images).max()
    for number, (axis, image) in enumerate(zip(axes, images, strict=True), start=1):
        low, high = (-limit, limit) if centred else (0, image.max())
        axis.imshow(image.reshape(SIDE, SIDE), cmap="gray", vmin=low, vmax=high)
        axis.set(xticks=[], yticks=[], xlabel=str(number))


draw_faces((X - X.mean(axis=0))[::10][:6], "Six faces, less the mean face", centred=True)

# sphinx_gallery_thumbnail_number = -1

# %%
# NMF: two free factors
# ---------------------
# NMF estimates both W (400 × 6) and H (6 × 4096). Each row of H is an image. Each face is a
# weighted sum of these images; its weights are its row of W.


def fit_nmf(matrix):
    """Return the W and H of scikit-learn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are enough to see
        model = NMF(**SETTINGS)
        W = model.fit_transform(matrix)
    return W, model.components_


W, H = fit_nmf(X)
print(f"NMF: W {W.shape}, H {H.shape}, ‖X − WH‖ = {np.linalg.norm(X - W @ H):.2f}")
draw_faces(H, "NMF of the faces: the rows of H")

# %%
# The heat map shows the weights of all faces. It has one row per face, and similar rows are
# neighbours. Each component is scaled to [0, 1]. The colours on the left are the 40 persons. Most
# faces have weights on most components.


def draw_weights(weights, title):
    """Draw the weights of the faces (400 × 6) as a clustered heat map."""
    grid = sns.clustermap(
        pd.DataFrame(weights, columns=range(1, 7)),
        col_cluster=False,
        standard_scale=1,
        row_colors=np.array(sns.color_palette("husl", 40))[person],
        cmap="mako_r",
        yticklabels=False,
        figsize=(6, 6),
        dendrogram_ratio=(0.15, 0.01),
    )
    grid.gs.update(left=0.02, right=0.9, bottom=0.09, top=0.93)
    grid.ax_cbar.set_position((0.92, 0.4, 0.025, 0.25))
    grid.ax_heatmap.set_xlabel("component")
    grid.figure.suptitle(title)


draw_weights(W, "NMF of the faces: W")

# %%
# PNMF and OPNMF: one factor and a projection
# -------------------------------------------
# In these methods, H is not free: H = WᵀX, so WH = WWᵀX. Only W is estimated. For a new column of
# X, one product gives its column of H, without a fit.
#
# If the columns of W are orthonormal, WWᵀ is the projection on the space that they span. If W ≥ 0,
# two columns are orthogonal only if no row has a non-zero weight in both. **Each row of X then
# belongs to one component**, and the factorization is a partition. PNMF minimizes the error of X ≈
# WWᵀX, and its solutions are close to a partition. OPNMF follows the gradient of the same error on
# the set of orthonormal matrices (`Yang & Oja 2010 <https://doi.org/10.1109/TNN.2010.2041361>`__).
# Its solutions are closer to a partition.
#
# A fit logs its first iteration (number 0), every hundredth iteration, and the iteration at which
# the change of W falls below the tolerance. The last line of a fit counts how often it read X.
configure_logging("INFO", output_format="%(message)s")
pnmf = PNMF(**SETTINGS, verbose=1).fit(X)
opnmf = OPNMF(**SETTINGS, solver="multiplicative", verbose=1).fit(X)

# %%
# PNMF stops after iteration 6 and OPNMF after iteration 80. (The first error of PNMF is large,
# since its initial W is not scaled. OPNMF divides W by its largest singular value in each
# iteration.)
#
# Both fits read X only five times, as the log says, although they made 7 and 81 iterations. X has
# more columns (4096) than rows (400), and the iterations depend on X only through XXᵀ. So they use
# the square root of XXᵀ, a matrix of 400 × 400, in place of X. The five passes over X are those
# before and after the iterations, such as the product XXᵀ and the loadings WᵀX.
#
# The rows of X are faces, so each component is a group of *faces*. A row of H is a weighted sum of
# the faces of its group, and looks like a face.


def describe(name, model, data):
    """Print the shapes of W and H and the error."""
    shapes = f"W {model.coef_.shape}, H {model.components_.shape}"
    print(f"{name}: {shapes}, ‖{data} − WH‖ = {model.reconstruction_err_:.2f}")


describe("PNMF", pnmf, "X")
draw_faces(pnmf.components_, "PNMF of the faces: the rows of H = WᵀX")

# %%
describe("OPNMF", opnmf, "X")
draw_faces(opnmf.components_, "OPNMF of the faces: the rows of H = WᵀX")

# %%
# At this tolerance, component 1 is the mean face, which is common to all faces. In components 2 to
# 6 of OPNMF, four of five faces have at most one weight that is larger than a fifth of the maximum.
draw_weights(pnmf.coef_, "PNMF of the faces: W")
draw_weights(opnmf.coef_, "OPNMF of the faces: W")

# %%
# OPNMF of the transpose: parts of faces
# --------------------------------------
# OPNMF groups the rows of the matrix. If each row is a *pixel* (4096 × 400), the components are
# groups of pixels: W contains the component images, and H contains the loadings of the faces. In
# neuroimaging, OPNMF is used in this way: one voxel per row and one subject per column.
parts = OPNMF(**SETTINGS, solver="multiplicative", verbose=1).fit(X.T)
describe("OPNMF", parts, "Xᵀ")
draw_faces(parts.coef_.T, "OPNMF of the pixels: the columns of W")

# %%
# The fit converges after iteration 114. The error at iteration 100 is 146.47. This matrix has more
# rows than columns, so each of the 115 iterations is a pass over the data, and there are seven
# more.
draw_weights(parts.components_.T, "OPNMF of the pixels: H (transposed)")

# %%
# NMF of the transpose: the same solutions
# ----------------------------------------
# X ≈ WH is equivalent to Xᵀ ≈ HᵀWᵀ, and both factors are free. Each solution for X is therefore a
# solution for Xᵀ with the same error, after W and H are exchanged. The two fits differ slightly,
# since the algorithm updates one factor before the other. A projective factorization does not have
# this symmetry: X ≈ WWᵀX projects the columns of X, and Xᵀ ≈ WWᵀXᵀ projects its rows.
W, H = fit_nmf(X.T)
print(f"NMF: W {W.shape}, H {H.shape}, ‖Xᵀ − WH‖ = {np.linalg.norm(X.T - W @ H):.2f}")
draw_faces(W.T, "NMF of the pixels: the columns of W")

# %%
# The effect of the tolerance
# ---------------------------
# With ``tol=5e-3``, a fit takes less than a second and stops early: W is far from orthonormal. With
# the default of 1e-5, this update needs about 25 000 iterations. ``solver="accelerated"`` finds a
# stationary point of the same update in far fewer iterations. There, most pixels have most of their
# weight in one component: the largest weight of a pixel is 80 % of the sum of its weights (median),
# and below 49 % in a tenth of the pixels. The components are regions of the face, such as
# its two sides, the forehead and the chin.
finished = OPNMF(6, solver="accelerated", random_state=0).fit(X.T)
draw_faces(finished.coef_.T, "OPNMF of the pixels, solver='accelerated': the columns of W")
share = finished.coef_.max(axis=1) / finished.coef_.sum(axis=1)
tenth, median = np.quantile(share, (0.1, 0.5))
print(f"largest weight of a pixel: {median:.0%} (median), {tenth:.0%} (lowest tenth)")


def largest_cosine(W):
    """Return the largest cosine of two columns of W: 0 if they are orthogonal."""
    unit = W / np.linalg.norm(W, axis=0)
    return np.triu(unit.T @ unit, 1).max()


pd.DataFrame(
    {
        "error": [model.reconstruction_err_ for model in (parts, finished)],
        "largest cosine": [largest_cosine(model.coef_) for model in (parts, finished)],
        "iterations": [model.n_iter_ for model in (parts, finished)],
    },
    index=["tol=5e-3", "accelerated"],
).round(3)
