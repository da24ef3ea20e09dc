import numpy as np

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
