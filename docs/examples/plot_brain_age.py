"""
Brain age by cross-validation
=============================

``StructuralCovariance`` is a transformer of scikit-learn: its input is one image per subject, and
its output is the loadings of the subjects. In a pipeline, the loadings predict the age of
subjects that neither the components nor the regression have seen. The last section shows what
happens to the same data if ``OPNMF`` gets them with subjects as rows.
"""

# %%
# A cohort with known components
# ------------------------------
# The cohort has eighty subjects. Four of the eight planted parts lose tissue with age (parts
# 1, 3, 5 and 7). The noise is strong.
import warnings
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd
from nilearn import plotting
from nilearn.image import new_img_like
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from opnmf_pipeline import OPNMF, StructuralCovariance
from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs

N_COMPONENTS = 8
work = Path(mkdtemp())
dataset = simulate(SimulationConfig(n_subjects=80, noise=0.3), work / "dataset")
cohort = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
images, age = cohort["image"].tolist(), cohort["age"].to_numpy()

# %%
# From images to age
# ------------------
# In each of the five folds, four fifths of the subjects give the mask, the components, the mean and
# standard deviation of the loadings, and the ridge regression. The other fifth is used only for the
# error. No step sees a test subject, because each step is in the pipeline.
model = StructuralCovariance(N_COMPONENTS)
regression = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11)))
brain_age = make_pipeline(model, regression)
folds = KFold(5, shuffle=True, random_state=0)
predicted = cross_val_predict(brain_age, images, age, cv=folds)
at_chance = cross_val_predict(DummyRegressor(), images, age, cv=folds)
error = np.abs(predicted - age).mean()
print(f"mean absolute error: {error:.1f} years")
print(f"always the mean age of the training subjects: {np.abs(at_chance - age).mean():.1f} years")

# %%
# Which parts change with age? The map is of a fit to all subjects, and no error is computed from
# it. Each voxel has the correlation with age of the component in which it has the largest weight.
model.fit(images)
loadings = model.set_output(transform="pandas").transform(images)
correlation = loadings.corrwith(cohort["age"])
largest = model.components_.argmax(axis=0)
found = model.masker_.inverse_transform(correlation.to_numpy()[np.newaxis, largest])

planted = nb.load(dataset / PLANTED_LABELS)
shrinking = new_img_like(planted, np.where(np.asarray(planted.dataobj) % 2, -0.6, 0))

fig = plt.figure(figsize=(9, 5.2))
maps = {"planted: parts that shrink": shrinking, "correlation of loadings with age": found}
for number, (title, image) in enumerate(maps.items()):
    plotting.plot_stat_map(
        image,
        axes=fig.add_axes((0, 0.5 - 0.5 * number, 0.52, 0.5)),
        title=title,
        display_mode="z",
        cut_coords=(-28, 14),
        threshold=0.2,
        vmax=0.7,
        cmap="RdBu_r",
        colorbar=False,
        annotate=False,
    )
axis = fig.add_axes((0.61, 0.15, 0.37, 0.72))
axis.plot([15, 85], [15, 85], color="0.7")
axis.plot(age, predicted, "o", ms=4)
axis.set(xlabel="age", ylabel="age predicted from the image", aspect="equal")
axis.set_title(f"mean absolute error: {error:.1f} years")

# %%
# How many components?
# --------------------
# ``score`` is R² of the reconstruction of test subjects, about the mean of the training subjects.
# All functions of scikit-learn that use a score take it. For a study, :doc:`/choosing-k` describes
# more measures.
for k in (4, 8):
    r2 = cross_val_score(StructuralCovariance(k), images, cv=3).mean()
    print(f"{k} components: R² of new subjects {r2:.2f}")

# %%
# The wrong orientation
# ---------------------
# ``OPNMF`` has voxels as rows, as in the literature. If it gets subjects as rows, it finds groups
# of *subjects*. It warns, since data of this size look like images:
X = model.masker_.transform(images)
print(f"X: {X.shape[0]} subjects × {X.shape[1]} voxels")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = OPNMF(N_COMPONENTS, solver="adaptive", random_state=0).fit(X)
print(caught[0].message)


# %%
# The rows of its H look like maps of the brain. But each is a weighted mean of the images of some
# subjects, and all of them are almost the same map. The cosine of two of these maps is close to 1,
# and that of two components is close to 0.
def cosines(maps):
    """Return the cosine of each pair of maps."""
    unit = maps / np.linalg.norm(maps, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


cuts = [
    plotting.find_xyz_cut_coords(model.masker_.inverse_transform(component[np.newaxis]))[2:]
    for component in model.components_[:4]
]
rows = {"subjects as columns": model.components_, "subjects as rows": wrong.components_}
fig, axes = plt.subplots(2, 4, figsize=(10, 6.4))
fig.subplots_adjust(0, 0, 1, 0.92, wspace=0.02, hspace=0.15)
for line, (name, maps) in zip(axes, rows.items(), strict=True):
    mean = cosines(maps).mean()
    print(f"{name}: mean cosine of two maps {mean:.2f}")
    line[0].set_title(f"{name}: mean cosine {mean:.2f}", loc="left")
    for axis, component, cut in zip(line, maps, cuts, strict=False):
        plotting.plot_stat_map(
            model.masker_.inverse_transform(component[np.newaxis]),
            axes=axis,
            display_mode="z",
            cut_coords=cut,
            threshold=component.max() / 4,
            vmin=0,
            cmap="inferno",
            colorbar=False,
        )

# %%
# In these data, the groups predict age only a little less well than the components. So a good
# prediction does not show that the orientation is right. The maps show it: those of the groups are
# no patterns of structural covariance.
grouped = make_pipeline(OPNMF(N_COMPONENTS, solver="adaptive", random_state=0), regression)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    predicted = cross_val_predict(grouped, X, age, cv=folds)
print(f"mean absolute error with subjects as rows: {np.abs(predicted - age).mean():.1f} years")

# sphinx_gallery_thumbnail_number = 1
