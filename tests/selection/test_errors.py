import numpy as np

from opnmf_pipeline.selection.errors import relative_errors
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
