import logging

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, adaptive
from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.selection.reproducibility import matched_inner_products
from tests.arrays import overlapping_parts


def disjoint_parts(seed=0):
    """Return 4 parts of 100 rows, each with loadings of its own, and noise."""
    rng = np.random.default_rng(seed)
    loadings = 0.5 + 0.3 * rng.random((4, 40))
    X = np.kron(np.eye(4), np.ones((100, 1))) @ loadings + 0.1 * rng.random((400, 40))
    return X * (0.5 + rng.random((400, 1)))


def model(k=4, **parameters):
    return OPNMF(k, solver="adaptive", random_state=0, n_init=4, **parameters)


def test_disjoint_parts_are_found_as_disjoint_parts():
    fitted = model().fit(disjoint_parts())
    labels = fitted.coef_.argmax(axis=1).reshape(4, 100)
    assert (labels == labels[:, :1]).all()
    assert len(set(labels[:, 0])) == 4
    assert fitted.converged_


def test_overlapping_parts_end_at_a_stationary_point():
    X = overlapping_parts(np.random.default_rng(1), 400, 40, 4)
    fitted = model().fit(X)
    assert ((fitted.coef_ > 0).sum(axis=1) > 1).any()
    assert fitted.kkt_residual_ < 1.1e-4
    accelerated = OPNMF(4, solver="accelerated").fit(X)
    assert fitted.mse_ <= accelerated.mse_ * 1.001  # both stop at a residual, not at an error


@pytest.mark.parametrize("shape", [(400, 40), (30, 40)])
def test_threads_memory_maps_and_repetition_give_the_same_bits(shape, tmp_path):
    X = disjoint_parts()[: shape[0]].astype(np.float32)
    np.save(tmp_path / "matrix.npy", X)
    fitted = model(n_threads=1).fit(X)
    other = model(n_threads=3).fit(np.load(tmp_path / "matrix.npy", mmap_mode="r"))
    np.testing.assert_array_equal(other.coef_, fitted.coef_)


def test_the_log_says_what_was_chosen_and_why(caplog):
    with caplog.at_level(logging.INFO, logger="opnmf_pipeline"):
        model(verbose=1).fit(disjoint_parts())
    assert "parts: error" in caplog.text


def test_large_data_are_searched_on_some_rows_and_finished_on_all():
    X = np.repeat(disjoint_parts(), 100, axis=0)
    fitted = model(n_threads=1).fit(X)
    assert len(fitted.coef_) == 40000
    assert fitted.coef_.any(axis=1).all()
    assert fitted.n_iter_ < 10


def test_the_mean_does_not_depend_on_the_order_of_components():
    rng = np.random.default_rng(0)
    W = np.kron(np.eye(4), rng.random((25, 1)) + 0.5)
    noisy = [np.maximum(W + 0.2 * rng.standard_normal(W.shape), 0) for _ in range(6)]
    mean = adaptive._mean([U[:, rng.permutation(4)] for U in noisy])
    cosines = matched_inner_products(mean, W)
    assert (cosines > 0.98).all()
    assert cosines.min() > max(matched_inner_products(U, W).max() for U in noisy)


def test_halves_share_no_subject_and_few_subjects_are_not_halved():
    rng = np.random.RandomState(0)
    with RowBlocks(np.ones((3, 11)), "float64") as X:
        first, second = adaptive._halves(X, rng)
        assert sorted([*first, *second]) == list(range(11))
        assert len(first) == 5
    with RowBlocks(np.ones((3, 7)), "float64") as X:
        first, second = adaptive._halves(X, rng)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("error", "more", "chosen"),
    [(np.inf, 1, True), (np.inf, -0.01, True), (np.inf, -0.03, False), (0, 1, False)],
)
def test_disjoint_parts_need_a_lower_error_and_equal_agreement(monkeypatch, error, more, chosen):
    def agreement(pair):
        return more * all(((W > 0).sum(axis=1) <= 1).all() for W in pair)

    monkeypatch.setattr(adaptive, "_agreement", agreement)
    rng = np.random.RandomState(0)
    with RowBlocks(disjoint_parts(), "float64") as X:
        splits = [adaptive._halves(X, rng)]
        pairs = [adaptive._fitted(X, splits[0], 4, adaptive._overlapping, rng)]
        found = adaptive._disjoint_parts(X, splits, pairs, error, rng, logging.DEBUG)
    assert (found is not None) == chosen
