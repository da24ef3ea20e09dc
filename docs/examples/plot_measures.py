"""
Two measures with the same parts
================================

This example plants five parts in small pictures of 60 subjects, in two measures: grey matter from
0 to 1, and an intensity from 2000 to 4000. Alone, each measure is too noisy to find all parts.
Joined and scaled, they show them. Joined without scaling, only the measure with the large numbers
counts. :doc:`/howto/measures` describes the settings.
"""

# %%
# The cohort
# ----------
# A part is a disc. Both measures have the same discs, and every subject has loadings of its own in
# each measure. A disease makes the first part smaller, in grey matter only.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import OPNMF
from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.selection.shape import winner_takes_all

SIDE, N = 40, 60
rng = np.random.default_rng(0)
y, x = np.mgrid[:SIDE, :SIDE]
centers = [(10, 10), (10, 29), (29, 10), (29, 29), (20, 20)]
distance = np.array([np.hypot(y - row, x - column) for row, column in centers])
planted = np.where(distance.min(axis=0) < 8, distance.argmin(axis=0) + 1, 0)
inside = planted > 0
parts = np.equal.outer(planted[inside], np.arange(1, 6)).astype(float)
patient = np.arange(N) % 2 == 1


def pictures(loadings):
    """Return the pictures of a measure, from 0 to 1, with smooth noise."""
    noise = gaussian_filter(rng.normal(0, 2.5, (SIDE, SIDE, N)), (1, 1, 0))[inside]
    return np.clip(0.5 + 0.2 * (parts @ (loadings - 1) + noise), 0, 1)


loadings = {name: rng.normal(1, 0.22, (5, N)) for name in ("gm", "t1")}
for values in loadings.values():  # chance alone makes no difference between the groups
    values[:, patient] += (values[:, ~patient].mean(1) - values[:, patient].mean(1))[:, np.newaxis]
loadings["gm"][0] -= 0.25 * patient
grey, intensity = pictures(loadings["gm"]), 2000 + 2000 * pictures(loadings["t1"])

# %%
# Joined along subjects
# ---------------------
# Each subject has one column for each measure. ``zscore`` subtracts the mean of a measure over all
# its voxels and subjects, and divides by its standard deviation. Then the smallest value of the
# joined matrix is subtracted from all values.
joined = np.hstack([grey, intensity]).astype(np.float32)
columns = pd.DataFrame({"measure_id": ["gm"] * N + ["t1"] * N})
rows = dict.fromkeys(["gm", "t1"], (0, len(joined)))


def scaled(scale):
    """Return the joined matrix with the scale of ``matrix.measures.scale``."""
    options = MatrixConfig(measures={"scale": scale})
    learned = Adjustment.learn(joined, columns, options, rows=rows)
    values = learned.apply(joined, columns, np.empty_like(joined))
    return values - min(values.min(), 0)


matrices = {
    "grey matter alone": grey,
    "intensity alone": intensity,
    "both, not scaled": scaled("none"),
    "both, scaled": scaled("zscore"),
}
fits = {
    title: OPNMF(5, solver="orthonormal", random_state=0).fit(X.astype(np.float32))
    for title, X in matrices.items()
}

# %%
# What is found
# -------------
# The adjusted Rand index (ARI) compares the parts with the planted ones; 1 is equal.
figure, axes = plt.subplots(1, 5, figsize=(10, 2.6), layout="constrained")
found = {"planted": planted[inside]}
found |= {title: winner_takes_all(model.coef_) for title, model in fits.items()}
for axis, (title, labels) in zip(axes, found.items(), strict=True):
    picture = np.full((SIDE, SIDE), np.nan)
    # the colour of a part is that of the planted part that most of its pixels are in
    of_part = [np.bincount(planted[inside][labels == k]).argmax() for k in range(1, 6)]
    picture[inside] = np.array([0, *of_part])[labels]
    axis.imshow(picture, cmap="tab10", vmin=1, vmax=10, interpolation="nearest")
    ari = adjusted_rand_score(planted[inside], labels)
    axis.set_title(title if title == "planted" else f"{title}\nARI {ari:.2f}", fontsize=9)
    axis.axis("off")

# %%
# Loadings of each measure
# ------------------------
# The measures share the parts, and each subject has loadings for each of them. The effect of the
# disease is largest where it was planted: in the first part, in grey matter.
model = fits["both, scaled"]
matched = [
    np.bincount(planted[inside][winner_takes_all(model.coef_) == k]).argmax() for k in range(1, 6)
]
table = pd.DataFrame(model.components_.T, columns=[f"part {number}" for number in matched])
table = table[sorted(table)]
patients = np.tile(patient, 2)


def effect(values, sick):
    """Return Cohen's d of patients and controls."""
    spread = np.sqrt((values[sick].var(ddof=1) + values[~sick].var(ddof=1)) / 2)
    return (values[sick].mean() - values[~sick].mean()) / spread


d = pd.DataFrame(
    {
        name: {part: effect(table.loc[of, part].to_numpy(), patients[of]) for part in table}
        for name, of in (("gm", np.arange(N)), ("t1", np.arange(N, 2 * N)))
    }
)
axis = d.plot.bar(figsize=(6, 2.6), color=["#0072B2", "#D55E00"], rot=0)
axis.axhline(0, color="black", linewidth=0.8)
axis.set_ylabel("patients minus controls (d)")
axis.figure.tight_layout()
print(d.round(2))

# %%
# In the intensity (t1), the planted loadings of patients and controls have the same mean. The
# difference of -0.37 in part 1 is noise of these 60 images: it is already in the mean intensity of
# the planted part, before any fit. With 30 patients and 30 controls, the standard error of d is
# 0.26, so differences of this size are expected by chance.
of_pixels = intensity[parts[:, 0] > 0].mean(axis=0)
print(f"t1, mean of the pixels of part 1: d = {effect(of_pixels, patient):.2f}")
