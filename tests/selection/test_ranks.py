import numpy as np
import pytest

from opnmf_pipeline.selection.ranks import (
    elbow,
    gains,
    hierarchy,
    null_lead,
    permuted,
    slower_than_null,
)


def test_permuted_keeps_the_values_of_each_subject(X):
    before = X.copy()
    shuffled = permuted(X, 3)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(X, axis=0))
    assert np.linalg.norm(shuffled) == pytest.approx(np.linalg.norm(X))
    assert (shuffled != X).any(axis=0).all()
    np.testing.assert_array_equal(permuted(X, 3), shuffled)
    assert (permuted(X, 4) != shuffled).any()


def test_permuted_shuffles_each_subject_by_itself():
    X = np.tile(np.arange(2000.0)[:, np.newaxis], (1, 3))
    correlation = np.corrcoef(permuted(X, 0).T)
    assert np.abs(correlation[~np.eye(3, dtype=bool)]).max() < 0.1


def test_permuted_reads_a_memory_map_in_its_dtype(X, tmp_path):
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    shuffled = permuted(mapped, 0)
    assert shuffled.dtype == np.float32
    assert not isinstance(shuffled, np.memmap)
    np.testing.assert_array_equal(shuffled, permuted(X.astype(np.float32), 0))


def test_gains_are_per_component_and_of_each_curve():
    errors = [[10.0, 6.0, 5.0], [9.0, 9.0, 12.0]]
    expected = [[np.nan, 2, 1], [np.nan, 0, -3]]
    np.testing.assert_array_equal(gains(errors, [2, 4, 5]), expected)


def test_null_lead_is_largest_where_gains_fall_to_those_of_noise():
    errors = [100.0, 80, 60, 58, 56]
    null = [100.0, 96, 92, 88, 84]
    np.testing.assert_allclose(null_lead(errors, null), [0, 15.2, 30.4, 27.6, 24.8])


def test_null_lead_wants_more_than_chance():
    rng = np.random.default_rng(0)
    for _ in range(20):
        null = 100 - np.cumsum(np.r_[0, rng.uniform(0.92, 1.08, 9)])
        errors = 100 - np.cumsum(np.r_[0, rng.uniform(0.92, 1.08, 9)])
        assert null_lead(errors, null).argmax() == 0


def test_null_lead_passes_over_a_poor_local_optimum():
    null = [100.0, 98, 96, 94, 92, 90]
    errors = [100.0, 90, 89, 70, 69, 68]  # the fit at the third k is poor
    assert null_lead(errors, null).argmax() == 3


def test_slower_than_null_divides_each_curve_by_its_largest_value():
    errors, null = [10.0, 12, 6, 5, 5], [200.0, 180, 150, 120, 120]
    relative = np.diff(np.array(errors) / 12) > np.diff(np.array(null) / 200)
    assert slower_than_null(errors, null).tolist() == [*relative, False]
    assert relative.tolist() == [True, False, True, False]
    assert not slower_than_null([0.0, 0], [0.0, 0]).any()


@pytest.mark.parametrize("scale", [1, 1e-6])
def test_elbow_of_two_lines_is_where_they_meet(scale):
    ks = [2, 3, 5, 8, 12, 20]
    errors = [scale * (100 - 10 * min(k, 8) - 0.5 * k) for k in ks]
    assert elbow(ks, errors) == 8


def test_hierarchy_counts_shared_voxels():
    coarse = np.eye(2)[[0, 0, 0, 1, 1, 1]]
    fine = np.eye(3)[[0, 0, 2, 1, 1, 1]] * [1, 5, 2]
    np.testing.assert_array_equal(hierarchy(coarse, fine), [[2, 0, 1], [0, 3, 0]])
    fine[5] = 0
    np.testing.assert_array_equal(hierarchy(coarse, fine), [[2, 0, 1], [0, 2, 0]])
    np.testing.assert_array_equal(hierarchy(fine, coarse), hierarchy(coarse, fine).T)
