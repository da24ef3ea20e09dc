import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneGroupOut

from opnmf_pipeline.exceptions import SelectionError
from opnmf_pipeline.selection.splits import (
    bootstrap_sample,
    leave_group_out,
    split_halves,
    strata_of,
)


@pytest.mark.parametrize("n_subjects", [10, 11])
def test_halves_hold_everyone_once(n_subjects):
    for first, second in split_halves(n_subjects, 20, 0):
        assert len(first) == n_subjects // 2
        np.testing.assert_array_equal(np.sort(np.r_[first, second]), np.arange(n_subjects))
        assert (np.diff(first) > 0).all()
        assert (np.diff(second) > 0).all()


@pytest.mark.parametrize("strata", [None, list("aabbccdaab")])
@pytest.mark.parametrize("groups", [None, list("xxyyzzwwvu")])
def test_fewer_splits_are_the_first_of_more(strata, groups):
    three = split_halves(10, 3, 4, strata=strata, groups=groups)
    five = split_halves(10, 5, 4, strata=strata, groups=groups)
    for a, b in zip(three, five, strict=False):
        np.testing.assert_array_equal(a[0], b[0])
    assert len({tuple(first) for first, _ in five}) > 1
    other = split_halves(10, 5, 5, strata=strata, groups=groups)
    assert any(a[0].tolist() != b[0].tolist() for a, b in zip(five, other, strict=True))


def test_each_pair_of_subjects_is_separated_equally_often():
    counts = np.zeros((8, 8))
    for first, _ in split_halves(8, 4000, 0):
        counts[np.ix_(first, first)] += 1
    # two given subjects are in the first half together with probability 3/14, one with 1/2
    off = counts[~np.eye(8, dtype=bool)] / 4000
    np.testing.assert_allclose(off, 3 / 14, atol=0.03)
    np.testing.assert_allclose(counts.diagonal() / 4000, 0.5, atol=0.04)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_strata_differ_by_one_at_most_and_so_do_the_halves(strata, seed):
    strata = np.array(strata)
    for first, second in split_halves(len(strata), 2, seed, strata=strata):
        assert len(second) - len(first) in (0, 1)
        for stratum in np.unique(strata):
            numbers = [(strata[half] == stratum).sum() for half in (first, second)]
            assert abs(numbers[0] - numbers[1]) <= 1


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_groups_are_never_torn(groups, seed):
    groups = np.array(groups)
    if len(np.unique(groups)) < 2:
        return
    largest = np.bincount(groups).max()
    for first, second in split_halves(len(groups), 2, seed, groups=groups):
        assert not set(groups[first]) & set(groups[second])
        assert 0 <= len(second) - len(first) <= largest
        assert len(first) > 0


def test_groups_keep_strata_even():
    rng = np.random.default_rng(0)
    family = np.repeat(np.arange(60), rng.integers(1, 4, 60))
    sex = rng.integers(0, 2, len(family))
    site = (np.arange(60) % 3)[family]
    strata = [f"{a}{b}" for a, b in zip(sex, site, strict=True)]
    for first, second in split_halves(len(family), 20, 0, strata=strata, groups=family):
        assert not set(family[first]) & set(family[second])
        for half in np.unique(strata):
            numbers = [sum(strata[i] == half for i in side) for side in (first, second)]
            assert abs(numbers[0] - numbers[1]) <= 3


def test_a_missing_group_is_one_of_its_own():
    groups = ["a"] * 4 + [None] * 4
    first, second = split_halves(8, 1, 0, groups=groups)[0]
    assert {len(first), len(second)} == {4}
    assert set(range(4)) in ({*first}, {*second})


def test_a_missing_stratum_is_one_of_its_own():
    strata = [np.nan] * 4 + [1.0] * 4
    for first, _ in split_halves(8, 10, 0, strata=strata):
        assert (first < 4).sum() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": ["a"] * 6}, "all 6 subjects are in one group"),
        ({"groups": ["a", "b"]}, "groups has 2 values for 6 subjects"),
        ({"strata": [1] * 7}, "strata has 7 values for 6 subjects"),
    ],
)
def test_impossible_halves_are_refused(arguments, message):
    with pytest.raises(SelectionError, match=message):
        split_halves(6, 1, 0, **arguments)


def test_leave_group_out_is_that_of_scikit_learn():
    groups = np.array(["MGH", "IA", "UNM", "IA", "MGH", "IA"])
    expected = list(LeaveOneGroupOut().split(groups, groups=groups))
    found = leave_group_out(groups)
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


def test_leave_group_out_refuses_what_it_cannot_do():
    with pytest.raises(SelectionError, match="1 of 3 subjects have no value"):
        leave_group_out(["a", None, "b"])
    with pytest.raises(SelectionError, match="all 2 subjects are in one group"):
        leave_group_out(["a", "a"])


def test_strata_combine_covariates():
    table = pd.DataFrame(
        {
            "age": [20.0, 30, 40, 50, 60, 70, np.nan],
            "sex": ["F", "M", "F", "M", "F", "M", "F"],
            "dose": [1, 2, 1, 2, 1, 2, 1],
        }
    )
    strata = strata_of(table, ["age", "sex"], 3)
    assert list(strata) == [
        "age=(19.999, 36.667], sex=F",
        "age=(19.999, 36.667], sex=M",
        "age=(36.667, 53.333], sex=F",
        "age=(36.667, 53.333], sex=M",
        "age=(53.333, 70.0], sex=F",
        "age=(53.333, 70.0], sex=M",
        "age=n/a, sex=F",
    ]
    assert set(strata_of(table, ["dose"], 3)) == {"dose=1", "dose=2"}
    assert set(strata_of(table, [], 3)) == {""}


def test_bins_of_a_skewed_covariate_hold_alike_many():
    age = pd.DataFrame({"age": np.random.default_rng(0).exponential(size=400)})
    _, counts = np.unique(strata_of(age, ["age"], 4), return_counts=True)
    assert list(counts) == [100] * 4


def test_a_bootstrap_sample_has_as_many_subjects_some_of_them_twice():
    drawn = bootstrap_sample(1000, [0, 1])
    assert len(drawn) == 1000
    assert len(set(drawn)) == pytest.approx(1000 * (1 - np.exp(-1)), abs=40)
    np.testing.assert_array_equal(drawn, bootstrap_sample(1000, [0, 1]))
    assert drawn.tolist() != bootstrap_sample(1000, [0, 2]).tolist()


def test_a_bootstrap_sample_keeps_groups_together():
    groups = ["a", "a", "b", "b", "b", None, "c"]
    for seed in range(5):
        counts = np.bincount(bootstrap_sample(7, seed, groups=groups), minlength=7)
        assert counts[0] == counts[1]
        assert counts[2] == counts[3] == counts[4]
        assert counts[[0, 2, 5, 6]].sum() == 4
