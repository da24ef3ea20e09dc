"""Which components can be trusted: known parts, planted and random ones, and slow forms."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from opnmf_pipeline.selection.reliability import (
    NO,
    UNCLEAR,
    YES,
    assignment_shares,
    matched_labels,
    reproducibility,
    reproducibility_by_chance,
    stability,
)

SHAPE = (14, 16, 12)
POSITIONS = 3.0 * np.argwhere(np.ones(SHAPE))
N_ROWS = len(POSITIONS)
CORNER = (POSITIONS < 21).all(axis=1)
"""A part of 7 x 7 x 7 voxels."""


def voronoi(k, rng, first=1):
    """Return labels of random compact parts."""
    centres = POSITIONS[rng.choice(N_ROWS, k, replace=False)]
    return (cKDTree(centres).query(POSITIONS)[1] + first).astype(np.int16)


def with_corner(k, rng):
    """Return labels of one part that is always the same, and of k - 1 random ones, in any order."""
    labels = np.where(CORNER, 1, voronoi(k - 1, rng, first=2))
    return (rng.permutation(k) + 1)[labels - 1].astype(np.int16)


def measured(draw, n_splits, k, seed=0):
    """Return the summary of splits whose labels a function draws."""
    rng = np.random.default_rng(seed)
    reference = draw(k, rng)
    halves = [[draw(k, rng), draw(k, rng)] for _ in range(n_splits)]
    dice = reproducibility(reference, halves, k)
    chance = reproducibility_by_chance(reference, halves, k, POSITIONS, 5, seed)
    shares, sizes = assignment_shares(reference, [half for pair in halves for half in pair], k)
    return stability(reference, shares, sizes, dice, chance), reference


def test_parts_get_the_numbers_of_the_parts_that_they_match():
    reference = np.array([1, 1, 1, 2, 2, 3, 0, 3], dtype=np.int16)
    labels = np.array([3, 3, 1, 1, 1, 2, 2, 0], dtype=np.int16)
    assert matched_labels(reference, labels, 3).tolist() == [1, 1, 2, 2, 2, 3, 3, 0]


def test_parts_without_voxels_keep_a_number_of_their_own():
    reference = np.array([1, 1, 2, 2], dtype=np.int16)
    labels = np.array([3, 3, 3, 1], dtype=np.int16)
    assert set(matched_labels(reference, labels, 3)) <= {1, 2}


def test_dice_is_that_of_the_two_halves_not_that_with_the_reference():
    reference = np.repeat([1, 2], 4)
    first, second = np.array([2, 2, 1, 1, 1, 1, 1, 1]), np.array([1, 1, 1, 1, 1, 2, 2, 2])
    (found,) = reproducibility(reference, [[first, second]], 2)
    np.testing.assert_allclose(found, [2 * 2 / (2 + 5), 2 * 3 / (6 + 3)])


def test_a_planted_part_is_reproduced_and_random_parts_are_not():
    table, reference = measured(with_corner, n_splits=4, k=5)
    planted = reference[CORNER][0] - 1
    assert table["reproduced"][planted] == YES
    assert table["dice"][planted] == 1
    assert (table["stability"][planted], table["stable"][planted]) == (1, 1)
    others = table.drop(index=planted)
    assert YES not in others["reproduced"].tolist()
    assert (others["dice"] < others["dice_null_high"]).all()
    assert others["stability"].max() < 0.8


def test_random_parts_agree_as_much_as_the_null_says():
    found = [measured(voronoi, n_splits=5, k=6, seed=seed)[0] for seed in range(4)]
    dice, null = (
        np.mean([table[name].mean() for table in found]) for name in ("dice", "dice_null")
    )
    assert dice == pytest.approx(null, abs=0.04)
    inside = [
        table["dice"].between(table["dice_null_low"], table["dice_null_high"]) for table in found
    ]
    assert np.mean(inside) > 0.85
    assert np.mean([(table["reproduced"] == YES).mean() for table in found]) < 0.05


def test_the_mean_over_many_random_splits_varies_less():
    labels = voronoi(4, np.random.default_rng(2))
    single, many = (
        reproducibility_by_chance(labels, [[labels, labels]] * n, 4, POSITIONS, n_null, 0).std(
            axis=0
        )
        for n, n_null in ((1, 36), (9, 4))
    )
    assert (many / single).mean() == pytest.approx(1 / 3, abs=0.08)


def test_chance_for_rows_in_random_order():
    """Without positions, the expected Dice of parts of half the rows is one half."""
    labels = np.repeat([1, 2], 500)
    chance = reproducibility_by_chance(labels, [[labels, labels]] * 2, 2, None, 5, 0)
    assert chance.mean() == pytest.approx(0.5, abs=0.03)
    assert len(reproducibility_by_chance(labels, [[labels, labels]], 2, None, 0, 0)) == 0
    assert len(reproducibility_by_chance(labels, [], 2, None, 5, 0)) == 0


def test_shares_and_sizes_are_those_of_the_slow_form():
    rng = np.random.default_rng(3)
    reference = voronoi(4, rng)
    reference[:50] = 0
    resamples = [voronoi(4, rng) for _ in range(3)]
    for labels in resamples:
        labels[:20] = 0
    shares, sizes = assignment_shares(reference, resamples, 4)
    matched = [matched_labels(reference, labels, 4) for labels in resamples]
    for voxel in rng.choice(N_ROWS, 100):
        agree = [labels[voxel] == reference[voxel] != 0 for labels in matched]
        assert shares[voxel] == pytest.approx(np.mean(agree))
    assert not shares[:50].any()
    assert sizes.tolist() == [[int((one == part).sum()) for part in range(1, 5)] for one in matched]


def test_summary_of_known_numbers():
    reference = np.array([1, 1, 1, 1, 1, 2, 2, 0], dtype=np.int16)
    shares = np.array([1, 1, 0.8, 0.6, 0.6, 0.2, 0.4, 0])
    sizes = np.array([[4, 3, 0], [6, 1, 0]])
    dice = np.array([[0.9, 0.3, 0.5], [0.8, 0.5, 0.9]])
    chance = np.array([[0.2, 0.4, 0.3], [0.4, 0.4, 0.7]])
    table = stability(reference, shares, sizes, dice, chance)
    assert table["reproduced"].tolist() == [YES, NO, UNCLEAR]
    assert table["dice"].tolist() == pytest.approx([0.85, 0.4, 0.7])
    assert table["stability"].tolist()[:2] == pytest.approx([0.8, 0.3])
    assert table["stable"].tolist()[:2] == pytest.approx([0.6, 0])
    assert table["stability"].isna().tolist() == [False, False, True]
    assert table["size"].tolist() == [5, 2, 0]
    assert table.loc[0, ["size_low", "size_high"]].tolist() == pytest.approx([4.05, 5.95])


def test_one_split_has_no_interval_and_no_verdict():
    reference, shares, sizes = np.array([1, 2]), np.ones(2), np.array([[1, 1]])
    chance = np.full((5, 2), 0.3)
    one = stability(reference, shares, sizes, np.ones((1, 2)), chance)
    assert one["dice"].tolist() == [1, 1]
    assert one["reproduced"].isna().all()
    without_null = stability(reference, shares, sizes, np.ones((3, 2)), np.empty((0, 2)))
    assert without_null["reproduced"].isna().all()
    without_splits = stability(reference, shares, sizes, np.empty((0, 2)), np.empty((0, 2)))
    assert without_splits[["dice", "reproduced"]].isna().all(axis=None)
