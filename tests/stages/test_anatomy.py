"""Components with known places: an atlas whose regions are the planted parts."""

import json

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.volumes import open_mask
from opnmf_pipeline.stages.anatomy import REGION_COLUMNS, describe_places, locate, open_atlas
from tests.builders import SHAPE, write_image

NAMES = "index\tname\n1\tleft a\n2\tright a\n3\tb\n4\tc\n"


@pytest.fixture
def mask(tmp_path):
    return open_mask(write_image(tmp_path / "mask.nii.gz", np.ones(SHAPE, np.uint8)))


@pytest.fixture
def atlas(tmp_path):
    """Slabs along the second axis, the first of them divided between the hemispheres."""
    values = np.zeros(SHAPE, np.uint8)
    values[:, 1], values[:, 2] = 3, 4
    values[:2, 0], values[3:, 0] = 2, 1  # x is positive first
    image = write_image(tmp_path / "atlas.nii.gz", values)
    (tmp_path / "atlas.tsv").write_text(NAMES)
    return Atlas(image, tmp_path / "atlas.tsv")


def parts(mask):
    """Three components that are the slabs; the fourth slab has no component."""
    W = np.zeros((np.prod(SHAPE), 3))
    slab = np.indices(SHAPE)[1][mask.inside]
    for number in range(3):
        W[slab == number, number] = 2
    W[np.flatnonzero(slab == 0)[[0, -1]], 0] = 3, 4
    return W, (slab + 1).clip(max=3).astype(np.int16) * (slab < 3)


def test_components_that_are_regions(mask, atlas):
    W, labels = parts(mask)
    places, regions = locate(mask, W, labels, atlas)
    assert places["proposed_name"].tolist() == ["Bilateral a", "B", "C"]
    second = regions[regions["component"] == 2].to_dict("records")
    assert second == [
        {"component": 2, "index": 3, "region": "b", "percent_of_component": 100}
        | {"percent_of_region": 100}
    ]
    first = regions[regions["component"] == 1]
    assert first["region"].tolist() == ["left a", "right a", "outside the atlas"]
    assert first["percent_of_component"].tolist() == [42.4, 39.4, 18.2]  # 14, 13 and 6 of 33
    assert places.loc[0, ["peak_left_x", "peak_left_y", "peak_left_z"]].tolist() == [-6, -9, 18]
    assert places.loc[0, ["peak_right_x", "peak_right_y", "peak_right_z"]].tolist() == [6, -9, 12]
    assert places.loc[0, ["peak_left_region", "peak_right_region"]].tolist() == [
        *("left a", "right a")
    ]
    assert set(describe_places(places)) == set(places)
    assert set(regions) <= set(REGION_COLUMNS)


def test_an_atlas_on_another_grid_gives_the_same(mask, atlas, tmp_path):
    W, labels = parts(mask)
    image = nb.as_closest_canonical(nb.load(atlas.image))
    fine = np.asarray(image.dataobj).repeat(3, 0).repeat(3, 1).repeat(3, 2)
    affine = image.affine @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    affine[:3, 3] -= 1  # mm: the corners coincide
    other = atlas._replace(image=write_image(tmp_path / "fine.nii", fine, affine))
    for ours, theirs in zip(
        locate(mask, W, labels, atlas), locate(mask, W, labels, other), strict=True
    ):
        pd.testing.assert_frame_equal(ours, theirs)


def test_without_an_atlas_there_are_peaks_only(mask):
    W, labels = parts(mask)
    W[:, 1] = 0
    places, regions = locate(mask, W, labels, None)
    assert list(places) == [f"peak_{side}_{x}" for side in ("left", "right") for x in "xyz"]
    assert places.loc[1].isna().all()
    assert regions.empty
    assert json.dumps(describe_places(places)).count('"mm"') == 6


def test_labels_without_a_name_are_listed(mask, atlas):
    atlas.labels.write_text("index\tname\n1\tleft a\n3\tb\n")
    message = r"atlas.nii.gz: has labels without a name in .*atlas.tsv: 2, 4; add a line"
    with pytest.raises(ImageError, match=message):
        open_atlas(atlas)
    with pytest.raises(ImageError, match=message):
        locate(mask, *parts(mask), atlas)
