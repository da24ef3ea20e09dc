"""
Choosing the number of components
=================================

This example asks two questions. Does one more component decrease the error more than in null data?
Do the components reproduce in another half of the subjects? The first data set is iris, which is
small enough to check by eye. The second one is a simulated cohort with eight planted parts.
:doc:`/choosing-k` defines all measures and gives their sources.
"""

# %%
# Iris: comparison with null data
# -------------------------------
# The data are four measures of 150 flowers: X is 150 × 4. The rows are flowers, so the components
# are groups of flowers. Each number of components is fitted to the data and to null data. In the
# null data, the values of each column are shuffled, which removes all structure.
import warnings
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_iris

from opnmf_pipeline import OPNMF, rank_permute
from opnmf_pipeline.config import MaskConfig, MatrixConfig, SimulationConfig
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.reproducibility import label_agreement, matched_inner_products
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.selection.splits import split_halves
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix

iris = load_iris()
model = OPNMF(n_components=range(1, 5), solver="orthonormal", random_state=0).fit(iris.data)
print("tried", model.ranks_, "good", model.good_ranks_)


def draw_errors(axis, ranks, errors, random_errors):
    """Draw the errors of the data and of shuffled data, each as a share of its largest."""
    shuffled = np.atleast_2d(random_errors)
    shuffled = shuffled / shuffled.max(axis=1, keepdims=True)
    axis.plot(ranks, errors / errors.max(), "o-", label="data")
    axis.plot(ranks, shuffled.mean(axis=0), "s--", color="0.5", label="shuffled")
    axis.set(xlabel="number of components", ylabel="error / largest error", xticks=ranks)
    axis.legend()


_, axis = plt.subplots(figsize=(5, 3.5), layout="constrained")
draw_errors(axis, model.ranks_, model.errors_, model.random_errors_)

# sphinx_gallery_thumbnail_number = 2

# %%
# Up to two components, the error decreases faster than in null data. The first group of flowers is
# setosa. The second group contains the other two species, which are similar in these measures.
groups = winner_takes_all(model.coef_)
pd.crosstab(iris.target_names[iris.target], groups, rownames=["species"], colnames=["component"])

# %%
# Pure noise has no structure. In this case, a warning says so, ``good_ranks_`` is empty, and the
# smallest number of components is fitted.
noise = np.random.default_rng(0).random((150, 20))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    nothing = OPNMF(n_components="auto", solver="orthonormal", random_state=0).fit(noise)
print("tried", nothing.ranks_, "good", nothing.good_ranks_)
print(caught[-1].message)

# %%
# A cohort: do the components reproduce?
# --------------------------------------
# The cohort has eighty simulated subjects with eight planted parts.
N_PLANTED = 8
work = Path(mkdtemp())
simulation = SimulationConfig(n_subjects=80, n_components=N_PLANTED, voxel_size=8, noise=0.3)
dataset = simulate(simulation, work / "dataset")
cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
mask_file = make_mask(cohort["image"], work / "mask.nii.gz", MaskConfig(), MatrixConfig())
build_matrix(cohort["image"], cohort["participant_id"], mask_file, work, MatrixConfig())
X = np.load(work / "matrix.npy")

# %%
# The cohort is split into halves five times. Each half is factorized separately, from a random
# start of its own, and the components of the two halves are matched one to one. The mean cosine of
# matched components is the reproducibility of Sotiras et al. 2017. The adjusted Rand index compares
# the two winner-takes-all maps.
settings = {"solver": "orthonormal", "n_init": 4}
ranks = range(2, 17, 2)
seeds = count(1)
rows = []
for k in ranks:
    for halves in split_halves(X.shape[1], n_splits=5, random_state=0):
        A, B = (
            OPNMF(k, init="random", random_state=next(seeds), **settings).fit(X[:, half]).coef_
            for half in halves
        )
        labels = label_agreement(winner_takes_all(A), winner_takes_all(B), k)
        cosine = matched_inner_products(A, B).mean()
        rows.append({"n_components": k, "inner_product": cosine, "label_ari": labels["ari"]})
halves = pd.DataFrame(rows).groupby("n_components").agg(["mean", "std"])

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the reason is printed below
    estimator = OPNMF(**settings, random_state=0)
    search = rank_permute(X, ranks.start, ranks[-1], ranks.step, estimator=estimator)
_, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
for axis, measure in zip(axes, ("inner_product", "label_ari"), strict=False):
    mean, spread = halves[measure]["mean"], halves[measure]["std"]
    axis.plot(mean, "o-")
    axis.fill_between(mean.index, mean - spread, mean + spread, alpha=0.3)
    axis.set(xlabel="number of components", ylabel=measure, xticks=ranks)
draw_errors(axes[2], search.ranks_, search.errors_, search.random_errors_)
for axis in axes:
    axis.axvline(N_PLANTED, color="C3", ls=":")

# %%
# The rules print their choices and reasons. The rule based on reproducibility finds the planted
# number. The rule based on the error does not, and explains the reason: the noise of neighbouring
# voxels is correlated, as in real maps. Components describe this correlation, but shuffling removes
# it. For images, use split halves.
table = pd.DataFrame(
    {
        "n_components": search.ranks_,
        "reconstruction_error": search.errors_,
        "inner_product": halves["inner_product"]["mean"].to_numpy(),
        "inner_product_sd": halves["inner_product"]["std"].to_numpy(),
    }
)
for choice in (choose_rank(table, "reproducibility-peak"), search.choice_):
    print(choice.reason, "\n")

# %%
# For images, the command ``opnmf-pipeline select CONFIG`` does this comparison, with more measures
# and on any engine. It stores all results. See :doc:`/choosing-k`.
