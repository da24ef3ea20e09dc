"""The comparison on planted cohorts: opponents and measures, never how good anything is."""

import numpy as np
import pytest

from benchmarks import planted
from benchmarks.opponents import OPPONENTS


@pytest.fixture
def parts():
    """Four disjoint parts, with little noise: X (400, 30) and the planted W (400, 4)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    X = np.eye(4)[labels] @ rng.random((4, 30)) + 0.02 * rng.random((400, 30))
    return X.astype(np.float32), np.eye(4)[labels]


@pytest.mark.parametrize("name", OPPONENTS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_every_opponent_returns_weights_near_the_data(name, parts):
    X, W = parts
    ari, cosine, error, of_others, seconds = planted.scores(OPPONENTS[name], X, X, W, 0)
    assert ari > 0.5
    assert cosine > 0.5
    assert error == pytest.approx(of_others)
    assert error < 0.5 * np.linalg.norm(X)
    assert seconds > 0


def test_the_error_is_the_obvious_one_at_the_best_scale(parts):
    X, W = parts
    W = W / np.linalg.norm(W, axis=0)
    assert planted.error(X, W) == pytest.approx(np.linalg.norm(X - W @ (W.T @ X)), rel=1e-3)
    assert planted.error(X, 7 * W) == pytest.approx(planted.error(X, W))


def test_it_prints_a_row_for_each_solver(test_data, capsys):
    if not planted.TOOL.exists():
        pytest.skip(f"needs {planted.TOOL}")
    case = ["--kinds", "hard", "--k", "10", "--noise", "0.5", "--subjects", "40", "--seeds", "1"]
    assert planted.main([*case, "--step", "200", "--solvers", "accelerated", "orthonormal"]) == 0
    printed = capsys.readouterr().out
    assert "hard, k = 10, noise 0.5, 40 subjects, 1 seeds" in printed
    assert "| orthonormal | " in printed
