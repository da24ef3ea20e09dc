import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.atlas import read_regions
from opnmf_pipeline.images.volumes import ATLAS, Grid, Mask, open_atlas
from tests.builders import AFFINE, SHAPE, write_image


@pytest.fixture(scope="module")
def shipped():
    """Names of the regions of the atlas that the package includes, at positions in mm."""
    image = nb.load(ATLAS.image)
    labels, names = np.asarray(image.dataobj), read_regions(ATLAS.labels)["name"]

    def at(position):
        index = np.rint(apply_affine(np.linalg.inv(image.affine), position)).astype(int)
        return names.get(int(labels[tuple(index)]))

    return at


@pytest.mark.parametrize(
    ("position", "name"),
    [
        ((-26, 6, 2), "left putamen"),
        ((26, 6, 2), "right putamen"),
        ((-12, -18, 8), "left thalamus"),
        ((-28, -18, -16), "left hippocampus"),
        ((38, 4, 0), "right insula"),
        ((-40, -24, 56), "left precentral gyrus"),
        ((44, -26, 52), "right postcentral gyrus"),
        ((6, -64, 40), "right precuneus"),
        ((-6, -84, 22), "left cuneus"),
        ((-50, -20, 6), "left transverse temporal gyrus"),
        ((28, -64, -30), "right cerebellum"),
        ((0, -30, -34), "brain stem"),
        ((26, -20, 30), None),  # white matter
        ((0, -110, 0), None),  # behind the brain
    ],
)
def test_the_shipped_atlas_has_structures_where_they_are(shipped, position, name):
    assert shipped(position) == name


def test_every_region_of_the_shipped_atlas_is_on_its_side_and_has_a_structure():
    image, regions = nb.load(ATLAS.image), read_regions(ATLAS.labels)
    found = np.unique(open_atlas(ATLAS.image).labels).tolist()
    assert found == regions.index.tolist() == list(range(1, 88))
    assert regions["structure"].notna().all()
    labels = np.asarray(image.dataobj)
    for index, name in regions["name"].items():
        x = apply_affine(image.affine, np.argwhere(labels == index))[:, 0]
        side = {"left": -1, "right": 1}.get(name.split()[0], 0)
        assert side == 0 or np.sign(np.median(x)) == side, name


def test_the_licence_is_beside_the_shipped_atlas():
    licence = ATLAS.image.with_name("LICENSE.txt").read_text()
    assert licence.startswith("All or portions of this licensed product (such portions are the")
    assert "PART B. DOWNLOADING AGREEMENT" in licence


NAMES = pd.DataFrame()
"""Voxels have no names."""


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 200, SHAPE).astype(np.int16)


def test_labels_in_another_orientation_are_at_the_same_places(labels, tmp_path):
    grid = Grid(SHAPE, AFFINE)
    turned = nb.as_closest_canonical(nb.Nifti1Image(labels, AFFINE))
    assert not np.allclose(turned.affine, AFFINE)
    path = write_image(tmp_path / "a.nii.gz", np.asarray(turned.dataobj), turned.affine)
    np.testing.assert_array_equal(grid.read_labels(path, NAMES), labels)


def test_labels_on_another_grid_are_not_averaged(labels, tmp_path):
    fine = np.repeat(np.repeat(np.repeat(labels, 3, 0), 3, 1), 3, 2)
    affine = AFFINE @ np.diag([1 / 3, 1 / 3, 1 / 3, 1])
    affine[:3, 3] -= AFFINE[:3, :3].sum(axis=1) / 3  # the corners coincide
    path = write_image(tmp_path / "a.nii.gz", fine, affine)
    np.testing.assert_array_equal(Grid(SHAPE, AFFINE).read_labels(path, NAMES), labels)
    finer = Grid((9, 7, 5), AFFINE @ np.diag([0.4, 0.4, 0.4, 1]))
    assert set(finer.read_labels(path, NAMES).flat) <= {0, *labels.flat}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full(SHAPE, 0.25, np.float32), "has the value 0.25, which is no label"),
        (np.full(SHAPE, -2, np.int16), "has the value -2, which is no label"),
        (np.ones((*SHAPE, 4), np.int16), "has shape .*, expected one 3D volume"),
    ],
)
def test_what_is_no_label_image(tmp_path, values, message):
    path = write_image(tmp_path / "a.nii.gz", values)
    with pytest.raises(ImageError, match=message):
        open_atlas(path)


def test_hemispheres_and_positions():
    mask = Mask(nb.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE))
    assert mask.positions()[0].tolist() == [6, -9, 12]
    assert mask.positions()[-1].tolist() == [-6, 0, 18]
    np.testing.assert_array_equal(mask.hemispheres[:: 4 * 3], [1, 1, 0, -1, -1])
