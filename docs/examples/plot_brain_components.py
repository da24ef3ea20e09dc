"""
From grey-matter maps to components
===================================

This example simulates a cohort with known components. It then runs the stages of the pipeline one
by one: collect, mask, matrix, decompose, maps. Each stage is a function that reads and writes
files. ``opnmf-pipeline run``, the Nipype nodes and the Pydra tasks call the same functions.
"""

# %%
# A cohort with known components
# ------------------------------
# The cohort has forty subjects. The grey matter of the MNI152 template is divided into eight parts,
# which are symmetric between the hemispheres. In each subject, each part has more or less tissue
# than in the template. Four of the eight parts lose tissue with age. Smooth noise is added.
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd
from nilearn import plotting
from nilearn.image import new_img_like
from scipy.stats import pearsonr
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import PipelineConfig, run
from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SimulationConfig
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix

N_COMPONENTS = 8
WHOLE_FIGURE = {"left": 0, "right": 1, "bottom": 0, "top": 1, "hspace": 0.02, "wspace": 0.02}

work = Path(mkdtemp())
dataset = simulate(SimulationConfig(n_components=N_COMPONENTS), work / "dataset")

cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
cohort.drop(columns="image").head()

# sphinx_gallery_thumbnail_number = 2

# %%
# The images of two subjects. Their differences look like noise.
fig, axes = plt.subplots(2, 1, figsize=(8, 5), gridspec_kw=WHOLE_FIGURE)
for axis, row in zip(axes, cohort.itertuples(), strict=False):
    title = f"{row.participant_id}, {row.age} years"
    plotting.plot_anat(
        row.image, axes=axis, title=title, cut_coords=(-4, -20, 8), vmax=1.5, draw_cross=False
    )

# %%
# Mask and matrix
# ---------------
# The mask contains the voxels whose mean over subjects is above 0.1, within the brain mask of the
# template. The matrix has one row per voxel of the mask and one column per subject. It is a file on
# disk, which is read block by block.
images, participants = cohort["image"].tolist(), cohort["participant_id"].tolist()
mask_file = make_mask(images, work / "mask.nii.gz", MaskConfig(threshold=0.1), MatrixConfig())
matrix_file = build_matrix(images, participants, mask_file, work, MatrixConfig())
print(np.load(work / "matrix.npy", mmap_mode="r").shape)

# %%
# Components
# ----------
options = DecompositionConfig(solver="accelerated")
fit_file = decompose(matrix_file, work, N_COMPONENTS, options)
W, H, info = read_factorization(fit_file)
print(f"W {W.shape}, H {H.shape}, error {info['ReconstructionError']:.2f}")
print(f"no {N_COMPONENTS} components can have an error below {info['LowerBound']:.2f}")

# %%
# Maps
# ----
# Each component is a volume of one 4D image. The label map contains the component with the largest
# weight in each voxel (winner takes all). Any viewer can show both on the template.
maps = write_maps(fit_file, mask_file, work)
components = nb.load(maps / "components.nii.gz")
fig, axes = plt.subplots(4, 2, figsize=(10, 9), gridspec_kw=WHOLE_FIGURE)
for number, axis in enumerate(axes.flat):
    plotting.plot_stat_map(
        components.slicer[..., number],
        axes=axis,
        title=str(number + 1),
        threshold=W[:, number].max() / 10,
        symmetric_cbar=False,
        cmap="inferno",
        colorbar=False,
        draw_cross=False,
        annotate=False,
    )

# %%
# Did the fit find the planted parts? The order of components is arbitrary. Therefore each planted
# part is matched with the component that shares most voxels with it. The adjusted Rand index of two
# equal label maps is 1. It is computed over the voxels of the planted parts.
planted_image = nb.load(dataset / PLANTED_LABELS)
planted, found = np.asarray(planted_image.dataobj), nb.load(maps / "dseg.nii.gz").get_fdata()
inside = planted > 0
shared = pd.crosstab(planted[inside], found[inside])
partner = shared.idxmax(axis=1).astype(int)
print(f"adjusted Rand index: {adjusted_rand_score(planted[inside], found[inside]):.3f}")

matched = np.zeros_like(planted)
for part, component in partner.items():
    matched[found == component] = part
fig, axes = plt.subplots(2, 1, figsize=(10, 3.6), gridspec_kw=WHOLE_FIGURE)
for axis, (title, labels) in zip(axes, {"planted": planted, "found": matched}.items(), strict=True):
    plotting.plot_roi(
        new_img_like(planted_image, labels),
        axes=axis,
        title=title,
        display_mode="z",
        cut_coords=(-40, -24, -8, 8, 24, 40, 56),
        cmap="tab10",
        vmin=1,
        vmax=10,
        colorbar=False,
    )

# %%
# Loadings
# --------
# H = WᵀX contains the loading of each subject on each component. In the simulation, parts 1, 3, 5
# and 7 shrink with age, and their loadings decrease with age. The other parts do not depend on age.
# The correlation of part 4 with age is due to chance: the planted loadings of these forty subjects
# have it too (r = -0.43).
loadings = pd.read_csv(maps / "loadings.tsv", sep="\t").drop(columns="participant_id")
fig, axes = plt.subplots(2, 4, figsize=(10, 5), layout="constrained", sharex=True)
for axis, (part, component) in zip(axes.flat, partner.items(), strict=True):
    values = loadings.iloc[:, component - 1]
    shrinks = part % 2 == 1
    axis.plot(cohort["age"], values, "o", ms=4, color="C3" if shrinks else "C0")
    r = pearsonr(cohort["age"], values).statistic
    axis.set_title(f"part {part}: r = {r:.2f}")
fig.supxlabel("age (red: made to shrink)")
fig.supylabel("loading")

# %%
# All stages with one call
# ------------------------
# ``run`` runs all stages. It also writes tables, figures and a report. It stores all results, so
# that an interrupted run continues. The command is ``opnmf-pipeline run CONFIG``.
config = PipelineConfig.model_validate(
    {
        "inputs": {"bids": dataset, "filters": {"label": "GM"}},
        "decomposition": {"n_components": N_COMPONENTS, "solver": "accelerated"},
        "output": {"dir": work / "out"},
    }
)
summary = run(config)
summary.metrics.T

# %%
# On real data
# ------------
# nilearn can download the grey-matter maps of 403 subjects (OASIS-1, under terms of use). A table
# lists the image of each subject. The settings are in ``configs/oasis_vbm.yaml``. This code was not
# run when the page was built:
#
# .. code-block:: python
#
#     import pandas as pd
#     from nilearn.datasets import fetch_oasis_vbm
#
#     oasis = fetch_oasis_vbm()
#     images = pd.DataFrame({"path": oasis.gray_matter_maps})
#     images["id"] = images["path"].str.extract(r"(OAS1_\d{4}_MR1)")
#     table = images.merge(oasis.ext_vars).rename(columns={"id": "participant_id", "mf": "sex"})
#     table.to_csv("oasis.tsv", sep="\t", index=False)
#
# .. code-block:: bash
#
#     opnmf-pipeline run configs/oasis_vbm.yaml --set inputs.table=oasis.tsv --output OUT
