import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.selection.agreement import (
    AGREEMENT_COLUMNS,
    NULL_COLUMNS,
    START_COLUMNS,
    agreement,
    agreement_by_chance,
    agreement_of_starts,
)
from opnmf_pipeline.selection.null import null_agreement
from opnmf_pipeline.selection.reproducibility import (
    matched_inner_products,
    stability_coefficient,
)


def test_columns_are_those_that_are_described():
    rng = np.random.default_rng(0)
    found = agreement(rng.random((30, 3)), rng.random((30, 3)))
    assert list(found) == list(AGREEMENT_COLUMNS)
    assert all(type(value) is float for value in found.values())


def test_a_factorization_agrees_with_itself_in_any_order():
    W = np.random.default_rng(0).random((50, 4))
    found = agreement(W, W[:, ::-1])
    assert found["variation_of_information"] == pytest.approx(0, abs=1e-12)
    perfect = ["inner_product", "inner_product_median", "label_ari", "label_dice", "stability"]
    assert [found[name] for name in perfect] == pytest.approx([1] * 5)


def test_means_medians_and_spread_are_those_of_the_pairs_and_voxels():
    rng = np.random.default_rng(1)
    W_a = rng.random((60, 5)) ** 3
    W_b = W_a * rng.uniform(0.2, 1, W_a.shape)
    cosines = matched_inner_products(W_a, W_b)
    stability = stability_coefficient(W_a, W_b)
    found = agreement(W_a, W_b)
    assert found["inner_product"] == pytest.approx(np.sum(cosines) / 5)
    assert found["inner_product_median"] == pytest.approx(np.sort(cosines)[2])
    assert found["stability"] == pytest.approx(np.sum(stability) / 60)
    assert found["stability_median"] == pytest.approx(np.sort(stability)[29:31].mean())
    variance = np.mean((stability - found["stability"]) ** 2)
    assert found["stability_voxel_sd"] == pytest.approx(np.sqrt(variance))


def test_all_pairs_of_starts_count():
    """The second and the third start agree, and the first agrees with neither."""
    same = np.repeat(np.eye(2), 6, axis=0)
    other = np.tile(np.eye(2), (6, 1))
    ari = agreement(other, same)["label_ari"]
    found = agreement_of_starts([other, same, same[:, ::-1]])
    assert list(found) == list(START_COLUMNS)
    assert found["start_inner_product"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found["start_label_ari"] == pytest.approx((2 * ari + 1) / 3)
    stability = agreement(other, same)["stability"]
    assert found["start_stability"] == pytest.approx((2 * stability + 1) / 3)
    assert ari < 0


def test_chance_is_the_mean_and_spread_of_all_random_pairs():
    rng = np.random.default_rng(3)
    positions = 3.0 * np.argwhere(np.ones((6, 6, 6)))
    weights = [rng.random((216, 3)) for _ in range(3)]
    found = agreement_by_chance(weights, positions, 4, [3, 1])
    assert list(found) == list(NULL_COLUMNS)
    null = [
        null_agreement(weights[a], weights[b], positions, 4, [3, 1, number])
        for number, (a, b) in enumerate([(0, 1), (0, 2), (1, 2)])
    ]
    for name in ("inner_product", "label_ari", "stability"):
        values = [value for pairs in null for value in getattr(pairs, name)]
        assert len(values) == 12
        assert found[f"{name}_null"] == pytest.approx(np.mean(values))
        assert found[f"{name}_null_sd"] == pytest.approx(np.std(values, ddof=1))
    assert agreement_by_chance(weights, positions, 0, [3, 1]) == {}


def from_random_starts(X, k):
    fits = [OPNMF(k, solver="accelerated", init="random", random_state=seed) for seed in (1, 2, 3)]
    return agreement_of_starts([fit.fit(X).coef_ for fit in fits])


def test_starts_agree_on_planted_parts(X):
    found = from_random_starts(X, 3)
    assert found["start_inner_product"] > 0.99
    assert found["start_label_ari"] > 0.99


def test_starts_disagree_on_noise():
    noise = np.random.default_rng(1).random((1000, 40))
    found = from_random_starts(noise, 8)
    assert found["start_inner_product"] < 0.7
    assert found["start_label_ari"] < 0.3
