"""
A table of regions: components on the cortex
============================================

Many studies share one value per region and not images. This example takes such a table, chooses
nothing but the number of components, and shows them on an atlas whose regions have the names of the
columns. :doc:`/howto/tables` shows the same for tables of FreeSurfer, ENIGMA and UK Biobank.
"""

# %%
# An atlas and a table
# --------------------
# The regions here are 200 patches of the mesh fsaverage5, which nilearn contains: each vertex
# belongs to the nearest of 100 centres in its hemisphere. The centres on the right are the vertices
# nearest to the mirror image of those on the left, so a patch has the same number and about the
# same place in both hemispheres. For your data, name the atlas that the table comes from, such as
# ``lh.aparc.annot``.
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd
from nilearn.datasets import load_fsaverage, load_fsaverage_data
from scipy.spatial import KDTree
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline import PipelineConfig, run

N_REGIONS, N_PARTS, N_SUBJECTS = 100, 4, 80
work, rng = Path(mkdtemp()), np.random.default_rng(0)
meshes = load_fsaverage("fsaverage5")
spheres, brain = meshes["sphere"].parts, meshes["white_matter"].parts
cortex = load_fsaverage_data("fsaverage5", data_type="thickness").data.parts
names = ["unknown", *(f"patch{number}" for number in range(1, N_REGIONS + 1))]
colours = np.column_stack([rng.integers(1, 255, (len(names), 3)), np.zeros(len(names), int)])
left = rng.choice(np.flatnonzero(cortex["left"]), N_REGIONS, replace=False)
mirrored = brain["left"].coordinates[left] * [-1, 1, 1]
right = KDTree(brain["right"].coordinates).query(mirrored)[1]
for side, label, centres in (("left", "lh", left), ("right", "rh", right)):
    sphere = spheres[side].coordinates
    patches = KDTree(sphere[centres]).query(sphere)[1] + 1
    patches[cortex[side] == 0] = 0  # the medial wall
    file = work / f"{label}.patches.annot"
    nb.freesurfer.write_annot(file, patches, colours, names, fill_ctab=True)

# %%
# In the simulated table, regions that belong to one of four planted parts vary together. The parts
# are the same in both hemispheres.
seeds = rng.standard_normal((N_PARTS, 3))
seeds *= 100 / np.linalg.norm(seeds, axis=1, keepdims=True)  # on the sphere
planted = 2 * KDTree(seeds).query(spheres["left"].coordinates[left])[1].tolist()
columns = [f"{label}_{name}_thickness" for label in ("lh", "rh") for name in names[1:]]
of_part = 2.5 + 0.3 * rng.standard_normal((N_SUBJECTS, N_PARTS))
values = of_part[:, planted] + 0.3 * rng.standard_normal((N_SUBJECTS, len(columns)))
table = pd.DataFrame(values, columns=columns)
table.insert(0, "participant_id", [f"sub-{number:03d}" for number in range(N_SUBJECTS)])
table.to_csv(work / "thickness.csv", index=False)

# %%
# The run
# -------
# ``report.atlas`` names the components after its regions and shows them on its mesh. The program
# finds ``lh.patches`` and ``patch7`` in the column ``lh_patch7_thickness``.
config = PipelineConfig.model_validate(
    {
        "inputs": {"features": [work / "thickness.csv"]},
        "decomposition": {"n_components": N_PARTS},
        "report": {"atlas": work / "lh.patches.annot"},
        "output": {"dir": work / "out"},
    }
)
summary = run(config)

# %%
# Components and parts
# --------------------
# The same pictures are in the report, with a viewer that turns the brain.
for name in ("parts", "montage"):
    picture = plt.imread(summary.outputs.path(name, N_PARTS))
    figure, axis = plt.subplots(figsize=(9, 9 * picture.shape[0] / picture.shape[1]))
    axis.imshow(picture)
    axis.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1)
plt.show()

# %%
# The maps are files for Connectome Workbench (``.dscalar.nii``, ``.dlabel.nii``) and for FreeView
# (``.shape.gii``, ``.label.gii``). The table has the label of each region.
found = pd.read_csv(summary.outputs.path("dseg", N_PARTS), sep="\t")["component"]
print(f"ARI with the planted parts: {adjusted_rand_score(planted, found):.2f}")
print(*sorted(path.name for path in (work / "out/group").glob("*K4_dseg.*")), sep="\n")
