"""
A second cohort: projected and compared
=======================================

A run finds the components of one cohort. This example applies them to a second cohort, finds the
image that does not fit, and compares the components of both cohorts.
:doc:`/howto/new-subjects` and :doc:`/howto/share-and-compare` show the same on the command line.
"""

# %%
# Two cohorts
# -----------
# One hundred subjects are simulated with eight planted parts. Sixty are the first cohort, forty the
# second. The last image of the second cohort was not registered well: it is moved by 12 mm.
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np
import pandas as pd

from opnmf_pipeline import Model, PipelineConfig, run
from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.runs.comparison import compare, named_models
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs

N_COMPONENTS, N_FIRST = 8, 60
work = Path(mkdtemp())
dataset = simulate(SimulationConfig(n_subjects=100, noise=0.3), work / "dataset")
people = pd.read_csv(collect_cohort(simulated_inputs(dataset), work / "cohort.tsv"), sep="\t")
people = people.rename(columns={"image": "path"})
first, second = people[:N_FIRST], people[N_FIRST:]

path = second["path"].iloc[-1]
last = nb.load(path)
moved = np.roll(last.get_fdata(dtype=np.float32), 2, axis=1)
nb.Nifti1Image(moved, last.affine, last.header).to_filename(path)

# %%
# The model of each cohort
# ------------------------
# The output folder of a run is a model.
for name, cohort in (("first", first), ("second", second)):
    cohort.to_csv(work / f"{name}.tsv", sep="\t", index=False)
    config = PipelineConfig.model_validate(
        {
            "inputs": {"table": work / f"{name}.tsv"},
            "decomposition": {"n_components": N_COMPONENTS},
            "report": {"figures": False},
            "output": {"dir": work / name},
        }
    )
    run(config)

# %%
# The components of the first cohort in the second
# ------------------------------------------------
# Nothing is fitted: the loadings are Wᵀx. The reconstruction error shows whether the components
# describe an image as well as those of the first cohort. The moved image is outside their range.
model = Model.load(work / "first")
table = model.project(second["path"].tolist())
outside = table["outside_training_range"].to_numpy()
print(f"outside the range of the first cohort: {second['participant_id'][outside].tolist()}")

# %%
# The component whose loadings correlate most with age in the first cohort is tested in the second
# cohort, without the moved image.
loadings = model.project(first["path"].tolist())[model.names]
chosen = loadings.corrwith(first["age"].reset_index(drop=True)).abs().idxmax()
good = ~outside
r_first = np.corrcoef(first["age"], loadings[chosen])[0, 1]
r_second = np.corrcoef(second["age"][good], table[chosen][good])[0, 1]
print(f"{chosen} and age: r = {r_first:.2f} in the first cohort (n = {N_FIRST})")
print(f"{chosen} and age: r = {r_second:.2f} in the second cohort (n = {good.sum()})")

_, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
left.plot(first["age"], loadings[chosen], "o", ms=4, color="0.6", label="first cohort")
left.plot(second["age"][good], table[chosen][good], "o", ms=5, label="second cohort, projected")
left.set(xlabel="age (years)", ylabel=f"loading on {chosen}")
left.legend(frameon=False)
bins = np.linspace(0.2, 0.8, 41)
right.hist(model.training_errors, bins, color="0.6", label="first cohort")
right.hist(table["reconstruction_error"], bins, alpha=0.8, label="second cohort, projected")
right.annotate(
    "moved image",
    (table["reconstruction_error"].iloc[-1], 1),
    (0, 40),
    textcoords="offset points",
    ha="center",
    arrowprops={"arrowstyle": "->"},
)
right.set(xlabel="relative reconstruction error ‖x − Wh‖ / ‖x‖", ylabel="subjects")
right.legend(frameon=False, loc="center right")
plt.show()

# %%
# The correlation has the same sign in the second cohort, but it is weaker, and its 95 % confidence
# interval (-0.54 to 0.05) contains 0. So the second cohort does not confirm the association. The
# component was chosen because its correlation is the largest in the first cohort, so a weaker one
# is expected in others, and 39 subjects are few.

# %%
# The components of both cohorts
# ------------------------------
# Components of two fits are matched one to one. Compact parts agree by chance, too; this value is
# next to each agreement.
compared = compare(named_models([work / "first", work / "second"]), work / "compared")
found = compared.agreement.iloc[0]
for measure, words in (("cosine", "mean cosine"), ("label_ari", "ARI of the label maps")):
    print(f"{words}: {found[measure]:.2f} (by chance {found[f'{measure}_null']:.2f})")
