"""Agreement by chance: sizes, shapes and distribution of random compact parts."""

import nibabel as nb
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from opnmf_pipeline.images.volumes.mask import Mask
from opnmf_pipeline.selection.agreement import agreement
from opnmf_pipeline.selection.null import Agreement, null_agreement, random_parts

SHAPE = (16, 18, 14)
POSITIONS = 3.0 * np.argwhere(np.ones(SHAPE))
N_ROWS = len(POSITIONS)
SIZES = np.array([2000, 0, 1, 700, 700, 31, N_ROWS - 3432])
UNEQUAL = np.repeat(np.eye(7), SIZES, axis=0)
"""Parts that are slices, of very different sizes."""


def voronoi(k, rng):
    """Return W of a random partition: each voxel belongs to the nearest of k random voxels."""
    centres = POSITIONS[rng.choice(N_ROWS, k, replace=False)]
    return np.eye(k)[cKDTree(centres).query(POSITIONS)[1]]


def soft(k, rng):
    """Return W with weights that decrease slowly from random centres, so that they overlap."""
    centres = POSITIONS[rng.choice(N_ROWS, k, replace=False)]
    return np.maximum(1 - cdist(POSITIONS, centres) / 25, 0)


def real_agreement(W_a, W_b):
    """Return the measures of the null for two factorizations."""
    found = agreement(W_a, W_b)
    return [found[name] for name in Agreement._fields]


def test_sizes_are_exact():
    for seed in range(5):
        labels = random_parts(POSITIONS, SIZES, np.random.default_rng(seed))
        np.testing.assert_array_equal(np.bincount(labels, minlength=7), SIZES)


@pytest.mark.parametrize("sizes", [[N_ROWS], [0, N_ROWS], [1, N_ROWS - 1]])
def test_a_single_part_and_a_single_row(sizes):
    labels = random_parts(POSITIONS, np.array(sizes), np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(labels), sizes)


def test_parts_are_compact():
    """A ball has a mean squared distance from its centre of 3/5 r²; a slice has far more."""
    sizes = np.full(12, N_ROWS // 12)
    mask = Mask(nb.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([3, 3, 3, 1])))
    ball = 0.6 * (sizes[0] * 27 * 3 / (4 * np.pi)) ** (2 / 3)
    pieces, spread = [], []
    for seed in range(4):
        labels = random_parts(mask.positions(), sizes, np.random.default_rng(seed))
        pieces += mask.n_pieces(labels + 1).tolist()
        spread += [POSITIONS[labels == part].var(axis=0).sum() / ball for part in range(12)]
    assert np.mean(pieces) < 1.2
    assert 1 < np.mean(spread) < 1.5
    slices = np.repeat(np.arange(12), sizes)
    assert POSITIONS[slices == 3].var(axis=0).sum() / ball > 2


def test_the_seed_defines_the_null_and_more_pairs_begin_with_the_same():
    first, again, more = (null_agreement(UNEQUAL, UNEQUAL, POSITIONS, n, seed=4) for n in (2, 2, 3))
    other = null_agreement(UNEQUAL, UNEQUAL, POSITIONS, 2, seed=5)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, np.array(more)[:, :2])
    assert not np.array_equal(first.label_ari, other.label_ari)


@pytest.mark.parametrize("k", [6, 12])
def test_unrelated_compact_parts_agree_as_much_as_the_null_says(k):
    """Random Voronoi diagrams have parts of the same kind, but of no given sizes."""
    rng = np.random.default_rng(k)
    found, expected = [], []
    for seed in range(15):
        W_a, W_b = voronoi(k, rng), voronoi(k, rng)
        found.append(real_agreement(W_a, W_b))
        expected.append(np.mean(null_agreement(W_a, W_b, POSITIONS, 3, seed), axis=1))
    found, expected = np.array(found), np.array(expected)
    z = (found - expected).mean(axis=0) / found.std(axis=0)
    assert np.abs(z).max() < 0.6
    assert expected[:, 1:].mean(axis=0).min() > 0.15  # and not 0


