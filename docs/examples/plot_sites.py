"""
Two scanners, and parts that are lost and found again
=====================================================

This example plants five parts in small pictures of 120 subjects. Then every subject is "scanned" on
one of two scanners. The second scanner adds stripes to the pictures, and head size multiplies
them. OPNMF then finds the stripes instead of the parts, until both are adjusted for.
:doc:`/howto/covariates` describes the settings.
"""

# %%
# The cohort
# ----------
# A part is a disc. Its values vary between subjects, and a diagnosis makes the first part smaller.
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import OPNMF
from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.selection.shape import winner_takes_all

SIDE, N = 40, 120
rng = np.random.default_rng(0)
y, x = np.mgrid[:SIDE, :SIDE]
centers = [(10, 10), (10, 29), (29, 10), (29, 29), (20, 20)]
distance = np.array([np.hypot(y - row, x - column) for row, column in centers])
planted = np.where(distance.min(axis=0) < 8, distance.argmin(axis=0) + 1, 0)
inside = planted > 0
parts = np.equal.outer(planted[inside], np.arange(1, 6)).astype(float)

people = pd.DataFrame(
    {
        "scanner": rng.choice(["one", "two"], N),
        "diagnosis": rng.choice(["control", "patient"], N),
        "tiv": rng.normal(1500, 150, N),
    },
    index=[f"sub-{number:03d}" for number in range(N)],
)
patient = (people["diagnosis"] == "patient").to_numpy()
loadings = rng.normal(1, 0.1, (5, N))
loadings[0] -= 0.1 * patient
noise = gaussian_filter(rng.normal(0, 0.8, (SIDE, SIDE, N)), (1, 1, 0))[inside]
clean = parts @ loadings + noise

# %%
# The scanners and the head sizes
# -------------------------------
stripes = np.sign(np.sin(x * 2 * np.pi / 10))[inside, np.newaxis]
on_two = (people["scanner"] == "two").to_numpy()
X = (clean + 0.4 * stripes * on_two) * (people["tiv"] / people["tiv"].mean()).to_numpy()
X = np.maximum(X, 0).astype(np.float32)


def fitted(values):
    """Return the labels and the loadings of five components."""
    model = OPNMF(5, solver="orthonormal", random_state=0).fit(values)
    return winner_takes_all(model.coef_), model.components_


# %%
# The adjustment
# --------------
# It is learned from some subjects, and applied to these or to others. ``keep`` names the diagnosis,
# so the adjustment does not remove its effect.
options = MatrixConfig(scale={"by": "tiv"}, harmonize={"batch": "scanner"}, keep="diagnosis")
learned = Adjustment.learn(X, people, options)
adjusted = np.maximum(learned.apply(X, people, np.empty_like(X)), 0)

# %%
# What is found
# -------------
# ARI is the adjusted Rand index with the planted parts, and d the largest difference of the
# loadings between the scanners, in standard deviations.


def d_of(values, group):
    """Return the difference of each loading between a group and the others."""
    one, other = values[:, group], values[:, ~group]
    pooled = np.sqrt((one.var(axis=1) + other.var(axis=1)) / 2)
    return (one.mean(axis=1) - other.mean(axis=1)) / pooled


of_diagnosis = {"planted loadings": d_of(loadings, patient)[0]}
_, axes = plt.subplots(1, 3, figsize=(8, 3.2), layout="constrained")
for axis, (name, values) in zip(
    axes, {"without scanners": clean, "as scanned": X, "adjusted": adjusted}.items(), strict=True
):
    labels, found = fitted(np.maximum(values, 0).astype(np.float32))
    picture = np.full((SIDE, SIDE), np.nan)
    picture[inside] = labels
    axis.imshow(picture, cmap="tab10", vmin=1, vmax=10, interpolation="nearest")
    ari = adjusted_rand_score(planted[inside], labels)
    d = np.abs(d_of(found, on_two)).max()
    axis.set(title=f"{name}\nARI {ari:.2f}, d {d:.2f}", xticks=[], yticks=[])
    first = np.bincount(labels[parts[:, 0] > 0], minlength=6)[1:].argmax()
    of_diagnosis[name] = d_of(found, patient)[first]

# %%
# The effect of the diagnosis
# ---------------------------
# The difference between patients and controls, in standard deviations of the loading on the
# component that most pixels of the first part belong to:
for name, d in of_diagnosis.items():
    print(f"{name}: d = {d:.2f}")

# %%
# In a run, each fit learns its own adjustment: a half of a split learns it from the subjects of
# this half only. :doc:`/howto/covariates` describes what each fit learns.
