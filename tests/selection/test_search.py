import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

from opnmf_pipeline.decomposition import OPNMF, PNMF, rank_permute
from opnmf_pipeline.exceptions import ConvergenceWarning, SelectionWarning
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.ranks import permuted

ORTHONORMAL = OPNMF(solver="orthonormal", n_init=3, random_state=0)


@pytest.fixture
def planted():
    """300 voxels × 40 subjects, five parts."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.integers(0, 5, 300))
    return np.eye(5)[labels] @ rng.random((5, 40)) + 0.1 * rng.random((300, 40))


@pytest.fixture
def noise():
    """Nothing that voxels share, but the mean of all."""
    return np.random.default_rng(0).random((300, 40))


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.SelectionWarning")
def test_errors_are_those_of_single_fits(planted):
    found = rank_permute(planted, 2, 7, 2, estimator=ORTHONORMAL, random_state=4, n_permutations=2)
    assert found.ranks_.tolist() == [2, 4, 6]
    for rank, error, null in zip(found.ranks_, found.errors_, found.random_errors_.T, strict=True):
        model = clone(ORTHONORMAL).set_params(n_components=int(rank))
        assert error == model.fit(planted).mse_
        assert null[0] == model.fit(permuted(planted, 4)).mse_
        assert null[1] == model.fit(permuted(planted, 5)).mse_


def test_rank_permute_finds_what_was_planted(planted, recwarn):
    found = rank_permute(planted, 2, 9, estimator=ORTHONORMAL)
    assert found.choice_.k == 5
    assert found.good_ranks_.tolist() == [5]
    assert "The last component up to k = 5 reduces the error by" in found.choice_.reason
    assert not recwarn.list


@pytest.mark.parametrize(
    ("n_components", "ranks"),
    [
        ("auto", list(range(2, 21))),
        (range(3, 10, 2), [3, 5, 7, 9]),
        ([7, 3, 5, 5], [3, 5, 7]),
        (np.array([3, 5, 7], dtype=np.uint8), [3, 5, 7]),
    ],
)
def test_estimator_chooses_and_is_fitted_with_the_choice(planted, n_components, ranks):
    model = clone(ORTHONORMAL).set_params(n_components=n_components).fit(planted)
    assert model.n_components is n_components
    assert model.ranks_.tolist() == ranks
    assert model.errors_.shape == model.random_errors_.shape == model.ranks_.shape
    assert model.good_ranks_.tolist() == [5]
    assert model.n_components_ == 5
    assert model.mse_ == model.errors_[ranks.index(5)]
    single = clone(ORTHONORMAL).set_params(n_components=5).fit(planted)
    np.testing.assert_array_equal(model.coef_, single.coef_)
    assert not hasattr(single, "ranks_")


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [OPNMF(max_iter=200), PNMF(max_iter=200)])
def test_iterated_estimators_choose_too(planted, estimator):
    model = estimator.set_params(n_components=[4, 5, 6], random_state=0).fit(planted)
    assert model.n_components_ == model.coef_.shape[1] == 5


def test_auto_goes_no_further_than_half_of_the_smaller_side(noise):
    model = clone(ORTHONORMAL).set_params(n_components="auto")
    with pytest.warns(SelectionWarning) as record:
        few_subjects = model.fit(noise[:, :9]).ranks_
    assert record[0].filename == __file__
    assert few_subjects.tolist() == [2, 3, 4]
    with pytest.warns(SelectionWarning, match="k = 2 is the only candidate"):
        few_voxels = model.fit(noise[:3]).ranks_
    assert few_voxels.tolist() == [2]


def test_no_structure_is_said_and_the_smallest_taken():
    rng = np.random.default_rng(0)
    X = np.outer(np.ones(300), rng.random(40)) + 0.1 * rng.random((300, 40))
    model = clone(ORTHONORMAL).set_params(n_components=range(1, 6))
    with pytest.warns(SelectionWarning, match="k = 1 is the smallest candidate, but not a good"):
        model.fit(X)
    assert model.good_ranks_.size == 0
    assert model.n_components_ == 1


def test_a_range_that_is_too_short_is_said(planted):
    with pytest.warns(SelectionWarning, match="end of the range. The range is too short"):
        found = rank_permute(planted, 2, 4, estimator=ORTHONORMAL)
    assert found.choice_.k == 4


def test_four_features_of_iris_have_three_components_by_opnmf_and_none_by_null_crossing():
    """The other curves are those of opnmf 0.0.2 itself, whose shuffling differs."""
    X = load_iris().data.T
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = rank_permute(X, 1, 4, rule="opnmf-permutation")
    assert found.choice_.k == 3
    assert found.good_ranks_.tolist() == [3]
    relative = found.errors_ / found.errors_.max()
    np.testing.assert_allclose(relative, [1, 0.434561, 0.164983, 0.022982], atol=1e-3)
    null = found.random_errors_[0] / found.random_errors_.max()
    np.testing.assert_allclose(null, [1, 0.797548, 0.548982, 0.008177], atol=0.02)
    table = pd.DataFrame({"n_components": found.ranks_, "reconstruction_error": found.errors_})
    table["null_error"] = found.random_errors_[0]
    choice = choose_rank(table, "null-crossing")
    assert (choice.good, choice.flat) == ([], True)
    assert "they find no structure" in choice.reason


def test_a_search_refuses_rules_that_need_splits(planted):
    match = "rule must be 'null-crossing' or 'opnmf-permutation', got 'weighted'"
    with pytest.raises(ValueError, match=match):
        rank_permute(planted, 2, 3, estimator=ORTHONORMAL, rule="weighted")


def test_fits_that_do_not_converge_are_counted(planted):
    with pytest.warns(
        ConvergenceWarning, match="of the 6 fits of the search stopped at max_iter=2"
    ):
        rank_permute(planted, 4, 6, estimator=OPNMF(max_iter=2))


def test_callback_and_checkpoint_are_of_the_last_fit_only(planted, tmp_path):
    seen, path = [], tmp_path / "fit.npz"
    model = clone(ORTHONORMAL).set_params(
        n_components=[4, 5, 6], callback=seen.append, checkpoint=path, checkpoint_minutes=0
    )
    model.fit(planted)
    assert seen == model.history_
    assert not path.exists()


def test_data_are_read_and_left_alone(planted, tmp_path):
    before = planted.copy()
    rank_permute(planted, 4, 6, estimator=ORTHONORMAL)
    np.testing.assert_array_equal(planted, before)
    planted = planted.astype(np.float32)
    expected = rank_permute(planted, 4, 6, estimator=ORTHONORMAL)
    np.save(tmp_path / "X.npy", planted)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = rank_permute(mapped, 4, 6, estimator=ORTHONORMAL)
    np.testing.assert_array_equal(found.errors_, expected.errors_)
    np.testing.assert_array_equal(found.random_errors_, expected.random_errors_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "min_components=0, max_components=3 and step=1 give no number"),
        ((4, 3), "min_components=4, max_components=3 and step=1 give no number"),
        ((2, 3, 0), "and step=0 give no number"),
        ((2, 99), r"n_components=99 must be at most min\(n_samples=300, n_features=40\)"),
    ],
)
def test_impossible_ranges_are_refused(planted, arguments, message):
    with pytest.raises(ValueError, match=message):
        rank_permute(planted, *arguments, estimator=ORTHONORMAL)


def test_a_search_needs_a_permutation(planted):
    with pytest.raises(ValueError, match="n_permutations must be an integer >= 1, got 0"):
        rank_permute(planted, 2, 3, estimator=ORTHONORMAL, n_permutations=0)


def test_a_custom_start_leaves_no_choice(planted):
    model = OPNMF([2, 3], init="custom")
    with pytest.raises(ValueError, match=r"n_components=\[2, 3\] is a choice"):
        model.fit(planted, W_init=np.ones((300, 2)))


def test_default_estimator_is_opnmf(planted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SelectionWarning)
        found = rank_permute(planted[:60], 2, 3)
    assert found.errors_[0] == pytest.approx(OPNMF(2).fit(planted[:60]).mse_)
