import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.images.maps import (
    component_names,
    label_table,
    masked,
    unmasked,
)
from opnmf_pipeline.selection.shape import winner_takes_all
from tests.builders import AFFINE, SHAPE, write_image


@pytest.fixture
def mask(tmp_path):
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1, 2, 1] = values[3, 0, 2] = values[3, 1, 0] = values[4, 3, 2] = 1
    return nb.load(write_image(tmp_path / "mask.nii.gz", values, codes=(4, 4)))


W = np.array([[0.1, 2.0], [0.5, 0.4], [0.0, 0.0], [0.3, 0.3]], dtype=np.float32)


def test_unmasked(mask):
    image = unmasked(W, mask)
    assert image.shape == (*SHAPE, 2)
    values = np.asarray(image.dataobj)
    # C order of the grid: (1,2,1), (3,0,2), (3,1,0), (4,3,2)
    assert values[1, 2, 1].tolist() == W[0].tolist()
    assert values[3, 0, 2].tolist() == W[1].tolist()
    assert values[4, 3, 2].tolist() == W[3].tolist()
    assert np.count_nonzero(values) == 6
    assert unmasked(W[:, 0], mask).shape == SHAPE


def test_masked_undoes_unmasked(mask, tmp_path):
    unmasked(W[:, 1], mask).to_filename(tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(
        masked(tmp_path / "one.nii.gz", tmp_path / "mask.nii.gz"), W[:, 1]
    )


def test_winner_takes_all():
    labels = winner_takes_all(W)
    assert labels.dtype == np.int16
    assert labels.tolist() == [2, 1, 0, 1]


def test_label_table(mask):
    table = label_table(W, winner_takes_all(W), mask)
    assert table["index"].tolist() == [1, 2]
    assert table["name"].tolist() == ["component01", "component02"]
    assert table["n_voxels"].tolist() == [2, 1]
    assert table["volume"].tolist() == [54, 27]
    peaks = table[["peak_x", "peak_y", "peak_z"]].to_numpy()
    np.testing.assert_array_equal(peaks[0], (AFFINE @ [3, 0, 2, 1])[:3])
    np.testing.assert_array_equal(peaks[1], (AFFINE @ [1, 2, 1, 1])[:3])


def test_component_names_sort_as_text():
    names = component_names(120)
    assert names == sorted(names)
    assert len(set(names)) == 120
