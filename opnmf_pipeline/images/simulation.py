"""A simulated cohort with known components, planted in the MNI152 grey-matter template.

Its images are always volumes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pandas as pd
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.images.volumes import set_space
from opnmf_pipeline.tables import write_table

__all__ = ["PLANTED_LABELS", "simulate_cohort", "simulated_participants"]

SPACE = "MNI152NLin2009aAsym"
MNI_CODE = 4
PLANTED_LABELS = f"group/space-{SPACE}_desc-planted_dseg.nii.gz"
IMAGE = "{subject}/anat/{subject}_space-" + SPACE + "_label-GM_probseg.nii.gz"

TISSUE = 0.2
"""Template density above which a voxel belongs to the simulated brain."""
BLUR_VOXELS = 0.6
"""Standard deviation of the blur of the borders between components."""
CLEAR = 0.75
"""Share of a voxel above which it counts as belonging to one planted component."""
SPREAD = 0.25
"""Standard deviation of the loadings, as a fraction of their mean."""
AGE_EFFECT = 0.15


def simulate_cohort(root: Path, options: SimulationConfig) -> None:
    """Write a BIDS derivatives dataset of simulated grey-matter maps.

    The grey matter of the template is divided into compact parts that are symmetric between the
    hemispheres and have blurred borders. Each subject has one positive loading per part; every
    other loading decreases with age. The map of a subject is the template, scaled in each part by
    the loading, plus smooth noise.

    Parameters
    ----------
    root : path
        Folder of the dataset. ``PLANTED_LABELS`` in it is the true label map: the voxels that
        belong to one component by at least 75 %.
    options : SimulationConfig
        Numbers of subjects and components, voxel size (mm), noise, seed.
    """
    from nilearn.datasets import load_mni152_gm_template
    from nilearn.image import resample_img

    rng = np.random.default_rng(options.random_state)
    template = resample_img(
        load_mni152_gm_template(resolution=1),
        target_affine=np.diag([options.voxel_size] * 3),
        interpolation="linear",
        copy_header=True,
        force_resample=True,
    )
    density = np.where(template.dataobj > np.float32(TISSUE), template.dataobj, 0)
    shares = _planted_shares(density > 0, template.affine, options)
    participants = _participants(options.n_subjects, rng)
    loadings = _loadings(participants["age"].to_numpy(), options.n_components, rng)
    for subject, weights in zip(participants["participant_id"], loadings, strict=True):
        noise = gaussian_filter(rng.standard_normal(density.shape), 1)
        noise *= options.noise * density.max() / noise.std()
        values = np.maximum(density * (shares @ weights) + noise * (density > 0), 0)
        _save(values.astype(np.float32), template.affine, root / IMAGE.format(subject=subject))
    labels = np.where(shares.max(axis=-1) >= CLEAR, shares.argmax(axis=-1) + 1, 0)
    _save(labels.astype(np.int16), template.affine, root / PLANTED_LABELS)
    write_table(participants, root / "participants.tsv")
    description = {
        "Name": "Simulated grey-matter maps with planted components",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "opnmf-pipeline", "Description": "simulate_cohort"}],
    }
    (root / "dataset_description.json").write_text(json.dumps(description, indent=1) + "\n")


def _planted_shares(
    brain: NDArray[np.bool_], affine: NDArray[np.float64], options: SimulationConfig
) -> NDArray[np.float64]:
    """Return the share of each component in each voxel, shape (x, y, z, n_components)."""
    from sklearn.cluster import KMeans

    positions = apply_affine(affine, np.argwhere(brain))
    positions[:, 0] = np.abs(positions[:, 0])
    parts = KMeans(options.n_components, n_init=4, random_state=options.random_state)
    shares = np.zeros((*brain.shape, options.n_components))
    shares[brain] = np.eye(options.n_components)[parts.fit_predict(positions)]
    shares = gaussian_filter(shares, (BLUR_VOXELS, BLUR_VOXELS, BLUR_VOXELS, 0))
    shares[~brain] = 0
    shares[brain] /= shares[brain].sum(axis=1, keepdims=True)
    planted: NDArray[np.float64] = shares
    return planted


def simulated_participants(options: SimulationConfig) -> pd.DataFrame:
    """Return the participants of :func:`simulate_cohort`, with age, sex and site."""
    return _participants(options.n_subjects, np.random.default_rng(options.random_state))


def _participants(n_subjects: int, rng: np.random.Generator) -> pd.DataFrame:
    width = max(2, len(str(n_subjects)))
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:0{width}d}" for n in range(1, n_subjects + 1)],
            "age": rng.integers(20, 81, n_subjects),
            "sex": rng.choice(["F", "M"], n_subjects),
            "site": rng.choice(["A", "B"], n_subjects),
        }
    )


def _loadings(
    age: NDArray[np.int64], n_components: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return positive loadings, (n_subjects, n_components); every other one decreases with age."""
    effects = np.where(np.arange(n_components) % 2, 0.0, -AGE_EFFECT)
    logs = SPREAD * rng.standard_normal((age.size, n_components))
    logs += np.outer((age - 50) / 20, effects)
    loadings: NDArray[np.float64] = np.exp(logs)
    return loadings


def _save(values: NDArray[Any], affine: NDArray[np.float64], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(values, affine)
    set_space(image, MNI_CODE)
    image.to_filename(path)
