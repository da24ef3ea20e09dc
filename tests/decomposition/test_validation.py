import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, PNMF

X = np.random.default_rng(0).random((30, 8))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, r"'n_components' .* an int in the range \[1, inf\), .* Got 0 "),
        ({"n_components": 2.0}, r"'n_components' .* an int in the range \[1, inf\), .* Got 2.0 "),
        ({"n_components": "all"}, r"a str among {'auto'} or an array-like. Got 'all' instead"),
        ({"n_components": []}, r"or several to choose from, or 'auto', got \[\]"),
        ({"n_components": [2, 0]}, r"or several to choose from, or 'auto', got \[2, 0\]"),
        ({"n_components": range(2, 10)}, "n_components=9 must be at most min"),
        ({"n_components": 9}, r"n_components=9 must be at most min\(n_samples=30, n_features=8\)"),
        ({"solver": "fast"}, "'solver' .* among {'multiplicative', 'accelerated', .* Got 'fast'"),
        ({"init": "nndsdv"}, "'init' .* a str among {.*'nndsvda'.*}. Got 'nndsdv' instead"),
        (
            {"dtype": "float16"},
            "'dtype' .* among {'float(32|64)', .* a type among .* Got 'float16'",
        ),
        ({"dtype": None}, "'dtype' .* among .* Got None instead"),
        ({"tol": -1}, r"'tol' .* a float in the range \[0.0, inf\). Got -1 instead"),
        ({"tol": float("nan")}, r"'tol' .* a float in the range \[0.0, inf\). Got nan instead"),
        ({"max_iter": 0}, r"'max_iter' .* an int in the range \[1, inf\). Got 0 instead"),
        ({"n_init": 0}, r"'n_init' .* an int in the range \[1, inf\). Got 0 instead"),
        ({"n_threads": 0}, r"'n_threads' .* an int in the range \[1, inf\) or None. Got 0 instead"),
        ({"max_memory": -5}, r"'max_memory' .* a float in the range \(0.0, inf\) or None. Got -5"),
        ({"random_state": "now"}, "'random_state' .* Got 'now' instead"),
        ({"checkpoint": 3}, "'checkpoint' parameter of OPNMF must be an instance of 'str'"),
        ({"checkpoint_minutes": -1}, r"'checkpoint_minutes' .* range \[0.0, inf\). Got -1"),
        ({"callback": 3}, "'callback' .* must be a callable or None. Got 3 instead"),
        ({"init": "custom"}, "W_init must be given to fit when init='custom'"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        OPNMF(**{"n_components": 2, **parameters}).fit(X)


@pytest.mark.parametrize("estimator", [OPNMF, PNMF])
def test_every_parameter_has_its_constraints(estimator):
    assert estimator._parameter_constraints.keys() == estimator().get_params().keys()


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
