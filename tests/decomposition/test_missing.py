"""Fits with missing values, compared with slow and obvious ways to the same numbers."""

import itertools

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.base import clone

from opnmf_pipeline.decomposition import OPNMF, PNMF, missing
from opnmf_pipeline.decomposition.missing import FilledBlocks, observed_loadings, project
from opnmf_pipeline.selection.ranks import permuted
from tests.arrays import overlapping_parts

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

MODELS = {
    "published": OPNMF(3, missing="masked", max_iter=300),
    "accelerated": OPNMF(3, missing="masked", solver="accelerated"),
    "orthonormal": OPNMF(3, missing="masked", solver="orthonormal", random_state=0, n_init=2),
    "adaptive": OPNMF(3, missing="masked", solver="adaptive", random_state=0, n_init=2),
    "PNMF": PNMF(3, missing="masked", max_iter=300),
}
by_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


@pytest.fixture(scope="module")
def X():
    return overlapping_parts(np.random.default_rng(0), 120, 30).astype(np.float32)


@pytest.fixture(scope="module")
def gappy(X):
    """A fifth of the values is missing, and the first subjects lack a whole part."""
    gappy = np.where(np.random.default_rng(1).random(X.shape) < 0.2, np.nan, X)
    gappy[:40, :3] = np.nan
    return gappy.astype(np.float32)


@by_model
@pytest.mark.parametrize("wide", [False, True])
def test_without_missing_values_the_bits_are_those_of_the_plain_fit(model, wide, X):
    X = X[::8] if wide else X
    masked, plain = clone(model).fit(X), clone(model).set_params(missing="error").fit(X)
    np.testing.assert_array_equal(masked.coef_, plain.coef_)
    np.testing.assert_array_equal(masked.components_, plain.components_)
    assert masked.history_ == plain.history_
    assert masked.reconstruction_err_ == plain.reconstruction_err_
    mean = nnls(plain.coef_.astype(float), X.mean(axis=1, dtype=float))[0]
    np.testing.assert_allclose(masked.mean_loadings_, mean, rtol=1e-4)


@by_model
@pytest.mark.parametrize("wide", [False, True])
def test_the_error_is_that_of_the_observed_values(model, wide, gappy):
    gappy = gappy[::8] if wide else gappy
    model = clone(model).fit(gappy)
    residual = gappy - model.coef_ @ model.components_
    error = np.linalg.norm(residual[~np.isnan(gappy)])
    assert model.reconstruction_err_ == pytest.approx(error, rel=1e-5)
    assert model.lower_bound_ < error
    assert (model.coef_ >= 0).all()
    assert np.isfinite(model.components_).all()


@by_model
def test_missing_values_are_predicted(model, X, gappy):
    model = clone(model).fit(gappy)
    labels = np.arange(120) * 3 // 120
    assert min_errors(labels, model.coef_.argmax(axis=1)) == 0
    filled = (model.coef_ @ model.components_)[np.isnan(gappy)]
    truth = X[np.isnan(gappy)]
    assert np.linalg.norm(filled - truth) < 0.25 * np.linalg.norm(truth)


def min_errors(labels, found):
    """Return the fewest rows with a wrong label, over all orders of the three labels."""
    orders = map(np.array, itertools.permutations(range(3)))
    return min(np.count_nonzero(order[found] != labels) for order in orders)


def test_parts_without_noise_are_completed_exactly():
    rng = np.random.default_rng(0)
    labels = np.arange(60) // 20
    X = (1 + rng.random((60, 1))) * np.eye(3)[labels] @ (1 + rng.random((3, 25)))
    gappy = np.where(rng.random(X.shape) < 0.4, np.nan, X)
    model = OPNMF(
        3, solver="orthonormal", random_state=0, missing="masked", dtype="float64", tol=1e-9
    ).fit(gappy)
    np.testing.assert_allclose(model.coef_ @ model.components_, X, rtol=1e-3)


