"""
Choosing the number of components
=================================

Two ways to ask: does one more component gain more than it would on data without structure, and do
the components come back in another half of the subjects? First on the iris flowers, which are few
enough to look at, then on a simulated cohort with eight planted parts. :doc:`/choosing-k` says what
each measure is and where it comes from.
"""

# %%
# Iris: against shuffled data
# ---------------------------
# Four measures of 150 flowers: X is 150 × 4. Rows are flowers, so that components are groups of
# flowers. Every number of components is fitted to the data, and to the data with each column
# shuffled, in which nothing belongs together any more.
import warnings
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
# Up to two components the error falls faster than on shuffled data. The two groups of flowers are
# setosa, and the other two species, which these measures hardly tell apart.
groups = winner_takes_all(model.coef_)
pd.crosstab(iris.target_names[iris.target], groups, rownames=["species"], colnames=["component"])

# %%
# It may also say no. In noise there is nothing to find: a warning says so, no number is called
# good, and the smallest one is fitted.
noise = np.random.default_rng(0).random((150, 20))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    nothing = OPNMF(n_components="auto", solver="orthonormal", random_state=0).fit(noise)
print("tried", nothing.ranks_, "good", nothing.good_ranks_)
print(caught[-1].message)

# %%
# A cohort: do components come back?
# ----------------------------------
# Eighty simulated subjects with eight planted parts.
N_PLANTED = 8
work = Path(mkdtemp())
simulation = SimulationConfig(n_subjects=80, n_components=N_PLANTED, voxel_size=8, noise=0.3)
dataset = simulate(simulation, work / "dataset")
cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
mask_file = make_mask(cohort["image"], work / "mask.nii.gz", MaskConfig(), MatrixConfig())
build_matrix(cohort["image"], cohort["participant_id"], mask_file, work, MatrixConfig())
X = np.load(work / "matrix.npy")

# %%
# The subjects are halved five times, and each half is factorized by itself. The components of the
# two are matched one to one: the mean cosine is the reproducibility of Sotiras et al. 2017. The
# adjusted Rand index compares the two winner-takes-all maps.
settings = {"solver": "orthonormal", "n_init": 4, "random_state": 0}
ranks = range(2, 17, 2)
rows = []
for k in ranks:
    for halves in split_halves(X.shape[1], n_splits=5, random_state=0):
        A, B = (OPNMF(k, **settings).fit(X[:, half]).coef_ for half in halves)
        labels = label_agreement(winner_takes_all(A), winner_takes_all(B), k)
        cosine = matched_inner_products(A, B).mean()
        rows.append({"n_components": k, "inner_product": cosine, "label_ari": labels["ari"]})
halves = pd.DataFrame(rows).groupby("n_components").agg(["mean", "std"])

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it says comes below
    search = rank_permute(X, ranks.start, ranks[-1], ranks.step, estimator=OPNMF(**settings))
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
# What the rules choose, in their own words. Reproducibility finds the planted number. The error
# does not, and says why: neighbouring voxels have noise in common here, as they do in real maps,
# which components find and shuffling undoes. On images trust the halves.
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
# On images one command does all of it, with more measures, on any engine, and keeps what it has
# computed: ``opnmf-pipeline select CONFIG``. See :doc:`/choosing-k`.
