import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import adjusted_rand_score, mutual_info_score
from sklearn.metrics.pairwise import cosine_similarity

from opnmf_pipeline.selection.reproducibility import (
    label_agreement,
    matched_inner_products,
    matching,
    stability_coefficient,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_matching_undoes_a_permutation_and_scale(rng):
    W = rng.random((40, 5))
    order = np.array([3, 0, 4, 1, 2])
    other = W[:, order] * rng.uniform(0.1, 9, 5)
    rows, columns = matching(W, other)
    np.testing.assert_array_equal(rows, np.arange(5))
    np.testing.assert_array_equal(order[columns], rows)
    np.testing.assert_allclose(matched_inner_products(W, other), 1)


def test_matching_is_the_best_of_all_and_not_greedy():
    # greedy would pair (0, 0), the largest cosine, and leave 0 for the other pair
    cosines = np.array([[0.9, 0.8], [0.8, 0.0]])
    A = np.eye(4)[:, :2]
    B = np.vstack([cosines, np.diag(np.sqrt(1 - (cosines**2).sum(axis=0).clip(max=1)))])
    rows, columns = matching(A, B)
    np.testing.assert_array_equal(columns, [1, 0])
    unit = B / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(matched_inner_products(A, B), (A.T @ unit)[rows, columns])


@pytest.mark.parametrize("size", [1, 100])
def test_the_largest_cosine_gives_way_to_a_larger_sum(size):
    cosines = np.array([[0.7, 0.6], [0.6, 0.0]])
    A = np.eye(4)[:, :2]
    B = np.vstack([cosines, np.diag(np.sqrt(1 - (cosines**2).sum(axis=0)))])
    _, columns = matching(A, B * [size, 1])
    np.testing.assert_array_equal(columns, [1, 0])
    np.testing.assert_allclose(matched_inner_products(A, B * [size, 1]), [0.6, 0.6])


def test_components_of_zeros_match_with_nothing(rng):
    W = rng.random((20, 3))
    W[:, 1] = 0
    np.testing.assert_allclose(matched_inner_products(W, W), [1, 0, 1])


def _naive_stability(W_a, W_b):
    rows_a, rows_b = cosine_similarity(W_a), cosine_similarity(W_b)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(rows_a, rows_b, strict=True)])


@pytest.mark.parametrize("columns", [(4, 4), (3, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_stability_is_what_the_naive_form_gives(rng, columns, dtype):
    W_a, W_b = (rng.random((150, k)).astype(dtype) ** 4 for k in columns)
    expected = _naive_stability(W_a.astype(np.float64), W_b.astype(np.float64))
    np.testing.assert_allclose(stability_coefficient(W_a, W_b), expected, atol=1e-12)


def test_stability_of_disjoint_parts_is_what_the_naive_form_gives(rng):
    labels_a, labels_b = rng.integers(0, 4, (2, 60))
    W_a, W_b = np.eye(4)[labels_a], np.eye(4)[labels_b]
    np.testing.assert_allclose(
        stability_coefficient(W_a, W_b), _naive_stability(W_a, W_b), atol=1e-12
    )


def test_stability_needs_no_matching(rng):
    W = rng.random((50, 4))
    np.testing.assert_allclose(stability_coefficient(W, 3 * W[:, [2, 3, 0, 1]]), 1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_stability_is_nan_where_it_is_undefined(rng):
    W_a, W_b = rng.random((2, 30, 3))
    W_a[7] = W_b[11] = 0
    stability = stability_coefficient(W_a, W_b)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(stability)), [7, 11])
    np.testing.assert_allclose(stability, _naive_stability(W_a, W_b))
    one = rng.random((2, 30, 1))
    assert np.isnan(stability_coefficient(*one)).all()


def test_stability_in_a_large_part_is_no_rounding_error():
    part = np.zeros((100_000, 2), dtype=np.float32)
    part[:, 0] = 1
    part[:3] = 0, 1
    np.testing.assert_allclose(stability_coefficient(part, part), 1)


def test_agreement_against_sums_over_pairs_of_voxels(rng):
    a, b = rng.integers(1, 5, (2, 60))
    same_a, same_b = a[:, None] == a, b[:, None] == b
    pairs = np.triu_indices(60, 1)
    in_a, in_b = same_a[pairs], same_b[pairs]
    together, chance = (in_a & in_b).sum(), in_a.sum() * in_b.sum() / in_a.size
    ari = (together - chance) / ((in_a.sum() + in_b.sum()) / 2 - chance)
    found = label_agreement(a, b, 4)
    assert found["ari"] == pytest.approx(ari)
    counts = np.histogram2d(a, b, bins=np.arange(0.5, 5))[0]
    joint = entropy(counts.ravel(), base=2)
    expected = 2 * joint - entropy(counts.sum(0), base=2) - entropy(counts.sum(1), base=2)
    assert found["variation_of_information"] == pytest.approx(expected)
    means = (entropy(counts.sum(0)) + entropy(counts.sum(1))) / 2
    assert found["nmi"] == pytest.approx(mutual_info_score(a, b) / means)


def test_equal_maps_agree_whatever_their_order(rng):
    labels = rng.integers(1, 6, 200)
    renamed = np.array([0, 3, 5, 1, 2, 4])[labels]
    found = label_agreement(labels, renamed, 5)
    assert found == pytest.approx(
        {"ari": 1, "ami": 1, "nmi": 1, "variation_of_information": 0, "dice": 1}
    )


def test_chance_is_zero_for_the_adjusted_indices(rng):
    found = [label_agreement(*rng.integers(1, 9, (2, 400)), 8) for _ in range(50)]
    for key in ("ari", "ami"):
        values = np.array([indices[key] for indices in found])
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(50)
    assert np.mean([indices["nmi"] for indices in found]) > 0.02


def test_dice_by_hand():
    a = np.array([1, 1, 1, 2, 2, 3])
    b = np.array([2, 2, 1, 1, 1, 1])
    # 1-2: 2·2/(3+2), 2-1: 2·2/(2+4), 3-3: an empty part
    assert label_agreement(a, b, 3)["dice"] == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)


def test_voxels_of_no_part_tell_nothing(rng):
    a, b = rng.integers(1, 4, (2, 50))
    nothing = np.zeros(1000, dtype=int)
    alone = label_agreement(a, b, 3)
    assert label_agreement(np.r_[a, nothing], np.r_[b, nothing], 3) == pytest.approx(alone)
    lost = b.copy()
    lost[:10] = 0
    assert label_agreement(a, lost, 3)["ari"] == pytest.approx(adjusted_rand_score(a, lost))
    assert label_agreement(b, lost, 3)["dice"] < 1
