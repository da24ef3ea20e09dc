import logging

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF
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
    with caplog.at_level(logging.INFO):
        model(verbose=1).fit(disjoint_parts())
    assert "parts: error" in caplog.text


def test_large_data_are_searched_on_some_rows_and_finished_on_all():
    X = np.repeat(disjoint_parts(), 100, axis=0)
    fitted = model(n_threads=1).fit(X)
    assert len(fitted.coef_) == 40000
    assert fitted.coef_.any(axis=1).all()
    assert fitted.n_iter_ < 10