def test_the_error_is_the_least_that_any_disjoint_parts_have():
    # brute force: all ways to divide the rows, the best rank-one fit of observed values for each
    rng = np.random.default_rng(3)
    X = np.eye(2)[np.arange(7) // 4] @ rng.random((2, 6)) + 0.3 * rng.random((7, 6))
    X[rng.random(X.shape) < 0.25] = np.nan
    least = min(
        rank_one_error(X[list(first)]) + rank_one_error(np.delete(X, list(first), axis=0))
        for size in range(1, 4)
        for first in itertools.combinations(range(7), size)
    )
    model = OPNMF(
        2, solver="orthonormal", random_state=0, missing="masked", dtype="float64", tol=1e-9
    )
    error = model.fit(X).reconstruction_err_
    # a weight of 1e-4 on mean loadings is the difference
    assert np.sqrt(least) * (1 - 1e-9) < error < np.sqrt(least) * (1 + 1e-4)


def rank_one_error(X):
    """Return the least squared error of w hᵀ over the observed values, by alternating."""
    seen, filled = ~np.isnan(X), np.nan_to_num(X)
    w = np.ones(len(X))
    for _ in range(300):
        h = filled.T @ w / np.maximum(seen.T @ w**2, 1e-12)
        w = filled @ h / np.maximum(seen @ h**2, 1e-12)
    return np.sum(np.square(filled - np.outer(w, h))[seen])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loadings_are_the_non_negative_least_squares_of_observed_values(dtype, gappy):
    W = np.random.default_rng(2).random((120, 3)).astype(dtype)
    with FilledBlocks(gappy, dtype) as blocks:
        H = observed_loadings(blocks, W)
    for subject in range(3, 30):
        seen = ~np.isnan(gappy[:, subject])
        h = nnls(W[seen].astype(float), gappy[seen, subject].astype(float))[0]
        np.testing.assert_allclose(H[:, subject], h, atol=2e-3)


def test_a_component_without_an_observed_row_has_the_mean_loading(gappy):
    model = clone(MODELS["orthonormal"]).fit(gappy)
    lacked = model.coef_[:40].sum(axis=0).argmax()
    h = model.components_[lacked]
    assert h[:3] == pytest.approx(h[3:].mean(), rel=0.3)


def test_the_error_of_observed_values_never_rises(gappy, monkeypatch):
    errors = []

    def noted(*args):
        errors.append(residual_norm(*args))
        return errors[-1]

    residual_norm = missing.residual_norm
    monkeypatch.setattr(missing, "residual_norm", noted)
    clone(MODELS["orthonormal"]).set_params(dtype="float64").fit(gappy)
    assert len(errors) > 3
    assert (np.diff(errors[2:]) <= 1e-9).all()


@by_model
def test_a_resumed_fit_has_the_bits_of_an_uninterrupted_one(model, gappy, tmp_path):
    whole = clone(model).fit(gappy)
    path, last = tmp_path / "fit.npz", whole.n_iter_ - 2
    clone(model).set_params(checkpoint=path, callback=lambda each: each.iteration == last).fit(
        gappy
    )
    resumed = clone(model).set_params(checkpoint=path).fit(gappy)
    np.testing.assert_array_equal(resumed.coef_, whole.coef_)
    np.testing.assert_array_equal(resumed.components_, whole.components_)
    assert resumed.history_ == whole.history_


def test_a_memory_map_and_any_number_of_threads_give_the_same_bits(gappy, tmp_path):
    model = clone(MODELS["accelerated"])
    expected = clone(model).fit(gappy)
    np.save(tmp_path / "X.npy", gappy)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = clone(model).set_params(n_threads=2).fit(mapped)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_the_unit_of_the_data_does_not_matter(gappy):
    model = clone(MODELS["orthonormal"])
    np.testing.assert_array_equal(clone(model).fit(gappy).coef_, model.fit(1024 * gappy).coef_)


def test_new_subjects_with_missing_values_have_nearly_the_loadings_of_whole_ones(X, gappy):
    model = clone(MODELS["orthonormal"]).fit(gappy)
    whole, found = model.project(X), model.project(gappy)
    np.testing.assert_allclose(found, model.components_, rtol=0.02)
    np.testing.assert_allclose(found[:, 3:], whole[:, 3:], rtol=0.15)
    np.testing.assert_array_equal(project(X, model.coef_), whole)


def test_a_row_without_any_value_has_no_weight(gappy):
    gappy = gappy.copy()
    gappy[5] = np.nan
    model = clone(MODELS["accelerated"]).fit(gappy)
    assert not model.coef_[5].any()
    assert model.coef_[6].any()


def test_bad_data_are_refused(gappy):
    with pytest.raises(ValueError, match="contains NaN, infinity"):
        OPNMF(2).fit(gappy)
    masked = OPNMF(2, missing="masked")
    infinite, empty = gappy.copy(), gappy.copy()
    infinite[3, 3], empty[:, 4] = np.inf, np.nan
    with pytest.raises(ValueError, match=r"contains infinity .* 1 of them, the first in row 3"):
        masked.fit(infinite)
    with pytest.raises(ValueError, match=r"column 4 of X \(a subject\) has no observed value"):
        masked.fit(empty)
    with pytest.raises(ValueError, match="Negative values"):
        masked.fit(-gappy)


def test_shuffling_keeps_missing_values_in_place(gappy):
    shuffled = permuted(gappy, 0)
    np.testing.assert_array_equal(np.isnan(shuffled), np.isnan(gappy))
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(gappy, axis=0))
    assert not np.array_equal(shuffled, gappy, equal_nan=True)


def test_a_number_of_components_is_chosen(gappy):
    model = OPNMF([2, 3, 4], solver="orthonormal", random_state=0, missing="masked").fit(gappy)
    assert model.n_components_ == 3
