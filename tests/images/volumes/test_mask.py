import nibabel as nb
import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy.ndimage import binary_erosion

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes import Mask, open_mask
from opnmf_pipeline.selection.shape import winner_takes_all
from tests.builders import AFFINE, SHAPE, write_image


@pytest.fixture
def mask(tmp_path):
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1, 2, 1] = values[3, 0, 2] = values[3, 1, 0] = values[4, 3, 2] = 1
    return open_mask(write_image(tmp_path / "mask.nii.gz", values, codes=(4, 4)))


W = np.array([[0.1, 2.0], [0.5, 0.4], [0.0, 0.0], [0.3, 0.3]], dtype=np.float32)


def test_unmasked(mask):
    image = mask.unmasked(W)
    assert image.shape == (*SHAPE, 2)
    values = np.asarray(image.dataobj)
    # C order of the grid: (1,2,1), (3,0,2), (3,1,0), (4,3,2)
    assert values[1, 2, 1].tolist() == W[0].tolist()
    assert values[3, 0, 2].tolist() == W[1].tolist()
    assert values[4, 3, 2].tolist() == W[3].tolist()
    assert np.count_nonzero(values) == 6
    assert mask.unmasked(W[:, 0]).shape == SHAPE


def test_masked_undoes_unmasked(mask, tmp_path):
    mask.write(W[:, 1], tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(mask.masked(tmp_path / "one.nii.gz"), W[:, 1])
    mask.write(W, tmp_path / "both.nii.gz")
    np.testing.assert_array_equal(mask.masked(tmp_path / "both.nii.gz"), W)


def test_label_table(mask):
    table = mask.label_table(W, winner_takes_all(W))
    assert list(table) == list(mask.label_columns)  # the mask is in MNI152 space
    assert table["index"].tolist() == [1, 2]
    assert table["name"].tolist() == ["component01", "component02"]
    assert table["n_voxels"].tolist() == [2, 1]
    assert table["volume"].tolist() == [54, 27]
    peaks = table[["peak_x", "peak_y", "peak_z"]].to_numpy()
    np.testing.assert_array_equal(peaks[0], (AFFINE @ [3, 0, 2, 1])[:3])
    np.testing.assert_array_equal(peaks[1], (AFFINE @ [1, 2, 1, 1])[:3])


def test_outside_the_standard_space_no_tissue_is_known(tmp_path):
    given = np.ones(SHAPE, dtype=np.uint8)
    mask = open_mask(write_image(tmp_path / "mask.nii.gz", given, codes=(2, 2)))
    weights = np.ones((given.size, 1))
    assert not mask.in_standard_space
    assert mask.composition(weights) is None
    assert "rim" not in mask.label_table(weights, np.ones(given.size, dtype=np.int16))


@pytest.fixture(scope="module")
def whole_head(tmp_path_factory):
    """A mask of the whole field of view of FSL, 6 mm, with 3D arrays of its coordinates."""
    shape, affine = (31, 37, 31), np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = -90, -126, -72
    path = tmp_path_factory.mktemp("head") / "mask.nii.gz"
    mask = open_mask(write_image(path, np.ones(shape, dtype=np.uint8), affine))
    return mask, apply_affine(affine, np.argwhere(mask.inside))


def test_tissues_of_known_places(whole_head):
    mask, positions = whole_head
    places = {  # all in both hemispheres, in mm
        "centrum semiovale": (24, -20, 33),
        "putamen": (27, 4, 2),
        "lateral ventricle": (8, 10, 12),
        "outside the head": (84, 60, 80),
        "lateral surface": (66, -30, 12),
    }
    weights = np.zeros((len(positions), len(places)))
    for column, (x, y, z) in enumerate(places.values()):
        for side in (x, -x):
            nearest = np.linalg.norm(positions - (side, y, z), axis=1).argmin()
            weights[nearest, column] = 1
    found = mask.composition(weights).set_axis(list(places))
    np.testing.assert_allclose(found.drop(columns="rim").sum(axis=1), 1)
    assert found.loc["centrum semiovale", "white_matter"] > 0.9
    assert found.loc["putamen", "grey_matter"] > 0.7
    assert found.loc["lateral ventricle", "csf_or_outside"] > 0.5
    assert found.loc["outside the head", "csf_or_outside"] == 1
    assert found["rim"].tolist() == [0, 0, 0, 1, 1]


def test_shares_are_of_the_weights_and_not_of_the_voxels(whole_head):
    mask, positions = whole_head
    weights = np.zeros((len(positions), 2))
    outside = np.linalg.norm(positions, axis=1).argmax()
    inside = np.linalg.norm(positions - (24, -20, 33), axis=1).argmin()
    weights[outside, 0], weights[inside, 0] = 1, 3
    found = mask.composition(weights)
    assert found.loc[0, "rim"] == 0.25
    assert found.loc[1].isna().all()  # a map of zeros lies nowhere


def test_a_planted_rim_is_found_in_the_label_table(whole_head):
    mask, _ = whole_head
    brain = mask.grid.read_brain()
    shell = brain & ~binary_erosion(brain)
    labels = np.where(shell, 1, np.where(brain, 2, 0)).astype(np.int16)[mask.inside]
    W = (labels[:, np.newaxis] == [1, 2]).astype(float)
    table = mask.label_table(W, labels)
    assert table["rim"].tolist() == [1, 0]
    assert table["n_voxels"].tolist() == [shell.sum(), brain.sum() - shell.sum()]


def test_pieces_touch_at_faces_edges_and_corners():
    labels = np.zeros((6, 5, 4), dtype=np.int16)
    labels[0, 0, 0] = labels[1, 1, 1] = 1  # a corner
    labels[4, 0, 0] = 1
    labels[0, 4, 3] = labels[2, 4, 3] = labels[4, 4, 3] = 2
    labels[5, 2, 2] = 4
    inside = np.ones(labels.shape, dtype=bool)
    mask = Mask(nb.Nifti1Image(inside.astype(np.uint8), AFFINE))
    np.testing.assert_array_equal(mask.n_pieces(labels[inside]), [2, 3, 0, 1])


def test_mirrored_rows():
    # six voxels from right to left whose middle is at x = 0
    affine = np.array([[-2.0, 0, 0, 5], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    inside = np.zeros((6, 2, 1), dtype=np.uint8)
    inside[[0, 1, 4, 5], 0] = inside[3, 1] = 1
    rows, mirrored = Mask(nb.Nifti1Image(inside, affine)).mirrored_rows()
    assert dict(zip(rows.tolist(), mirrored.tolist(), strict=True)) == {0: 4, 1: 3, 3: 1, 4: 0}


def test_a_mask_is_opened_without_reading_its_voxels(tmp_path):
    inside = np.random.default_rng(0).integers(0, 2, (20, 20, 20), dtype=np.uint8)
    path = write_image(tmp_path / "mask.nii.gz", inside)
    path.write_bytes(path.read_bytes()[:-9])
    mask = open_mask(path)
    assert mask.grid.shape == inside.shape
    assert mask.grid.spacing == (3, 3, 3)
    with pytest.raises(ImageError, match=f"{path}: cannot be read .* copy it again"):
        mask.inside  # noqa: B018


def test_positions_are_the_coordinates_of_the_rows(mask):
    places = [(1, 2, 1), (3, 0, 2), (3, 1, 0), (4, 3, 2)]  # C order of the grid
    expected = [(AFFINE @ [*place, 1])[:3] for place in places]
    np.testing.assert_allclose(mask.positions(), expected)
