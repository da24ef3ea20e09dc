import base64
import gzip

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.reporting.volumes.viewer import _coarser, embed

AFFINE = np.array([[-2.0, 0, 0, 40], [0, 2, 0, -60], [0, 0, 2, -30], [0, 0, 0, 1]])


def image(values):
    return nb.Nifti1Image(values.astype(np.float32), AFFINE)


def opened(text):
    return nb.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(text)))


def at(shown, mm):
    """Value of an image at a place in mm."""
    voxel = np.rint(np.linalg.solve(shown.affine, [*mm, 1])[:3]).astype(int)
    return np.asarray(shown.dataobj)[tuple(voxel)]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    values = np.zeros((20, 24, 18, 3))
    values[4:16, 6:20, 3:15] = rng.random((12, 14, 12, 3)) ** 3 * [0.01, 1, 300]
    return values


def test_each_component_within_half_a_step_of_its_own_largest_weight(values):
    embedded = embed([image(values)])
    assert embedded.coarsening == 1
    shown = opened(embedded.images[0])
    assert shown.shape == (12, 14, 12, 3)
    largest = values.max(axis=(0, 1, 2))
    back = np.asarray(shown.dataobj) / 255 * largest
    assert (np.abs(back - values[4:16, 6:20, 3:15]) < largest * 0.501 / 255).all()


def test_values_stay_where_they_are(values):
    shown = opened(embed([image(values[..., 1])]).images[0])
    peak = np.unravel_index(values[..., 1].argmax(), values.shape[:3])
    assert at(shown, nb.affines.apply_affine(AFFINE, peak)) == 255


def test_what_is_too_large_is_averaged_until_it_fits(values):
    whole = embed([image(values), image(values[..., 0])])
    limit = sum(map(len, whole.images)) // 4
    embedded = embed([image(values), image(values[..., 0])], max_bytes=limit)
    assert sum(map(len, embedded.images)) <= limit
    assert embedded.coarsening > 1
    shown = opened(embedded.images[0])
    np.testing.assert_allclose(np.diag(shown.affine)[:3], np.diag(AFFINE)[:3] * embedded.coarsening)


def test_blocks_are_means_at_their_middle():
    values = np.zeros((5, 4, 4))
    values[0:2, 0:2, 0:2] = 0.8, 1.2
    values[4, 2:4, 2:4] = 0.5
    coarse, affine = _coarser(values, AFFINE, 2)
    assert coarse.shape == (3, 2, 2)
    np.testing.assert_allclose(coarse[0, 0, 0], 1)
    np.testing.assert_allclose(coarse[2, 1, 1], 0.25)  # half of the block is over the edge
    middle = nb.affines.apply_affine(AFFINE, (0.5, 0.5, 0.5))
    np.testing.assert_allclose(nb.affines.apply_affine(affine, (0, 0, 0)), middle)


def test_an_empty_component_is_embedded_empty():
    shown = opened(embed([image(np.zeros((3, 3, 3, 2)))]).images[0])
    assert shown.shape == (3, 3, 3, 2)
    assert not np.asarray(shown.dataobj).any()


def test_equal_images_are_equal_text_at_any_time(monkeypatch):
    image = nb.Nifti1Image(np.ones((3, 3, 3), dtype=np.float32), np.eye(4))
    found = []
    for now in (1e9, 2e9):
        monkeypatch.setattr("time.time", lambda now=now: now)
        found.append(embed([image]).images)
    assert found[0] == found[1]
