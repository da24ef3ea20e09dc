import numpy as np
import pytest

from opnmf_pipeline.selection import errors
from opnmf_pipeline.selection.errors import (
    explained_variance,
    mean_image,
    n_missing,
    norm,
    relative_errors,
    residual_norms,
)
from tests.arrays import overlapping_parts


def test_errors_are_the_norms_of_the_differences():
    rng = np.random.default_rng(0)
    X = overlapping_parts(rng)
    W = rng.random((len(X), 4)) / 10  # neither orthogonal nor of norm 1
    H = W.T @ X
    expected = [
        np.linalg.norm(x - W @ h) / np.linalg.norm(x) for x, h in zip(X.T, H.T, strict=True)
    ]
    found = relative_errors(np.linalg.norm(X, axis=0), H.T, W.T @ W)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_an_exact_fit_and_an_empty_image_have_no_error():
    W = np.eye(5)[:, :2]
    X = np.zeros((5, 2))
    X[:2, 0] = 3, 4
    found = relative_errors(np.linalg.norm(X, axis=0), X.T @ W, W.T @ W)
    np.testing.assert_array_equal(found, [0, 0])


def test_norms_about_zero_and_about_a_mean_take_all_blocks(monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.selection.errors.BLOCK_ROWS", 7)
    X = np.random.default_rng(0).random((20, 6)).astype(np.float32)
    mean = X.mean(axis=1, dtype=np.float64)
    assert norm(X) == pytest.approx(np.linalg.norm(X.astype(float)), rel=1e-12)
    about_mean = np.linalg.norm(X.astype(float) - mean[:, np.newaxis])
    assert norm(X, mean) == pytest.approx(about_mean, rel=1e-12)


def test_a_norm_does_not_lose_the_variance_in_a_large_mean():
    X = np.full((50_000, 4), 1e4, dtype=np.float32)
    X[:, :2] += np.float32(0.0625)
    assert norm(X, X.mean(axis=1, dtype=np.float64)) ** 2 == pytest.approx(200_000 * 0.03125**2)


def test_the_mean_image_explains_nothing_about_itself():
    X = np.random.default_rng(0).random((30, 8)) + 5
    mean = X.mean(axis=1)
    error = np.linalg.norm(X - mean[:, np.newaxis])
    assert explained_variance(error, norm(X, mean)) == pytest.approx(0, abs=1e-12)
    assert explained_variance(error, norm(X)) > 0.99
    assert explained_variance(2 * error, norm(X, mean)) == pytest.approx(-3)
    assert np.isnan(explained_variance(0.0, 0.0))


def test_missing_values_are_left_out(monkeypatch):
    monkeypatch.setattr(errors, "BLOCK_ROWS", 7)
    rng = np.random.default_rng(0)
    X = overlapping_parts(rng)
    W, H = rng.random((len(X), 4)), rng.random((4, X.shape[1]))
    X[rng.random(X.shape) < 0.2] = np.nan
    X[3] = np.nan
    observed = ~np.isnan(X)
    mean = [row[seen].mean() if seen.any() else 0 for row, seen in zip(X, observed, strict=True)]
    np.testing.assert_allclose(mean_image(X), mean)
    assert n_missing(X) == (~observed).sum()
    about_mean = (X - np.array(mean)[:, np.newaxis])[observed]
    assert norm(X, mean_image(X)) == pytest.approx(np.linalg.norm(about_mean))
    left = np.where(observed, X - W @ H, 0)
    np.testing.assert_allclose(residual_norms(X, W, H), np.linalg.norm(left, axis=0))
