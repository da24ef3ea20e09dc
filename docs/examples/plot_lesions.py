"""
Lesions: missing voxels instead of zeros
========================================

This example plants four parts in small pictures of 120 subjects. Then every subject gets a lesion:
a disc in which nothing can be measured. If the lesions count as zeros, the components are about
the places of the lesions. If they count as missing, the parts are found.
:doc:`/howto/missing` describes the settings.
"""

# %%
# The cohort
# ----------
# A part is two discs, one on the left and one on the right, whose values vary together. A lesion is
# on one side, so it separates the two discs of a part.
import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import OPNMF
from opnmf_pipeline.selection.shape import winner_takes_all

SIDE, N, K, RADIUS = 48, 120, 4, 9
rng = np.random.default_rng(0)
y, x = np.mgrid[:SIDE, :SIDE]
centers = [(9, 16), (20, 9), (28, 18), (39, 13)]  # on the left; the right is their mirror image
of_side = np.array([np.hypot(y - row, x - column) for row, column in centers])
distance = np.minimum(of_side, of_side[:, :, ::-1])
planted = np.where(distance.min(axis=0) < 7, distance.argmin(axis=0) + 1, 0)
inside = planted > 0
parts = np.equal.outer(planted[inside], np.arange(1, K + 1)).astype(float)
noise = gaussian_filter(rng.normal(0, 0.8, (SIDE, SIDE, N)), (1, 1, 0))[inside]
whole = np.maximum(parts @ rng.normal(1, 0.12, (K, N)) + noise, 0)

# %%
# The lesions
# -----------
# A lesion has a radius of 9 pixels, and its centre is in one of the parts.
pixels = np.argwhere(inside)
middles = pixels[rng.integers(len(pixels), size=N)]
lesion = np.hypot(*(pixels[:, np.newaxis] - middles).transpose(2, 0, 1)) < RADIUS
print(f"{lesion.mean():.0%} of the values are missing")
masked = np.where(lesion, np.nan, whole)
treated = {
    "without lesions": whole,
    "lesions as zeros": np.nan_to_num(masked),
    "lesions as the mean": np.where(lesion, np.nanmean(masked, axis=1, keepdims=True), whole),
    "lesions as missing": masked,
}

# %%
# What is found
# -------------
# The first picture is one subject with its lesion. The others show the parts that are found, first
# in whole images. ARI is the adjusted Rand index of these parts and the planted ones.
_, axes = plt.subplots(1, 5, figsize=(9.5, 2.4), layout="constrained")
example = np.full(inside.shape, np.nan)
example[inside] = masked[:, 0]
axes[0].imshow(example, cmap="gray")
axes[0].set_title("one subject")
for axis, (name, values) in zip(axes[1:], treated.items(), strict=True):
    model = OPNMF(K, solver="orthonormal", missing="masked", random_state=0)
    labels = winner_takes_all(model.fit(values.astype(np.float32)).coef_)
    found = np.full(inside.shape, np.nan)
    found[inside] = labels
    axis.imshow(found, cmap="tab10", vmin=1, vmax=10)
    ari = adjusted_rand_score(planted[inside], labels)
    axis.set_title(f"{name}\nARI {ari:.2f}", fontsize=9)
for axis in axes:
    axis.set_axis_off()
plt.show()

# %%
# Here the mean of the other subjects does as well, since few values are missing, at random places.
# With larger gaps it does not: :doc:`/howto/missing` has a table.
