import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF

X = np.random.default_rng(0).random((30, 8))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer >= 1, .* got 0"),
        ({"n_components": 2.0}, "n_components must be an integer >= 1, .* got 2.0"),
        ({"n_components": "all"}, "or several to choose from, or 'auto', got 'all'"),
        ({"n_components": []}, r"or several to choose from, or 'auto', got \[\]"),
        ({"n_components": [2, 0]}, r"or several to choose from, or 'auto', got \[2, 0\]"),
        ({"n_components": range(2, 10)}, "n_components=9 must be at most min"),
        ({"n_components": 9}, r"n_components=9 must be at most min\(n_samples=30, n_features=8\)"),
        ({"solver": "fast"}, "solver='fast' is unknown; use one of multiplicative"),
        ({"init": "nndsdv"}, "init='nndsdv' is unknown; use one of nndsvd, nndsvda"),
        ({"dtype": "float16"}, "dtype='float16' is unknown; use one of float32, float64"),
        ({"dtype": None}, "dtype=None is unknown"),
        ({"tol": -1}, "tol must be a number >= 0, got -1"),
        ({"tol": float("nan")}, "tol must be a number >= 0, got nan"),
        ({"max_iter": 0}, "max_iter must be an integer >= 1, got 0"),
        ({"n_init": 0}, "n_init must be an integer >= 1, got 0"),
        ({"n_threads": 0}, "n_threads must be an integer >= 1, got 0"),
        ({"callback": 3}, "callback must be callable or None, got 3"),
        ({"init": "custom"}, "W_init must be given to fit when init='custom'"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        OPNMF(**{"n_components": 2, **parameters}).fit(X)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "contains NaN, infinity or a value too large for float32: 1 of them.* row 17"),
        (np.inf, "contains NaN, infinity or a value too large for float32"),
        (1e300, "contains NaN, infinity or a value too large for float32"),
        (-0.5, r"Negative values in data passed to OPNMF \(input X\): 1 of them.* least is -0.5"),
    ],
)
def test_impossible_data_are_refused(bad, message):
    bad_X = X.copy()
    bad_X[17, 3] = bad
    with pytest.raises(ValueError, match=message):
        OPNMF(2).fit(bad_X)


@pytest.mark.parametrize(
    ("W_init", "message"),
    [
        (np.ones((8, 2)), r"W_init must be of shape \(30, 2\), got \(8, 2\)"),
        (-np.ones((30, 2)), "W_init must be finite and non-negative"),
        (np.full((30, 2), np.nan), "W_init must be finite and non-negative"),
    ],
)
def test_impossible_starts_are_refused(W_init, message):
    with pytest.raises(ValueError, match=message):
        OPNMF(2, init="custom").fit(X, W_init=W_init)


def test_start_without_custom_is_refused():
    with pytest.raises(ValueError, match="W_init must be given to fit when init='custom', and"):
        OPNMF(2).fit(X, W_init=np.ones((30, 2)))
