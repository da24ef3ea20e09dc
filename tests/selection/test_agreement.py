import numpy as np
import pytest

from opnmf_pipeline.selection.agreement import AGREEMENT_COLUMNS, agreement


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
