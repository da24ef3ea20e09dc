import numpy as np
import pytest

from opnmf_pipeline.selection.shape import (
    hoyer_sparsity,
    largest_overlap,
    nearest_columns,
    winner_takes_all,
)


def test_sparsity_from_flat_to_one_voxel():
    W = np.zeros((100, 3))
    W[:, 0] = 0.3
    W[4, 1] = 2
    W[:25, 2] = 1
    np.testing.assert_allclose(hoyer_sparsity(W), [0, 1, (10 - 5) / 9], atol=1e-12)


def test_overlap_is_the_largest_cosine():
    W = np.array([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, 0.0, 0.0]])
    assert largest_overlap(W) == pytest.approx(np.sqrt(0.5))
    assert largest_overlap(W[:, :2]) == 0
    assert largest_overlap(W[:, :1]) == 0


def test_each_column_has_another_that_is_nearest():
    W = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    nearest, cosines = nearest_columns(W.T @ W)
    assert nearest.tolist() == [2, 2, 1, 0]
    expected = [1 / np.sqrt(5), 2 / np.sqrt(5), 2 / np.sqrt(5), 0]
    np.testing.assert_allclose(cosines, expected)
    assert [part.tolist() for part in nearest_columns(np.ones((1, 1)))] == [[0], [0]]


def test_winner_takes_all():
    W = np.array([[0.1, 2.0], [0.5, 0.4], [0.0, 0.0], [0.3, 0.3]], dtype=np.float32)
    labels = winner_takes_all(W)
    assert labels.dtype == np.int16
    assert labels.tolist() == [2, 1, 0, 1]
