import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.initialization import INITS, initial_weights
from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.decomposition.spectrum import spectrum


def start(X, k, init="nndsvd", seed=0, dtype="float64"):
    rng = np.random.RandomState(seed)
    with RowBlocks(X, dtype) as blocks:
        return initial_weights(blocks, k, init, spectrum(blocks, k), float(X.mean()), rng)


def obvious_nndsvd(X, k):
    """Boutsidis & Gallopoulos, table 1, for W only."""
    U, s, Vt = np.linalg.svd(X)
    W = np.zeros((len(X), k))
    W[:, 0] = np.sqrt(s[0]) * abs(U[:, 0])
    for j in range(1, k):
        pairs = []
        for sign in (1, -1):
            u, v = np.maximum(sign * U[:, j], 0), np.maximum(sign * Vt[j], 0)
            pairs.append((np.linalg.norm(u) * np.linalg.norm(v), u / np.linalg.norm(u)))
        product, u = max(pairs, key=lambda pair: pair[0])
        W[:, j] = np.sqrt(s[j] * product) * u
    W[W < 1e-6] = 0
    return W


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (15, 15)])
@pytest.mark.parametrize(("dtype", "precision"), [("float64", 1e-9), ("float32", 1e-5)])
def test_nndsvd_equals_the_obvious_one(shape, dtype, precision):
    X = np.random.default_rng(0).random(shape)
    np.testing.assert_allclose(start(X, 6, dtype=dtype), obvious_nndsvd(X, 6), atol=precision)


@pytest.mark.parametrize("init", [init for init in INITS if init != "custom"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_start_is_non_negative_and_seeded(X, init, dtype):
    W = start(X, 4, init, dtype=dtype)
    assert W.dtype == dtype
    assert W.shape == (len(X), 4)
    assert (W >= 0).all()
    np.testing.assert_array_equal(W, start(X, 4, init, dtype=dtype))
    seed_matters = not np.array_equal(W, start(X, 4, init, seed=1, dtype=dtype))
    assert seed_matters == (init in ("random", "nndsvdar"))


def test_nndsvda_and_nndsvdar_fill_the_zeros(X):
    W = start(X, 4)
    zeros = W == 0
    assert zeros.any()
    filled, noisy = start(X, 4, "nndsvda"), start(X, 4, "nndsvdar")
    np.testing.assert_array_equal(filled[~zeros], W[~zeros])
    np.testing.assert_allclose(filled[zeros], X.mean())
    np.testing.assert_array_equal(noisy[~zeros], W[~zeros])
    assert 0 < noisy[zeros].mean() < X.mean() / 50


@pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("unit", [1, 1000])
def test_brainparts_fills_the_zeros_with_a_tenth(X, unit):
    """Iterates depend on the ratios of the weights only, also where the data are rescaled."""
    filled = obvious_nndsvd(unit * X, 4)
    filled[filled == 0] = 0.1
    theirs = OPNMF(4, init="custom", max_iter=50, dtype="float64").fit(unit * X, W_init=filled)
    ours = OPNMF(4, init="brainparts", max_iter=50, dtype="float64").fit(unit * X)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-9)
    other = OPNMF(4, max_iter=50, dtype="float64").fit(unit * X)
    assert np.abs(ours.coef_ - other.coef_).max() > 1e-4


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_components_beyond_the_rank_start_empty(shape):
    rng = np.random.default_rng(0)
    X = rng.random((shape[0], 2)) @ rng.random((2, shape[1]))
    W = start(X, 4)
    assert np.isfinite(W).all()
    assert W[:, :2].any(axis=0).all()
    assert not W[:, 2:].any()


@pytest.mark.parametrize("shape", [(30, 8), (8, 30)])
def test_spectrum_gives_singular_values_bound_and_stand_in(shape):
    X = np.random.default_rng(0).random(shape)
    values = np.linalg.svd(X, compute_uv=False)
    with RowBlocks(X, "float64") as blocks:
        found = spectrum(blocks, 3)
    np.testing.assert_allclose(found.values[:3], values[:3])
    assert found.lower_bound(3) == pytest.approx(np.sqrt(np.sum(values[3:] ** 2)))
    assert found.squared_norm == pytest.approx(np.sum(X**2))
    if found.wide:
        L = found.compressed(np.float64)
        np.testing.assert_allclose(L @ L.T, X @ X.T, atol=1e-12)


@pytest.mark.parametrize("shape", [(90, 70), (70, 90), (70, 3)])
def test_krylov_space_stands_in_for_a_large_gram_matrix(shape, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.spectrum.GRAM_ROWS", 10)
    monkeypatch.setattr("opnmf_pipeline.decomposition.spectrum.GRAM_COLUMNS", 2)
    rng = np.random.default_rng(0)
    X = rng.random((shape[0], 5)) @ rng.random((5, shape[1])) + 0.01 * rng.random(shape)
    k = min(4, shape[1] - 1)
    np.testing.assert_allclose(start(X, k), obvious_nndsvd(X, k), atol=1e-6)
    with RowBlocks(X, "float64") as blocks:
        found = spectrum(blocks, k)
    values = np.linalg.svd(X, compute_uv=False)
    assert not found.wide
    np.testing.assert_allclose(found.values, values[:k])
    assert found.lower_bound(k) == pytest.approx(np.sqrt(np.sum(values[k:] ** 2)))
