import numpy as np
import pytest

from opnmf_pipeline.selection.agreement import AGREEMENT_COLUMNS, agreement
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
