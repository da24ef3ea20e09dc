"""Cohorts on surfaces with planted parts, from one seeded generator."""

import json

import nibabel as nb
import numpy as np
from nibabel.cifti2 import BrainModelAxis, ScalarAxis
from nibabel.gifti import GiftiDataArray, GiftiImage

CORTEX = {"L": "CIFTI_STRUCTURE_CORTEX_LEFT", "R": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
FREESURFER = {"L": "lh", "R": "rh"}
NAMES = ["unknown", "cuneus", "insula", "Medial_wall"]
LEFT, RIGHT = np.arange(642) % 4, np.arange(642) // 200
"""Labels of an atlas of fsaverage3, by their numbers, in both hemispheres."""


def parts_of_sphere(n_vertices, n_parts, n_outside=0):
    """Return labels from 1 of both hemispheres, (2, n_vertices); the last vertices have 0.

    The vertices are put on a sphere in order, so that parts are bands of equal size.
    """
    labels = np.arange(n_vertices) * n_parts // n_vertices + 1
    labels[n_vertices - n_outside :] = 0
    return np.stack([labels, labels])


def thickness(labels, n_subjects, noise=0.05, seed=0):
    """Return thickness in mm, (n_subjects, 2, n_vertices), float32; parts vary independently.

    Where the label is 0, the thickness is 0.
    """
    rng = np.random.default_rng(seed)
    n_parts = int(labels.max())
    of_parts = rng.uniform(1.5, 3.5, (n_subjects, n_parts + 1))
    values = of_parts[:, labels] + noise * rng.standard_normal((n_subjects, *labels.shape))
    return (np.maximum(values, 0.1) * (labels > 0)).astype(np.float32)


def write_gifti(path, values, intent="NIFTI_INTENT_SHAPE"):
    path.parent.mkdir(parents=True, exist_ok=True)
    GiftiImage(darrays=[GiftiDataArray(values, intent=intent)]).to_filename(path)
    return path


def write_mgh(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.MGHImage(values.reshape(-1, 1, 1), np.eye(4)).to_filename(path)
    return path


def write_morphometry(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nb.freesurfer.write_morph_data(path, values)
    return path


def write_cifti(path, hemispheres, keep=None, voxels=None):
    """Write both hemispheres, (2, n_vertices), without the vertices that ``keep`` leaves out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    n_vertices = hemispheres.shape[1]
    keep = np.ones(hemispheres.shape, dtype=bool) if keep is None else keep
    sides = [
        BrainModelAxis.from_surface(np.flatnonzero(inside), n_vertices, name)
        for inside, name in zip(keep, CORTEX.values(), strict=True)
    ]
    axis, values = sides[0] + sides[1], hemispheres[keep]
    if voxels is not None:
        volume = np.ones(voxels.shape, dtype=bool)
        axis += BrainModelAxis.from_mask(volume, "CIFTI_STRUCTURE_THALAMUS_LEFT", np.eye(4))
        values = np.concatenate([values, voxels.ravel()])
    header = nb.Cifti2Header.from_axes((ScalarAxis(["thickness"]), axis))
    nb.Cifti2Image(values[None], header).to_filename(path)
    return path


def write_subject(folder, subject, hemispheres, kind, keep=None):
    """Write one subject's thickness in a format, and return the file that names the image."""
    anat = folder / subject / "anat"
    if kind == "cifti":
        name = f"{subject}_space-fsaverage_thickness.dscalar.nii"
        return write_cifti(anat / name, hemispheres, keep)
    if kind == "gifti":
        files = {s: f"{subject}_hemi-{s}_space-fsaverage_thickness.shape.gii" for s in "LR"}
        write = write_gifti
    else:
        anat = folder / subject / "surf"
        ending = ".thickness.fwhm10.fsaverage3.mgh" if kind == "mgh" else ".thickness"
        files = {side: name + ending for side, name in FREESURFER.items()}
        write = write_mgh if kind == "mgh" else write_morphometry
    for values, side in zip(hemispheres, "LR", strict=True):
        write(anat / files[side], values)
    return anat / files["L"]


def write_cohort(root, values, kind="gifti", keep=None):
    """Write a BIDS derivatives dataset (or subjects directory), and return the images."""
    subjects = [f"sub-{number:02d}" for number in range(1, len(values) + 1)]
    images = [
        write_subject(root, subject, hemispheres, kind, keep)
        for subject, hemispheres in zip(subjects, values, strict=True)
    ]
    rows = [f"{subject}\t{20 + number}" for number, subject in enumerate(subjects)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    description = {"Name": "tiny", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return images


def write_annot(folder, left=LEFT, right=RIGHT, names=NAMES):
    """Write an atlas in FreeSurfer's format; return the file of the left hemisphere."""
    colours = np.column_stack([np.arange(1, len(names) + 1)] * 3 + [np.zeros(len(names), int)])
    for side, values in zip(("lh", "rh"), (left, right), strict=True):
        table = np.column_stack([colours, np.zeros(len(names), int)])
        nb.freesurfer.write_annot(folder / f"{side}.a.annot", values, table, names, fill_ctab=True)
    return folder / "lh.a.annot"
