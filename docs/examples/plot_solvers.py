"""
Comparison of the four solvers
==============================

``OPNMF`` has four solvers. ``multiplicative`` computes the published update. ``accelerated`` finds
a stationary point of this update. ``orthonormal`` assigns each voxel to one component.
``adaptive``, the default of a run, compares both kinds of components on halves of the subjects and
takes one of them. In this example, all four factorize the same simulated grey-matter maps.
"""

# %%
# The data are 60 subjects with eight planted parts, 8 mm voxels, and strong noise.
import time
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from nilearn import plotting

from opnmf_pipeline import OPNMF
from opnmf_pipeline.config import MaskConfig, MatrixConfig, SimulationConfig
from opnmf_pipeline.images.volumes import open_mask
from opnmf_pipeline.selection.reproducibility import matching
from opnmf_pipeline.selection.shape import largest_overlap
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix

N_COMPONENTS = 8
work = Path(mkdtemp())
dataset = simulate(SimulationConfig(n_subjects=60, voxel_size=8, noise=0.3), work / "dataset")
cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
mask_file = make_mask(cohort["image"], work / "mask.nii.gz", MaskConfig(), MatrixConfig())
build_matrix(cohort["image"], cohort["participant_id"], mask_file, work, MatrixConfig())
X = np.load(work / "matrix.npy")
print(f"X: {X.shape[0]} voxels × {X.shape[1]} subjects")

# sphinx_gallery_thumbnail_number = 2

# %%
# Each solver uses its default tolerance. The published update needs thousands of iterations. The
# other solvers need only a few.
models, seconds = {}, {}
for solver in ("multiplicative", "accelerated", "orthonormal", "adaptive"):
    started = time.perf_counter()
    models[solver] = OPNMF(N_COMPONENTS, solver=solver, random_state=0).fit(X)
    seconds[solver] = time.perf_counter() - started

rows = {
    solver: {
        "error": model.reconstruction_err_,
        "error of the SVD": model.lower_bound_,
        "iterations": model.n_iter_,
        "passes over X": model.n_passes_,
        "seconds": seconds[solver],
        "largest cosine": largest_overlap(model.coef_),
        "KKT residual": model.kkt_residual_,
    }
    for solver, model in models.items()
}
pd.DataFrame(rows).T.style.format(
    "{:.4g}", subset=["error", "error of the SVD", "iterations", "passes over X"]
).format("{:.2g}", subset=["seconds", "largest cosine", "KKT residual"])

# %%
# * *error* is ‖X − WWᵀX‖. The *error of the SVD* is a lower bound for eight components.
# * *passes over X* also counts the passes before the first and after the last iteration. Before
#   their iterations, ``orthonormal`` and ``adaptive`` search on parts of the data. The search is in
#   the seconds only; the iterations improve what it found.
# * *largest cosine* is the largest cosine of two components. It is 0 if WᵀW is diagonal, as in
#   ``orthonormal``.
# * *KKT residual* is the distance from a stationary point of the published update.
#
# The figure shows the error after each iteration. ``adaptive`` starts near the error at which
# ``accelerated`` ends. The error of ``accelerated`` may increase slightly near the end: a
# stationary point of the published update is not a minimum of the error.
fig, axis = plt.subplots(figsize=(7, 4), layout="constrained")
for solver, model in models.items():
    course = [record.objective for record in model.history_]
    marker = "." if len(course) < 300 else ""
    axis.plot(range(1, len(course) + 1), course, marker=marker, label=solver)
axis.axhline(model.lower_bound_, color="0.5", ls="--", label="truncated SVD")
axis.set(xscale="log", xlabel="iteration", ylabel="error")
axis.legend()

# %%
# The figure shows one component of each solver, matched with the first component of
# ``multiplicative``. The components differ at their borders: the weights decrease slowly or end
# abruptly.
mask = open_mask(mask_file)
first = models["multiplicative"].coef_
cuts = None
whole_figure = {"left": 0, "right": 1, "bottom": 0, "top": 1, "hspace": 0.02}
fig, axes = plt.subplots(4, 1, figsize=(8, 9.3), gridspec_kw=whole_figure)
for axis, (solver, model) in zip(axes, models.items(), strict=True):
    mine, theirs = matching(first, model.coef_)
    component = mask.unmasked(model.coef_[:, theirs[mine == 0][0]])
    cuts = cuts or plotting.find_xyz_cut_coords(component)
    plotting.plot_stat_map(
        component,
        axes=axis,
        title=solver,
        cut_coords=cuts,
        threshold=model.coef_.max() / 20,
        symmetric_cbar=False,
        cmap="inferno",
        colorbar=False,
        draw_cross=False,
        annotate=False,
    )

# %%
# :doc:`/solvers` contains measurements on real maps. Use ``adaptive`` if you do not know whether
# the parts overlap. Use ``accelerated`` where time matters, ``orthonormal`` if each voxel must
# belong to one component, and ``multiplicative`` to repeat a published analysis.
