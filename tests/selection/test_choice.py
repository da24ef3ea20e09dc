import json
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opnmf_pipeline.exceptions import MissingColumnError, SelectionError
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.rules import FIT, RULES

PLANTED = 8
KS = np.arange(2, 17)


@pytest.fixture
def table():
    """What simulated cohorts with eight parts look like: up to them, and beyond."""
    missing, surplus = np.maximum(PLANTED - KS, 0), np.maximum(KS - PLANTED, 0)
    agreement = 0.99 - 0.08 * missing - 0.06 * surplus
    return pd.DataFrame(
        {
            "n_components": KS,
            "reconstruction_error": 335 + 12.0 * missing - 0.2 * surplus,
            "null_error": 420 - 0.5 * KS,
            "inner_product": agreement,
            "inner_product_sd": np.where(KS == PLANTED, 0.002, 0.03),
            "label_ari": agreement - 0.02,
            "label_ari_sd": 0.03,
            "stability": agreement - 0.01,
            "stability_sd": 0.03,
            "out_of_sample_explained_variance": 0.92 - 0.01 * missing + 1e-5 * surplus,
            "out_of_sample_explained_variance_sd": 1e-4,
        }
    )


@pytest.fixture
def flat(table):
    """No k is better than another: noise around a constant."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, (4, len(table)))
    names = ["inner_product", "label_ari", "stability", "out_of_sample_explained_variance"]
    for name, values in zip(names, noise, strict=True):
        table[name], table[f"{name}_sd"] = 0.6 + 0.01 * values, 0.02
    table["reconstruction_error"] = table["null_error"] = 420 - 0.5 * KS
    return table


@pytest.mark.parametrize("rule", RULES)
def test_what_was_planted_is_chosen(table, rule):
    choice = choose_rank(table, rule)
    good = KS[PLANTED - 2 : -1].tolist() if rule == "opnmf-permutation" else [PLANTED]
    assert (choice.k, choice.good, choice.flat) == (PLANTED, good, False)
    assert f"k = {PLANTED}" in choice.reason


@pytest.mark.parametrize("rule", RULES)
def test_flat_curves_are_called_flat(flat, rule):
    choice = choose_rank(flat, rule)
    assert choice.flat
    if rule == "null-crossing":
        assert choice.good == []
        assert "no structure" in choice.reason
    elif rule == "opnmf-permutation":
        assert choice.good == []
        assert "at least as much as on shuffled data" in choice.reason
    else:
        assert choice.good == KS.tolist()
        assert "flat" in choice.reason


@pytest.mark.parametrize("rule", RULES)
def test_order_and_holes_of_the_table_do_not_matter(table, rule):
    holes = table.copy()
    holes.loc[holes["n_components"] == 15, ["inner_product", "null_error", "label_ari"]] = np.nan
    shuffled = holes.sample(frac=1, random_state=0)
    assert choose_rank(shuffled, rule) == choose_rank(holes, rule)
    choice = choose_rank(shuffled, rule)
    assert choice.k == PLANTED
    missing = rule != "one-standard-error"
    assert choice.reason.endswith("Left out because a measure is missing: k = 15.") == missing


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("candidates", [[3, 4, 5], range(10, 14), [6], [2, 16], range(1, 100)])
def test_only_candidates_are_chosen(table, rule, candidates):
    choice = choose_rank(table, rule, candidates)
    assert {choice.k, *choice.good} <= set(candidates)
    if PLANTED in candidates:
        assert (choice.k, choice.flat) == (PLANTED, False)
    else:
        assert choice.flat or choice.k not in (min(candidates), max(candidates))


@pytest.mark.parametrize(
    ("rule", "column"), [(rule, column) for rule in RULES for column in RULES[rule].needs]
)
@pytest.mark.parametrize("as_nan", [True, False])
def test_a_column_without_values_is_named(table, rule, column, as_nan):
    lacking = table.assign(**{column: np.nan}) if as_nan else table.drop(columns=column)
    state = "which is empty" if as_nan else "which the table does not have"
    with pytest.raises(
        MissingColumnError, match=f"rule '{rule}' needs column {column}, {state}"
    ) as caught:
        choose_rank(lacking, rule)
    assert caught.value.column == column
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (made in this test)
    assert (str(again), again.column) == (str(caught.value), column)


def test_what_a_rule_compares():
    splits = {name for name, rule in RULES.items() if rule.compares_splits}
    assert splits == {"reproducibility-peak", "one-standard-error", "weighted"}
    shuffled = {name for name, rule in RULES.items() if rule.compares_shuffled}
    assert shuffled == {"null-crossing", "opnmf-permutation"}


def test_one_split_seen_twice_has_no_noise_to_compare_with(table):
    table["inner_product_sd"] = 1e-17
    choice = choose_rank(table, "reproducibility-peak", [4, 8])
    assert (choice.k, choice.good, choice.flat) == (4, [4, 8], True)
    assert "all splits have the same two parts" in choice.reason


def test_impossible_questions_are_refused(table):
    with pytest.raises(SelectionError, match="rule 'best' is unknown; use one of repro"):
        choose_rank(table, "best")
    with pytest.raises(SelectionError, match="candidates k = none was fitted"):
        choose_rank(table, "weighted", [])
    table.loc[KS < 9, "stability"] = table.loc[KS > 8, "label_ari"] = np.nan
    with pytest.raises(SelectionError, match="the table has k = none"):
        choose_rank(table, "weighted")
    with pytest.raises(SelectionError, match="k = 40 and 50 was fitted"):
        choose_rank(table, "weighted", [40, 50])


def test_a_single_candidate_is_no_finding(table):
    choice = choose_rank(table, "weighted", [8])
    assert choice.k == 8
    assert choice.flat
    assert "only candidate" in choice.reason


def test_the_highest_of_two_peaks_is_chosen_and_the_other_listed(table):
    table["inner_product"] = 0.5
    table.loc[KS == 4, "inner_product"] = 0.8
    table.loc[KS == 8, "inner_product"] = 0.9
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.good) == (8, [4, 8])
    assert "Also good: 4." in choice.reason


def test_a_peak_far_beyond_the_elbow_does_not_win(table):
    table["inner_product"] = 0.5
    table.loc[KS == 7, "inner_product"] = 0.8
    table.loc[KS == 14, "inner_product"] = 0.9
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.good) == (7, [7, 14])
    table.loc[KS == 7, "inner_product"] = 0.5
    choice = choose_rank(table, "reproducibility-peak")
    assert choice.k == 14
    assert "The elbow of the error is at k = 8, before any peak" in choice.reason


def test_of_equally_reproducible_neighbours_the_largest_is_chosen(table):
    table.loc[np.isin(KS, [6, 7, 8]), "inner_product"] = [0.989, 0.990, 0.989]
    table.loc[KS == 7, "inner_product_sd"] = 0.0005
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.good) == (7, [7])
    table.loc[KS == 7, "inner_product_sd"] = 0.002
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.good) == (8, [6, 7, 8])
    assert "k = 8 is the largest k that is equally reproducible" in choice.reason


def test_a_curve_that_only_falls_or_rises_has_no_peak(table):
    table["inner_product"] = 0.9 - 0.04 * (KS - 2)
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.flat) == (8, True)  # the elbow of the error
    assert "is highest at the smallest k" in choice.reason
    assert "k = 8 is at the elbow of the error. It is less reproducible (0.660" in choice.reason
    assert "than k = 2." in choice.reason
    table["inner_product"] = 0.2 + 0.04 * (KS - 2)
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.flat) == (16, True)
    assert "is highest at the end of the range, which is too short" in choice.reason


def test_a_clear_peak_stays_clear_though_a_distant_k_varies_much(table):
    table.loc[table["n_components"] == 2, "inner_product_sd"] = 0.9
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.flat) == (PLANTED, False)
    table.loc[table["n_components"] < PLANTED, "inner_product_sd"] = 0.9
    assert choose_rank(table, "reproducibility-peak").flat  # no k below is clearly lower


def test_a_bump_within_the_noise_is_no_peak(table):
    table["inner_product"] = 0.9 - 0.04 * (KS - 2)
    table.loc[KS == 6, "inner_product"] += 0.05
    choice = choose_rank(table, "reproducibility-peak")
    assert choice.flat
    table["inner_product_sd"] = 0.001
    assert choose_rank(table, "reproducibility-peak").flat  # less than matters
    table.loc[KS == 6, "inner_product"] += 0.05
    assert choose_rank(table, "reproducibility-peak").k == 6


def test_what_exceeds_chance_is_compared(table):
    """The curve falls from k = 2 on, but by chance it falls faster: beyond chance, 8 is best."""
    room = 0.05 + 0.06 * (KS - 2)
    table["inner_product_null"] = 1 - room
    table["inner_product"] = 1 - room * (0.3 + 0.05 * np.abs(KS - PLANTED))
    assert (np.diff(table["inner_product"]) < 0).all()
    table["inner_product_sd"] = 0.01
    choice = choose_rank(table, "reproducibility-peak")
    assert (choice.k, choice.flat) == (PLANTED, False)
    assert "scaled to 0 for random parts) peaks at k = 8: 0.700 ± 0.024, against" in (choice.reason)
    assert "inner product is 0.877, and 0.590 is expected by chance, for random" in choice.reason
    without = choose_rank(table.drop(columns="inner_product_null"), "reproducibility-peak")
    assert without.flat
    assert "chance" not in without.reason
    assert "compact" not in without.reason


def test_the_noise_grows_with_the_correction(table):
    """With less room above chance, the same difference is less, relative to the same noise."""
    table["inner_product"] = np.where(KS == PLANTED, 0.98, 0.9)
    table["inner_product_sd"] = 0.03
    assert choose_rank(table, "reproducibility-peak").k == PLANTED
    table["inner_product_null"] = 0.9
    choice = choose_rank(table, "reproducibility-peak")
    assert choice.k == PLANTED
    assert f"{PLANTED}: 0.800 ± 0.3" in choice.reason
    table["inner_product_null_sd"] = 0.2  # it counts by (1 - 0.8) = 0.2: hypot(0.03, 0.04) / 0.1
    assert "0.800 ± 0.5" in choose_rank(table, "reproducibility-peak").reason


def test_agreement_that_compact_parts_have_by_chance_is_near_chance(table):
    table["label_ari"] = table["label_ari_null"] = 0.3
    choice = choose_rank(table, "weighted")
    assert choice.flat
    assert "near chance at every k (label maps: ARI of 0.000 at most" in choice.reason


def test_below_chance_there_is_no_peak(table):
    """Of parts without structure, the null alone varies with k."""
    table["inner_product"], table["inner_product_sd"] = 1 / KS, 0.002
    table["inner_product_null"] = np.where(KS == 6, 0.6, 0.7)
    choice = choose_rank(table, "reproducibility-peak")
    assert choice.flat
    assert "Reproducibility is flat (0.000 at every k, scaled to 0" in choice.reason


def test_a_single_component_agrees_by_chance_too(table):
    table.loc[0, ["inner_product", "inner_product_null"]] = 1
    assert choose_rank(table, "reproducibility-peak").k == PLANTED


def test_no_crossing_in_the_range_is_said(table):
    table["null_error"] = 420 - 0.1 * KS
    choice = choose_rank(table, "null-crossing")
    assert (choice.k, choice.flat) == (16, True)
    assert "The range is too short for this rule" in choice.reason


def test_the_first_crossing_is_listed_too(table):
    table.loc[KS == 5, "reconstruction_error"] += 12  # a poor local optimum: no gain at 5
    choice = choose_rank(table, "null-crossing")
    assert (choice.k, choice.good) == (8, [4, 8])


def test_the_criterion_of_opnmf_compares_relative_errors():
    """The values that opnmf 0.0.2 itself returned, for the features of iris and a seed of NumPy."""
    errors, null = [1, 0.434561, 0.164983, 0.022982], [1, 0.797548, 0.548982, 0.008177]
    table = pd.DataFrame({"n_components": [1, 2, 3, 4]})
    table["reconstruction_error"], table["null_error"] = errors, null
    choice = choose_rank(table, "opnmf-permutation")
    assert (choice.k, choice.good, choice.flat) == (3, [3], False)
    assert "by 0.14 of its largest value up to k = 4, and on shuffled data by 0.54" in choice.reason
    table["reconstruction_error"] *= 18.19
    table["null_error"] *= 44.36
    assert choose_rank(table, "opnmf-permutation") == choice


def test_a_k_is_good_by_the_step_after_it(table):
    table.loc[KS == 5, "reconstruction_error"] += 12  # a poor local optimum: no gain at 5
    choice = choose_rank(table, "opnmf-permutation", range(2, 11))
    assert (choice.k, choice.good) == (4, [4, 8, 9, 10])
    assert choice.reason.endswith("Also good: 8, 9 and 10.")


def test_every_component_gains_a_little_out_of_sample(table):
    # without that slope, each k up to the last would be better by more than a standard error
    table[f"{FIT}_sd"] = 5e-6
    assert choose_rank(table, "one-standard-error").k == PLANTED


@pytest.mark.parametrize(("share", "flat"), [(0.005, True), (0.2, False)])
def test_a_negligible_share_of_the_variance_chooses_nothing(table, share, flat):
    """However small its noise is: the curve has the same form, and R² differs by this share."""
    table[FIT] *= share / np.ptp(table[FIT])
    table[f"{FIT}_sd"] = 1e-7
    choice = choose_rank(table, "one-standard-error")
    assert choice.flat == flat
    assert ("over all k, it differs by 0.005 at most" in choice.reason) == flat
    narrow = choose_rank(table, "one-standard-error", [7, 8, 9, 10])
    assert narrow.flat == flat


def test_weighing_needs_something_that_reproduces(table):
    table["label_ari"] = 0.001 * KS  # chance, whatever the inner products say
    choice = choose_rank(table, "weighted")
    assert choice.flat
    assert choice.good == KS.tolist()
    assert "near chance at every k (label maps: ARI of 0.016 at most)" in choice.reason


def test_weighing_leaves_out_what_is_flat(table):
    table["stability"] = 0.5 + 0.002 * KS
    table["stability_sd"] = 1e-4
    choice = choose_rank(table, "weighted")
    assert choice.k == PLANTED
    assert "Left out because they are flat over the range: stability." in choice.reason


def test_a_number_that_varies_is_not_worse_by_less_than_it_varies(table):
    at = KS == PLANTED
    table.loc[at, FIT] -= 4e-4
    assert choose_rank(table, "one-standard-error").k == PLANTED + 1
    table.loc[at, f"{FIT}_sd"] = 9e-4
    assert choose_rank(table, "one-standard-error").k == PLANTED


def test_two_candidates_are_enough(table):
    for rule in RULES:
        choice = choose_rank(table.iloc[[0, 6]], rule)
        assert choice.k in (2, PLANTED)


@given(st.integers(2, 12), st.integers(0, 10_000), st.sampled_from(list(RULES)))
@settings(deadline=None, max_examples=200)
def test_any_table_gets_a_choice_that_json_holds(n_rows, seed, rule):
    rng = np.random.default_rng(seed)
    names = {name for rule in RULES.values() for name in rule.needs}
    values = {name: rng.choice([0.1, 0.2, 0.5, rng.random()], n_rows) for name in sorted(names)}
    ks = np.sort(rng.choice(np.arange(1, 40), n_rows, replace=False))
    candidates = rng.choice(ks, rng.integers(1, n_rows + 1), replace=False).tolist()
    choice = choose_rank(pd.DataFrame({"n_components": ks, **values}), rule, candidates)
    assert choice.k in candidates
    assert set(choice.good) <= set(candidates)
    assert choice.good == sorted(set(choice.good))
    assert choice.k in choice.good or choice.flat
    assert f"k = {choice.k}" in choice.reason
    assert json.loads(json.dumps(choice._asdict())) == choice._asdict()


def test_the_best_may_be_the_best_by_chance(table):
    """The noise of a difference is that of both numbers."""
    table.loc[KS == PLANTED, FIT] += 0.001  # 0.011 more than the number before
    around = np.isin(KS, [PLANTED - 1, PLANTED])
    table.loc[around, f"{FIT}_sd"] = 0.008
    assert choose_rank(table, "one-standard-error").k == PLANTED - 1
    table.loc[around, f"{FIT}_sd"] = 0.006
    assert choose_rank(table, "one-standard-error").k == PLANTED
