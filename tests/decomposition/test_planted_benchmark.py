"""The comparison on planted cohorts: opponents and measures, never how good anything is."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from benchmarks import contest, missing, planted, relevance
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


def test_a_hardened_solution_has_the_error_of_its_parts(parts):
    X, W = parts
    soft = W + 0.3 * np.random.default_rng(1).random(W.shape)
    rows = [X[W[:, j] > 0].astype(float) for j in range(4)]
    lost = [np.square(np.linalg.svd(part, compute_uv=False)[1:]).sum() for part in rows]
    assert contest.hardened(X, soft) == pytest.approx(np.sqrt(sum(lost)))
    assert contest.hardened(X, np.eye(1, 4) + 0 * W) == pytest.approx(
        np.sqrt(np.square(np.linalg.svd(X.astype(float), compute_uv=False)[1:]).sum())
    )


def test_the_contest_has_a_row_for_each_program(parts, monkeypatch, capsys):
    monkeypatch.setattr(contest, "DATA", {"parts": (lambda: parts[0], (4,))})
    assert contest.main(["--data", "parts", "--seeds", "1"]) == 0
    table = capsys.readouterr().out
    for program in [*contest.SOLVERS, *contest.FLOORS]:
        assert f"| {program}" in table


def test_it_prints_a_row_for_each_solver(test_data, capsys):
    if not planted.TOOL.exists():
        pytest.skip(f"needs {planted.TOOL}")
    case = ["--kinds", "hard", "--k", "10", "--noise", "0.5", "--subjects", "40", "--seeds", "1"]
    assert planted.main([*case, "--step", "200", "--solvers", "accelerated", "orthonormal"]) == 0
    printed = capsys.readouterr().out
    assert "hard, k = 10, noise 0.5, 40 subjects, 1 seeds" in printed
    assert "| orthonormal | " in printed


def last(iterates):
    *_, W = iterates
    return W


def test_relevance_prunes_to_the_planted_number(parts):
    """Without the prior, all ten remain; too strong a prior removes parts."""
    X, planted_W = parts
    start = np.random.default_rng(1).random((400, 10))
    kept = {s: last(relevance.relevant(X, start, s, 1000)) for s in (0, 10, 100)}
    assert [relevance.remaining(W) for W in kept.values()] == [10, 4, 1]
    assert adjusted_rand_score(planted_W.argmax(axis=1), kept[10].argmax(axis=1)) == 1


def test_an_iteration_is_the_formula(parts):
    X = parts[0].astype(np.float64)
    start = np.random.default_rng(1).random((400, 6))
    W = start / np.linalg.norm(start, 2)
    XXt, WWt = X @ X.T, W @ W.T
    prior = W @ np.diag([1 / (column @ column) for column in W.T])
    W = W * (2 * XXt @ W) / (WWt @ XXt @ W + XXt @ WWt @ W + 3 * prior)
    found = last(relevance.relevant(X, start, 3, 1))
    np.testing.assert_allclose(found, W / np.linalg.norm(W, 2), rtol=1e-8)


def test_the_strength_has_the_units_of_the_variance(parts):
    X, start = parts[0].astype(np.float64), np.random.default_rng(1).random((400, 6))
    W = last(relevance.relevant(X, start, 3, 20))
    np.testing.assert_allclose(last(relevance.relevant(7 * X, start, 3 * 49, 20)), W, rtol=1e-6)


def test_slabs_and_values_at_random_are_missing_in_the_right_share():
    positions = np.argwhere(np.ones((10, 10, 10)))
    rng = np.random.default_rng(0)
    assert missing.at_random((1000, 50), 0.3, rng, positions).mean() == pytest.approx(0.3, abs=0.01)
    slabs = missing.slabs((1000, 50), 0.3, rng, positions)
    assert set(slabs.sum(axis=0)) <= {200, 300}  # whole slices


def test_masked_fits_are_compared_with_filled_data(parts):
    X, W = parts
    lost = np.random.default_rng(0).random(X.shape) < 0.3
    complete, masked, zeros, means, wrong, *seconds = missing.scores(X, lost, W, "orthonormal", 0)
    assert complete == masked == 1
    assert zeros < 1 or means < 1
    assert wrong < 0.1
    assert min(seconds) > 0
