import logging

import numpy as np
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from opnmf_pipeline.decomposition import OPNMF, adaptive
from opnmf_pipeline.decomposition.compression import (
    SAMPLE_BYTES,
    compress,
    compression_bytes,
    n_directions,
)
from opnmf_pipeline.decomposition.missing import FilledBlocks
from opnmf_pipeline.decomposition.passes import RowBlocks
from opnmf_pipeline.selection.reproducibility import cosine_and_rand_index

SOLVERS = ("accelerated", "orthonormal", "adaptive")
K = 3


@pytest.fixture(scope="module")
def cohort():
    """Three parts of 100 voxels, some of them shared, of 1200 subjects, with noise."""
    rng = np.random.default_rng(0)
    W = np.kron(np.eye(K), rng.uniform(0.5, 1, (100, 1)))
    W[95:105, :2] = 0.5
    H = rng.gamma(2, 1, (K, 1200))
    return W, np.maximum(W @ H + 0.2 * rng.standard_normal((300, 1200)), 0)


@pytest.fixture(scope="module")
def decomposed(cohort):
    with threadpool_limits(1):
        return np.linalg.svd(cohort[1], full_matrices=False)


@pytest.fixture
def direct(monkeypatch):
    """Let fits use all columns."""

    def fit(X, **parameters):
        with monkeypatch.context() as patch:
            patch.setattr("opnmf_pipeline.decomposition.compression.GRAM_COLUMNS", 10**9)
            return OPNMF(K, random_state=0, **parameters).fit(X)

    return fit


