"""Symmetry on volumes whose answer can be seen."""

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.images.shape import symmetry
from opnmf_pipeline.images.volumes import Mask

CENTRED = np.array([[-2.0, 0, 0, 5], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
"""Six voxels from right to left whose middle is at x = 0."""


def mask(inside, affine=CENTRED):
    return Mask(nb.Nifti1Image(inside.astype(np.uint8), affine))


def rows(volumes, inside):
    return np.stack([volume[inside] for volume in volumes], axis=1)


@pytest.fixture
def inside():
    inside = np.ones((6, 5, 4), dtype=bool)
    inside[:, 0, 0] = False
    return inside


def test_a_bilateral_component_and_a_pair_are_symmetric(inside):
    rng = np.random.default_rng(0)
    bilateral, right = rng.random((2, 6, 5, 4))
    bilateral = bilateral + bilateral[::-1]
    right[3:] = 0
    W = rows([bilateral, right, 2 * right[::-1]], inside)
    np.testing.assert_allclose(symmetry(W, mask(inside)), 1)


def test_a_lone_component_of_one_side_is_not(inside):
    right = np.zeros((6, 5, 4))
    right[:3] = 1
    (found,) = symmetry(rows([right], inside), mask(inside))
    assert found == pytest.approx(-1)


def test_symmetry_is_the_best_correlation_with_a_mirror_image(inside):
    volumes = np.random.default_rng(1).random((4, 6, 5, 4))
    expected = [
        max(np.corrcoef(one[::-1][inside], other[inside])[0, 1] for other in volumes)
        for one in volumes
    ]
    np.testing.assert_allclose(symmetry(rows(volumes, inside), mask(inside)), expected)


def test_only_voxels_with_a_mirror_image_count():
    inside = np.zeros((6, 5, 4), dtype=bool)
    inside[1:] = True  # the column 0 has none, nor has its image, the column 5
    volume = np.random.default_rng(2).random((6, 5, 4))
    volume[1:5] += volume[4:0:-1]
    (found,) = symmetry(rows([volume], inside), mask(inside))
    np.testing.assert_allclose(found, 1)


def test_one_hemisphere_has_no_symmetry():
    inside = np.zeros((6, 5, 4), dtype=bool)
    inside[:3] = True
    W = np.random.default_rng(0).random((inside.sum(), 2))
    assert np.isnan(symmetry(W, mask(inside))).all()


def test_a_constant_component_has_none(inside):
    W = np.random.default_rng(0).random((inside.sum(), 2))
    W[:, 0] = 3
    found = symmetry(W, mask(inside))
    assert np.isnan(found[0])
    assert -1 <= found[1] <= 1
