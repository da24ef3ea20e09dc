"""Tiny cohorts on disk, all from one seeded generator."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np

SHAPE = (5, 4, 3)
N_SUBJECTS = 6
# 3 mm voxels whose first axis runs from right to left, as in most images of SPM
AFFINE = np.array([[-3.0, 0, 0, 6], [0, 3, 0, -9], [0, 0, 3, 12], [0, 0, 0, 1]])
NAME = "space-MNI152_res-3mm_label-GM_probseg.nii.gz"


@dataclass
class Cohort:
    """A BIDS derivatives dataset of tiny images, and the values that went into it."""

    root: Path
    values: np.ndarray
    """(n_subjects, x, y, z), float32."""
    subjects: list[str]
    images: list[Path]

    def damage(self, number, values):
        """Replace the image of one subject."""
        write_image(self.images[number], values)


def write_image(path, values, affine=AFFINE, codes=(4, 4), image_class=nb.Nifti1Image):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = image_class(values, affine)
    if image_class is nb.Nifti1Image:
        image.set_sform(affine, codes[0])
        image.set_qform(affine, codes[1])
        image.header.set_xyzt_units(xyz="mm")
    image.to_filename(path)
    return path


def three_parts(n_subjects=N_SUBJECTS, seed=0):
    """Positive maps of three parts along the second axis; the first voxel is 0 in everyone."""
    rng = np.random.default_rng(seed)
    parts = np.zeros((*SHAPE, 3))
    for part in range(3):
        parts[:, part : part + 2 if part == 2 else part + 1, :, part] = 1
    values = parts @ rng.uniform(0.3, 1, (3, n_subjects)) + 0.02 * rng.random((*SHAPE, n_subjects))
    values[0, 0, 0] = 0
    return np.moveaxis(values, -1, 0).astype(np.float32)


def write_cohort(root, values):
    subjects = [f"sub-{number:02d}" for number in range(1, len(values) + 1)]
    images = [
        write_image(root / subject / "anat" / f"{subject}_{NAME}", volume)
        for subject, volume in zip(subjects, values, strict=True)
    ]
    rows = [f"{subject}\t{20 + number}" for number, subject in enumerate(subjects)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    description = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return Cohort(root, values, subjects, images)