@pytest.fixture
def planted(cohort, monkeypatch):
    """The cohort, whose 300 rows are many here, so that X does not count as wide."""
    for module in ("compression", "spectrum"):
        monkeypatch.setattr(f"opnmf_pipeline.decomposition.{module}.GRAM_ROWS", 10)
    return cohort


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_basis_keeps_what_the_truncated_decomposition_keeps(planted, decomposed, dtype):
    X = planted[1]
    U, values, Vt = decomposed
    with RowBlocks(X, dtype, 1) as blocks:
        small = compress(blocks, 20)
        found = small.spectrum(blocks, K)
        assert blocks.n_passes == 2
    Q = small.basis
    np.testing.assert_allclose(Q.T @ Q, np.eye(20), atol=1e-12)
    np.testing.assert_allclose(small.rows, X @ Q, rtol=1e-4, atol=1e-4)
    assert small.squared_norm == pytest.approx(np.sum(X**2))
    least = np.sum(values[20:] ** 2) / np.sum(values**2)
    assert least <= small.loss < 1.1 * least
    np.testing.assert_allclose(found.values, values[:K], rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.diag(Vt[:K] @ found.vectors)), 1, atol=1e-4)
    u, _, _ = found.singular_triplets(None, K)
    np.testing.assert_allclose(np.abs(np.diag(U[:, :K].T @ u)), 1, atol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_same_solution_as_without_compression(planted, direct, solver):
    W, X = planted
    found, other = OPNMF(K, solver=solver, random_state=0).fit(X), direct(X, solver=solver)
    assert other.compression_loss_ == 0 < found.compression_loss_ < 0.1
    assert found.converged_
    assert found.reconstruction_err_ <= other.reconstruction_err_ * (1 + 1e-4)
    residual = np.linalg.norm(X - found.coef_ @ (found.coef_.T @ X))
    assert found.reconstruction_err_ == pytest.approx(residual, rel=1e-5)
    assert cosine_and_rand_index(found.coef_, other.coef_)[0] > 0.9999
    assert cosine_and_rand_index(found.coef_, W)[0] > 0.99
    if solver == "accelerated":
        assert found.kkt_residual_ < 1e-4
    if solver == "orthonormal":
        np.testing.assert_allclose(found.coef_.T @ found.coef_, np.eye(K), atol=1e-6)
        assert np.count_nonzero(found.coef_, axis=1).max() == 1


def test_passes_over_all_data_are_counted(planted, monkeypatch):
    X, read = planted[1].astype(np.float32), []
    get = FilledBlocks.__getitem__

    def counted(self, index):
        part = get(self, index)
        read.append(part.shape[0] if part.shape[1:] == X.shape[1:] else 0)
        return part

    monkeypatch.setattr(FilledBlocks, "__getitem__", counted)
    fit = OPNMF(K, solver="accelerated", random_state=0, n_threads=1).fit(X)
    sample = len(X)  # the rows that the first directions come from: here all of them
    assert sum(read) == fit.n_passes_ * len(X) + sample
    assert fit.n_passes_ <= 10


@pytest.mark.parametrize("solver", SOLVERS)
def test_bits_depend_neither_on_threads_nor_on_the_file(planted, tmp_path, solver):
    X = planted[1].astype(np.float32)
    np.save(tmp_path / "matrix.npy", X)
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    fits = []
    for data, n in ((X, 1), (X, 2), (mapped, 2)):
        with threadpool_limits(n):
            fits.append(OPNMF(K, solver=solver, random_state=0, n_threads=n).fit(data))
    for other in fits[1:]:
        np.testing.assert_array_equal(fits[0].coef_, other.coef_)
        np.testing.assert_array_equal(fits[0].components_, other.components_)


def test_which_data_are_compressed():
    assert n_directions((75_000, 3000), 20) == 150
    assert n_directions((75_000, 1000), 20) == 0
    assert n_directions((75_000, 1200), 100) == 0  # 550 directions would not be fewer by far
    assert n_directions((5000, 6000), 20) == 0  # the square root of XXᵀ stands in
    assert n_directions((40_000, 60_000), 20) == 150
    assert n_directions((100, 3000), 20) == 0


def test_memory_of_compressed_data(planted):
    X = planted[1]
    with RowBlocks(X, "float64", 1) as blocks:
        needed = compression_bytes(blocks, K)
    assert needed == SAMPLE_BYTES + 8 * 65 * (300 + 3 * 1200)
    assert n_directions((300, 1200), K) == 65
    with pytest.raises(ValueError, match="max_memory=500 MB is too little"):
        OPNMF(K, solver="accelerated", max_memory=500).fit(X)


def test_published_iterates_are_those_of_all_data(planted):
    with pytest.warns(match="stopped at max_iter=2"):
        fit = OPNMF(K, max_iter=2).fit(planted[1])
    assert fit.compression_loss_ == 0


def test_a_fit_that_is_stopped_or_out_of_passes_ends(planted):
    X = planted[1]
    with pytest.warns(match="stopped at max_iter=2"):
        short = OPNMF(K, solver="accelerated", tol=1e-9, max_iter=2).fit(X)
    stopped = OPNMF(K, solver="accelerated", callback=lambda record: record.iteration == 1).fit(X)
    assert short.n_iter_ == stopped.n_iter_ == 2
    assert not short.converged_
    assert not stopped.converged_
    np.testing.assert_array_equal(short.coef_, stopped.coef_)
    H = short.coef_.T @ X
    assert short.reconstruction_err_ == pytest.approx(np.linalg.norm(X - short.coef_ @ H), rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_resumed_fit_ends_with_the_same_bits(planted, tmp_path, solver):
    X = planted[1]
    fit = OPNMF(K, solver=solver, random_state=0, tol=1e-9, dtype="float64")
    whole = clone(fit).fit(X)
    path = tmp_path / "fit.npz"
    with pytest.warns(match="stopped at max_iter"):
        clone(fit).set_params(max_iter=whole.n_iter_ - 1, checkpoint=path).fit(X)
    assert path.exists()  # the passes over X had begun
    again = clone(fit).set_params(checkpoint=path).fit(X)
    np.testing.assert_array_equal(whole.coef_, again.coef_)
    assert again.n_iter_ == whole.n_iter_


def test_halves_for_the_choice_of_parts_are_halves_of_the_subjects(planted, monkeypatch):
    X, seen = planted[1].astype(np.float32), []
    compressed = adaptive.compressed_in_memory

    def noted(columns, like, k):
        seen.append(columns)
        return compressed(columns, like, k)

    monkeypatch.setattr(adaptive, "compressed_in_memory", noted)
    # halves, of 600 columns, are compressed too
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.GRAM_COLUMNS", 500)
    fit = OPNMF(K, solver="adaptive", random_state=0).fit(X)
    assert cosine_and_rand_index(fit.coef_, planted[0])[0] > 0.99
    assert len(seen) >= 6
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert first.shape == second.shape == (300, 600)
        both = np.hstack([first, second])
        scale = both.max() / X.max()  # solvers see the data rescaled
        np.testing.assert_allclose(np.sort(both[0]), np.sort(X[0] * scale))


def test_halves_of_too_many_subjects_are_those_of_a_sample_that_is_read_once(planted, monkeypatch):
    X, reads = planted[1].astype(np.float32), []
    columns = RowBlocks.columns

    def noted(blocks, index):
        if len(index) != blocks.shape[1]:
            reads.append((blocks.shape[1], sorted(index)))
        return columns(blocks, index)

    monkeypatch.setattr(RowBlocks, "columns", noted)
    monkeypatch.setattr(adaptive, "SUBJECTS_BYTES", 300 * 400 * 4)
    fit = OPNMF(K, solver="adaptive", random_state=0).fit(X)
    assert cosine_and_rand_index(fit.coef_, planted[0])[0] > 0.99
    assert [len(index) for n, index in reads if n == X.shape[1]] == [400]
    halves = [index for n, index in reads if n == 400]
    assert len(halves) >= 6
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert sorted(first + second) == list(range(400))


def test_the_log_says_what_was_lost_and_how_often_data_were_read(planted, caplog):
    with caplog.at_level(logging.DEBUG, logger="opnmf_pipeline"):
        fit = OPNMF(K, solver="accelerated").fit(planted[1])
    assert f"1200 columns compressed to 65 for the search, without {fit.compression_loss_:.3g}" in (
        caplog.text
    )
    assert f"{fit.n_passes_} passes over the data" in caplog.text
