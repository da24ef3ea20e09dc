"""
Parts of faces: NMF, PNMF and OPNMF
===================================

Three ways to write 400 photographs of faces as sums of six non-negative things, on data that one
can look at before one trusts a method with brains. The pictures are the Olivetti faces, which
scikit-learn fetches (4 MB): 40 persons, ten photographs of each, 64 × 64 pixels.

X is the data, one photograph per row: 400 × 4096, between 0 (black) and 1 (white).

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
# The first photograph of each of the first six persons. The mean face was subtracted to show what
# tells them apart: white is brighter than the mean, black darker. The factorizations below take the
# photographs as they are, since centred ones have negative values.
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
# NMF looks for W (400 × 6) and H (6 × 4096) at once. Each row of H is a picture, and each face is a
# sum of these, with the weights that stand in its row of W.


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
# The weights of all faces: one row per face, similar rows side by side, each component scaled to
# [0, 1]. The colours at the left are the 40 persons. Most faces need most of the pictures.


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
# Here H is not free: H = WᵀX, so that WH = WWᵀX. Only W has to be learned, and a new column of X
# gets its part of H by one product, with nothing to fit.
#
# If the columns of W are orthonormal, WWᵀ is the projection on the space that they span. With W ≥ 0
# two columns are orthogonal only where no row has a weight in both: **each row of X then belongs
# to one component**, and a factorization becomes a partition. Minimizing the error of X ≈ WWᵀX,
# which is what PNMF does, leads near to that by itself. OPNMF follows the gradient of the same
# error along the orthonormal matrices only (`Yang & Oja 2010
# <https://doi.org/10.1109/TNN.2010.2041361>`__), and so pulls harder in that direction.
#
# What a fit logs: its first iteration, every hundredth, and the one at which the change of W falls
# below the tolerance.
configure_logging("INFO", output_format="%(message)s")
pnmf = PNMF(**SETTINGS, verbose=1).fit(X)
opnmf = OPNMF(**SETTINGS, solver="multiplicative", verbose=1).fit(X)

# %%
# PNMF stops after iteration 6 and OPNMF after iteration 80. (The first error of PNMF is large since
# its start has no scale yet; OPNMF divides W by its largest singular value in each iteration.)
#
# Rows of X are faces, so what is sorted into components is *faces*: a row of H is a weighted sum of
# the faces of its group, and looks like one.


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
# At this tolerance component 1 is the mean face, which all faces share. In components 2 to 6 of
# OPNMF, four of five faces have at most one weight above a fifth of the largest.
draw_weights(pnmf.coef_, "PNMF of the faces: W")
draw_weights(opnmf.coef_, "OPNMF of the faces: W")

# %%
# OPNMF of the transpose: parts of faces
# --------------------------------------
# Whatever stands in the rows is what gets sorted. With a *pixel* per row (4096 × 400) the
# components are groups of pixels: W holds the pictures and H the loadings of the faces. It is the
# way in which OPNMF is used with brains: a voxel per row and a subject per column.
parts = OPNMF(**SETTINGS, solver="multiplicative", verbose=1).fit(X.T)
describe("OPNMF", parts, "Xᵀ")
draw_faces(parts.coef_.T, "OPNMF of the pixels: the columns of W")

# %%
# It converges after iteration 114, with an error of 146.47 at iteration 100.
draw_weights(parts.components_.T, "OPNMF of the pixels: H (transposed)")

# %%
# NMF of the transpose: nothing new
# ---------------------------------
# X ≈ WH says the same as Xᵀ ≈ HᵀWᵀ, and both factors are free: whatever can be found for X can be
# found for Xᵀ, with W and H in each other's places, at the same error. That the two fits below are
# not equal to the digit comes from the order in which the algorithm updates its factors. A
# projective factorization has no such symmetry: X ≈ WWᵀX and Xᵀ ≈ WWᵀXᵀ project different sides of
# X.
W, H = fit_nmf(X.T)
print(f"NMF: W {W.shape}, H {H.shape}, ‖Xᵀ − WH‖ = {np.linalg.norm(X.T - W @ H):.2f}")
draw_faces(W.T, "NMF of the pixels: the columns of W")

# %%
# What the tolerance does
# -----------------------
# With ``tol=5e-3`` a fit takes a fraction of a second and stops early: W is far from orthonormal.
# At the default of 1e-5 this update takes some 25 000 iterations. ``solver="accelerated"`` gets to
# a point of rest of the same update in far fewer: there a pixel has nearly all of its weight in one
# part, and the parts are regions of the face, such as its two sides, the forehead and the chin.
finished = OPNMF(6, solver="accelerated", random_state=0).fit(X.T)
draw_faces(finished.coef_.T, "OPNMF of the pixels, solver='accelerated': the columns of W")


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