def test_what_is_equal_is_far_beyond_the_null():
    W = voronoi(12, np.random.default_rng(0))
    np.testing.assert_allclose(real_agreement(W, W[:, ::-1]), 1)
    assert np.max(null_agreement(W, W[:, ::-1], POSITIONS, 5, seed=0)) < 0.6


def test_overlapping_components_agree_more_by_chance_than_their_parts():
    """The weights of the null are those of the components, so they overlap as much."""
    rng = np.random.default_rng(3)
    W_a, W_b = soft(6, rng), soft(6, rng)
    parts_a, parts_b = (np.eye(6)[W.argmax(axis=1)] for W in (W_a, W_b))
    overlapping = null_agreement(W_a, W_b, POSITIONS, 5, seed=0).inner_product.mean()
    disjoint = null_agreement(parts_a, parts_b, POSITIONS, 5, seed=0).inner_product.mean()
    assert overlapping > disjoint + 0.1


def test_each_factorization_keeps_its_own_sizes():
    """Nothing agrees with a part of all rows but one; two halves would agree with two halves."""
    halves = np.repeat(np.eye(2), N_ROWS // 2, axis=0)
    rest = np.eye(2)[(np.arange(N_ROWS) == 0).astype(int)]
    for pair in ((halves, rest), (rest, halves)):
        assert np.abs(null_agreement(*pair, POSITIONS, 6, 0).label_ari).max() < 0.001
    assert np.abs(null_agreement(halves, halves, POSITIONS, 6, 0).label_ari).max() > 0.01


def test_the_largest_weights_are_in_the_middle_of_the_part():
    """The middle of a single part is the same, so components with equal weights are equal."""
    rng = np.random.default_rng(0)
    W = rng.exponential(size=(N_ROWS, 1))
    null = null_agreement(W, rng.permutation(W), POSITIONS, 2, seed=0)
    assert null.inner_product.min() > 0.999
    assert null_agreement(W, W, None, 2, seed=0).inner_product.max() < 0.6
    assert np.isnan(null.stability).all()  # a single component is equal in all voxels


def test_rows_without_positions_are_in_random_order():
    rng = np.random.default_rng(0)
    W = voronoi(8, rng)
    null = null_agreement(W, W, None, 10, seed=0)
    assert abs(null.label_ari.mean()) < 0.005
    assert abs(null.stability.mean()) < 0.005
    assert null.inner_product.mean() == pytest.approx(1 / 8, abs=0.06)


@pytest.mark.slow
def test_unrelated_parts_of_a_brain_agree_as_random_voronoi_diagrams_do(test_data):
    """The Voronoi diagrams have 0.31 ± 0.03 (ARI) and 0.40 ± 0.03 (cosine) with k = 20."""
    paths = sorted((test_data / "mcic-vbm").glob("sub-*/**/*.nii.gz"))[::4]
    maps = [nb.load(path) for path in paths]
    inside = np.mean([np.asarray(image.dataobj) for image in maps], axis=0) > 0.1
    positions = Mask(nb.Nifti1Image(inside.astype(np.uint8), maps[0].affine)).positions()
    rng = np.random.default_rng(0)
    labels = []
    for _ in range(12):
        centres = positions[rng.choice(len(positions), 20, replace=False)]
        labels.append(cKDTree(centres).query(positions)[1])
    W = [np.eye(20, dtype=np.float32)[parts] for parts in labels]
    pairs = list(zip(W[::2], W[1::2], strict=True))
    real = [real_agreement(*pair) for pair in pairs]
    null = [null_agreement(*pair, positions, 2, seed) for seed, pair in enumerate(pairs)]
    for found in (np.mean(real, axis=0), np.mean(null, axis=(0, 2))):
        np.testing.assert_allclose(found, [0.40, 0.30, 0.32], atol=0.03)
