"""Regions of atlases of surfaces: the same from every format."""

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.surfaces import open_atlas
from opnmf_pipeline.images.surfaces.grid import Grid
from opnmf_pipeline.images.surfaces.labels import read_regions
from tests.surfaces import CORTEX, LEFT, NAMES, RIGHT, write_annot, write_gifti

N = 642
EXPECTED = ["L cuneus", "L insula", "R cuneus", "R insula"]
NO_TABLE = pd.DataFrame()
"""Vertices have no names."""


def cortex(n=N, rows=slice(None)):
    left, right = (
        BrainModelAxis.from_surface(np.arange(n)[rows], n, name) for name in CORTEX.values()
    )
    return left + right


def write_label_gii(folder):
    for side, values in zip("LR", (LEFT, RIGHT), strict=True):
        table = GiftiLabelTable()
        for key, name in enumerate(NAMES):
            label = GiftiLabel(key, 1, 1, 1, 1)
            label.label = name
            table.labels.append(label)
        array = GiftiDataArray(values.astype(np.int32), intent="NIFTI_INTENT_LABEL")
        GiftiImage(darrays=[array], labeltable=table).to_filename(folder / f"a.{side}.label.gii")
    return folder / "a.R.label.gii"


def write_dlabel(folder):
    table = {key: (name, (1, 1, 1, 1)) for key, name in enumerate(NAMES)}
    header = nb.Cifti2Header.from_axes((LabelAxis(["a"], [table]), cortex()))
    values = np.concatenate([LEFT, RIGHT]).astype(np.int32)
    nb.Cifti2Image(values[None], header).to_filename(folder / "a.dlabel.nii")
    return folder / "a.dlabel.nii"


@pytest.mark.parametrize("write", [write_annot, write_label_gii, write_dlabel])
def test_regions_of_every_format(write, tmp_path):
    path = write(tmp_path)
    _, labels, regions = read_regions(path)
    assert regions["name"].to_dict() == dict(enumerate(EXPECTED, start=1))
    for values, labels_of_side, shift in ((LEFT, labels[:N], 0), (RIGHT, labels[N:], 2)):
        expected = np.where(np.isin(values, (1, 2)), values + shift, 0)
        np.testing.assert_array_equal(labels_of_side, expected)
    atlas = open_atlas(path)
    np.testing.assert_array_equal(atlas.labels, labels[labels > 0])
    assert atlas.mask.inside.sum() == len(atlas.labels)


def test_images_without_the_medial_wall_get_the_labels_of_their_vertices(tmp_path):
    path, rows = write_annot(tmp_path), np.arange(5, N, 3)
    whole = read_regions(path)[1].reshape(2, N)
    found = Grid(cortex(rows=rows)).read_labels(path, NO_TABLE)
    np.testing.assert_array_equal(found, whole[:, rows].ravel())


def test_a_name_with_its_hemisphere_is_kept(tmp_path):
    path = write_annot(tmp_path, names=["unknown", "7Networks_LH_Vis_1", "x_L", "Medial_wall"])
    assert read_regions(path)[2]["name"].tolist()[:2] == ["7Networks_LH_Vis_1", "x_L"]


def test_what_is_no_atlas_of_the_images(tmp_path):
    path = write_annot(tmp_path)
    with pytest.raises(ImageError, match=r"report.atlas: .*lh.a.annot is on 642 .*\(fsaverage3\)"):
        Grid(cortex(2562)).read_labels(path, NO_TABLE)
    scalars = write_gifti(tmp_path / "hemi-L_thickness.shape.gii", np.ones(N, np.float32))
    write_gifti(tmp_path / "hemi-R_thickness.shape.gii", np.ones(N, np.float32))
    morphometry = tmp_path / "lh.thickness"
    for path in (scalars, morphometry):
        with pytest.raises(ImageError, match=r"is not an atlas: it contains values, not labels"):
            read_regions(path)
    zero = np.zeros(N, int)
    with pytest.raises(ImageError, match=r"lh.a.annot: has no label with the name of a region"):
        read_regions(write_annot(tmp_path, zero, zero, NAMES))
    (tmp_path / "rh.a.annot").unlink()
    with pytest.raises(ImageError, match=r"file of the other hemisphere, .*rh.a.annot, no such"):
        read_regions(tmp_path / "lh.a.annot")
