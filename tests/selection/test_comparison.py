"""Comparison of two models: known overlaps, a slow obvious implementation, and chance."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from opnmf_pipeline.selection.comparison import (
    MATCH_COLUMNS,
    OVERLAP_COLUMNS,
    PAIR_COLUMNS,
    compare_components,
)

POSITIONS = np.argwhere(np.ones((6, 6, 6))).astype(float)


def parts(labels):
    return np.equal.outer(labels, np.arange(1, labels.max() + 1)).astype(float)


HALVES = np.where(POSITIONS[:, 0] < 3, 1, 2)
QUARTERS = np.where(POSITIONS[:, 0] < 3, 3, 1) + (POSITIONS[:, 1] >= 3)  # 3, 4 in 1; 1, 2 in 2


def test_a_part_that_splits():
    found = compare_components(parts(HALVES), parts(QUARTERS), POSITIONS, 5, 0)
    matches = found.matches.set_index("component_b")
    assert matches["parent"].to_dict() == {1: 2, 2: 2, 3: 1, 4: 1}
    np.testing.assert_array_equal(matches["containment"], 1)
    assert matches["component_a"].notna().sum() == 2
    matched = matches.dropna(subset="component_a")
    assert (matched["component_a"] == matched["parent"]).all()
    np.testing.assert_allclose(matched["dice"], 2 * 54 / (54 + 108))
    np.testing.assert_allclose(matched["cosine"], 54 / np.sqrt(54 * 108))
    # components of one parent are next to each other, its partner first
    assert found.matches["parent"].tolist() == [1, 1, 2, 2]
    assert found.matches["component_a"].notna().tolist() == [True, False, True, False]
    shares = found.overlaps.pivot(index="component_a", columns="component_b", values="share_of_a")
    np.testing.assert_array_equal(shares, [[0, 0, 0.5, 0.5], [0.5, 0.5, 0, 0]])
    assert found.measures["containment"] == 1 > found.measures["containment_null"]
    assert set(found.measures) == set(PAIR_COLUMNS)
    assert list(found.matches) == list(MATCH_COLUMNS)
    assert list(found.overlaps) == list(OVERLAP_COLUMNS)


def test_overlaps_are_those_of_their_definition():
    rng = np.random.default_rng(3)
    W_a, W_b = (rng.random((216, k)) ** 4 for k in (3, 5))
    W_a[:, 2] *= 6  # a large part is the parent of most, with a small share of itself in each
    found = compare_components(W_a, W_b, POSITIONS, 0, 0)
    a, b = W_a.argmax(axis=1), W_b.argmax(axis=1)
    for row in found.overlaps.itertuples():
        i, j = row.component_a - 1, row.component_b - 1
        both = sum((a == i) & (b == j))
        assert row.share_of_a == pytest.approx(both / sum(a == i))
        assert row.share_of_b == pytest.approx(both / sum(b == j))
        assert row.dice == pytest.approx(2 * both / (sum(a == i) + sum(b == j)))
        norms = np.linalg.norm(W_a[:, i]) * np.linalg.norm(W_b[:, j])
        assert row.cosine == pytest.approx(W_a[:, i] @ W_b[:, j] / norms)
    for row in found.matches.itertuples():
        inside = [sum((a == i) & (b == row.component_b - 1)) for i in range(3)]
        assert row.parent == np.argmax(inside) + 1
    cosines = found.overlaps["cosine"].to_numpy().reshape(3, 5)
    pairs = linear_sum_assignment(cosines, maximize=True)
    assert found.measures["cosine"] == pytest.approx(cosines[pairs].mean())
    assert "cosine_null" not in found.measures


def test_order_and_scale_of_components_do_not_matter():
    rng = np.random.default_rng(4)
    W_a, W_b = rng.random((216, 3)), rng.random((216, 4))
    order = [2, 0, 3, 1]
    first = compare_components(W_a, W_b, POSITIONS, 0, 0)
    other = compare_components(W_a, W_b[:, order], POSITIONS, 0, 0)
    for name, value in first.measures.items():
        assert other.measures[name] == pytest.approx(value)
    renamed = other.matches["component_b"].map(lambda j: order[j - 1] + 1)
    assert dict(zip(renamed, other.matches["parent"], strict=True)) == dict(
        zip(first.matches["component_b"], first.matches["parent"], strict=True)
    )
    scaled = compare_components(W_a * [1, 2, 3], W_b, None, 0, 0)
    assert scaled.measures["cosine"] == pytest.approx(first.measures["cosine"])


def test_equal_models_agree_completely_and_the_smaller_one_comes_first():
    found = compare_components(parts(QUARTERS), parts(QUARTERS), POSITIONS, 3, 1)
    assert {name: found.measures[name] for name in ("cosine", "label_ari", "dice")} == {
        "cosine": pytest.approx(1), "label_ari": 1, "dice": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match="pass the smaller model first"):
        compare_components(parts(QUARTERS), parts(HALVES), POSITIONS, 0, 0)


def test_a_component_without_rows_has_no_parent():
    W_b = np.column_stack([parts(HALVES), np.zeros(216)])
    found = compare_components(parts(HALVES), W_b, POSITIONS, 2, 0)
    assert found.matches["component_b"].tolist() == [1, 2, 3]
    assert found.matches["parent"].isna().tolist() == [False, False, True]
