"""
Components of cortical thickness
================================

This example simulates the cortical thickness of forty subjects on fsaverage5, with known parts. It
writes the files of both hemispheres, runs the pipeline, and shows the parts that it finds.
"""

# %%
# Thickness with known parts
# --------------------------
# Each hemisphere is divided into four parts: clusters of the vertices on the sphere. In each
# subject, the cortex of each part has a thickness of its own, between 1.5 and 3.5 mm. Noise with a
# standard deviation of 0.3 mm is added. nilearn ships the mean thickness of the subjects of
# fsaverage; where it is 0, at the medial wall, the thickness of all subjects is 0.
import json
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
from nibabel.gifti import GiftiDataArray, GiftiImage
from nilearn import plotting
from nilearn.datasets import load_fsaverage, load_fsaverage_data
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import PipelineConfig, run

N_SUBJECTS, N_PARTS, NOISE = 40, 4, 0.3
SIDES = {"L": "left", "R": "right"}

rng = np.random.default_rng(0)
fsaverage = load_fsaverage("fsaverage5")
thickness = load_fsaverage_data("fsaverage5", data_type="thickness").data.parts
planted = {}
for number, side in enumerate(SIDES.values()):
    positions = fsaverage["sphere"].parts[side].coordinates
    parts = KMeans(N_PARTS, n_init=4, random_state=0).fit_predict(positions)
    planted[side] = np.where(thickness[side] > 0, number * N_PARTS + parts + 1, 0)

# %%
# The files are a BIDS derivatives dataset: one GIFTI file per subject and hemisphere.
work = Path(mkdtemp())
dataset = work / "dataset"
for subject in range(1, N_SUBJECTS + 1):
    of_parts = rng.uniform(1.5, 3.5, 2 * N_PARTS + 1)
    for hemi, side in SIDES.items():
        values = of_parts[planted[side]] + NOISE * rng.standard_normal(len(planted[side]))
        values = np.where(planted[side] > 0, np.maximum(values, 0.1), 0).astype(np.float32)
        name = f"sub-{subject:02d}_hemi-{hemi}_space-fsaverage_den-10k_thickness.shape.gii"
        folder = dataset / f"sub-{subject:02d}" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        image = GiftiImage(darrays=[GiftiDataArray(values, intent="NIFTI_INTENT_SHAPE")])
        image.to_filename(folder / name)
description = {"Name": "Simulated thickness", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
(dataset / "dataset_description.json").write_text(json.dumps(description))

# %%
# A run
# -----
# The filters select both hemispheres; they are one image. Surfaces need the filter ``extension``.
config = PipelineConfig.model_validate(
    {
        "inputs": {
            "bids": dataset,
            "filters": {"suffix": "thickness", "extension": ".shape.gii", "space": "fsaverage"},
        },
        "decomposition": {"n_components": 2 * N_PARTS},
        "report": {"figures": False},  # draws the pictures that this page draws itself
        "output": {"dir": work / "out"},
    }
)
summary = run(config)
print(f"{summary.n_subjects} subjects, {summary.n_voxels} {summary.elements}")
for path in sorted((work / "out" / "group").glob("*K8*.*i*")):
    print(path.name)

# %%
# The parts
# ---------
# Label maps are GIFTI files with names and colours, one for each hemisphere, and one CIFTI file for
# both. The adjusted Rand index compares them with the planted parts; it is 1 for equal label maps.
group = work / "out" / "group"
name = "hemi-{}_space-fsaverage_den-10k_desc-opnmfK8_dseg.label.gii"
found = {side: nb.load(group / name.format(hemi)).agg_data() for hemi, side in SIDES.items()}
truth, labels = (np.concatenate(list(maps.values())) for maps in (planted, found))
print(f"adjusted Rand index: {adjusted_rand_score(truth[truth > 0], labels[truth > 0]):.3f}")

fig, axes = plt.subplots(2, 4, figsize=(10, 4.6), subplot_kw={"projection": "3d"})
for row, (title, maps) in zip(axes, {"planted": planted, "found": found}.items(), strict=True):
    views = [(side, view) for side in SIDES.values() for view in ("lateral", "medial")]
    for axis, (side, view) in zip(row, views, strict=True):
        plotting.plot_surf_roi(
            fsaverage["inflated"].parts[side],
            np.where(maps[side] > 0, maps[side], np.nan),
            bg_map=load_fsaverage_data("fsaverage5", data_type="sulcal").data.parts[side],
            hemi=side,
            view=view,
            cmap="tab10",
            vmin=1,
            vmax=10,
            axes=axis,
            colorbar=False,
        )
        axis.set_box_aspect(None, zoom=1.4)
    row[0].set_title(title)

# sphinx_gallery_thumbnail_number = 1

# %%
# The colours of the two rows differ, because the components are ordered by the share of the data
# that they explain.
#
# How to read the files of FreeSurfer, fMRIPrep, CAT12 and the Human Connectome Project is described
# in :doc:`surfaces </howto/surfaces>`.
