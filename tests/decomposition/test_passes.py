import time

import numpy as np

from opnmf_pipeline.decomposition import passes
from opnmf_pipeline.decomposition.passes import RowBlocks, moments, sweep


def test_squares_of_few_rows_are_exact_to_float64():
    # k x k numbers decide norms and convergence; errors of float32 do not average out in few rows
    rng = np.random.default_rng(0)
    X = rng.random((90, 12), dtype=np.float32)
    W = rng.random((90, 3), dtype=np.float32)
    expected = W.astype(np.float64).T @ W.astype(np.float64)
    with RowBlocks(X, "float32") as blocks:
        np.testing.assert_allclose(moments(blocks, W).G, expected, rtol=1e-13)
        state = sweep(blocks, W.copy(), np.zeros((12, 3)), lambda rows, W_b, XM: W_b)
    np.testing.assert_allclose(state.G, expected, rtol=1e-13)


def test_results_do_not_pile_up(monkeypatch):
    """A result can be larger than its block: a slow caller must not find all of them waiting."""
    monkeypatch.setattr(passes, "BLOCK_BYTES", 1)
    monkeypatch.setattr(passes, "FEWEST_ROWS", 64)
    started = []
    with RowBlocks(np.ones((64 * 40, 2)), "float64", n_threads=2) as X:
        results = X.map(lambda rows, _: started.append(rows) or rows.start)
        for number, start in enumerate(results):
            time.sleep(0.002)
            assert start == 64 * number
            assert len(started) - number <= 1 + passes.AHEAD * 2
    assert len(started) == 40


def test_columns_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "BLOCK_BYTES", 1)
    monkeypatch.setattr(passes, "FEWEST_ROWS", 10)
    values = np.random.default_rng(0).random((100, 9), dtype=np.float32)
    np.save(tmp_path / "x.npy", values)
    X, index = np.load(tmp_path / "x.npy", mmap_mode="r"), [7, 0, 0, 3]
    found = RowBlocks(X, "float32").every(3).columns(index)
    np.testing.assert_array_equal(found, values[::3][:, index])
    assert found.flags.c_contiguous
    blocks = RowBlocks(X, "float64")
    blocks.rescale(0.25)
    np.testing.assert_array_equal(blocks.columns(index), 4 * values[:, index].astype(np.float64))
