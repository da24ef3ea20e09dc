"""The harness of the benchmarks: that it measures what it says, never how fast anything is."""

import numpy as np
import pytest

from benchmarks import __main__, datasets, gpu, measure, memory, peers, ranks, report, scaling
from benchmarks.bounds import BOUNDS
from benchmarks.measure import Limits, count_passes
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import RowBlocks, moments
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.rules import RULES
from tests.decomposition.conftest import strict_device

LIMITS = Limits(max_iter=40, restart_seconds=0, n_timed=2)


@pytest.mark.parametrize("peer", [peers.published_mem, peers.published_xxt])
def test_peers_make_the_iterates_of_the_reference(X, peer):
    start = np.random.default_rng(0).random((len(X), 3))
    run = peers.run(X, start, peer(X), tol=0, max_iter=5)
    assert run.n_iter == 5
    assert not run.converged
    with pytest.warns(UserWarning, match="max_iter=5"):
        model = OPNMF(3, init="custom", max_iter=5, dtype="float64").fit(X, W_init=start)
    assert np.linalg.norm(X - run.W @ (run.W.T @ X)) == pytest.approx(model.mse_)


def test_published_is_continued_by_the_same_iterates(X):
    X = X.astype(np.float32)
    whole = peers.run(X, measure.start(X, 3), peers.published_mem(X), tol=1e-5, max_iter=40)
    W, found = measure.published(X, 3, LIMITS)
    assert found["published: iterations"] == 40
    W *= np.linalg.norm(whole.W) / np.linalg.norm(W)
    order = np.abs(W.T @ whole.W).argmax(axis=0)
    np.testing.assert_allclose(W[:, order], whole.W, atol=1e-4)


def test_passes_are_counted(X):
    with count_passes(len(X)) as passes:
        for source in (X, X[:45]):
            with RowBlocks(source, "float64") as blocks:
                moments(blocks, np.ones((len(source), 2)))
        assert passes() == pytest.approx(1.5)


def test_every_bound_is_measured(X, tmp_path):
    results = __main__.Results(tmp_path / "results.json")
    __main__.measure_case(results, "x", X.astype(np.float32), 3, LIMITS, n_splits=1)
    results.add("x", "memory", lambda: memory.measure((300, 20, 2)))
    found = results.merged()["x"]
    missing = [bound.text for bound in BOUNDS if bound.check(found)[0] is None]
    assert all("published error" in text for text in missing)
    assert found["published: iterations"] == 40
    assert found["restarts: number"] == 1


def test_what_was_measured_is_not_measured_again(tmp_path):
    path = tmp_path / "results.json"
    first = __main__.Results(path)
    assert first.add("x", "times", lambda: {"a": 1.0}) == {"a": 1.0}
    again = __main__.Results(path)
    assert again.add("x", "times", lambda: {"a": 2.0}) == {"a": 1.0}
    assert again.add("x", "other", lambda: {"b": 2.0}) == {"b": 2.0}
    assert __main__.Results(path).merged() == {"x": {"a": 1.0, "b": 2.0}}


def test_slope_of_a_power_law():
    assert scaling.slope([(1, 2.0), (2, 8.0), (4, 32.0)]) == pytest.approx(2)


def test_a_missed_bound_is_marked():
    table = report.bounds_table({"x": {"accelerated: KKT residual": 0.5}})
    row = next(line for line in table.splitlines() if "KKT" in line)
    assert row == "| accelerated: KKT residual ≤ 0.0001 | 0.5 ✗ |"
    assert "n/a" in table


def test_quick_form_writes_the_report(X, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(__main__, "QUICK", {"tiny": (lambda: X.astype(np.float32), (3,))})
    monkeypatch.setattr(__main__, "QUICK_LIMITS", LIMITS)
    monkeypatch.setattr(__main__, "QUICK_BASE", (100, 20, 2))
    monkeypatch.setattr(memory, "measure", lambda shape: {})
    assert __main__.main(["--quick", "--splits", "1", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "tiny, k = 3" in text
    assert "Processor: " in text
    assert (tmp_path / "scaling.png").stat().st_size > 1000
    assert "tiny 90 x 24, k = 3" in capsys.readouterr().out


def test_simulated_data_are_non_negative():
    X = datasets.planted()
    assert X.shape == (4000, 60)
    assert X.dtype == np.float32
    assert (X > 0).all()


@pytest.mark.slow
def test_planted_number_is_chosen_and_no_number_in_noise():
    labels = np.repeat(np.arange(1, 5), 80).reshape(8, 8, 5)
    found, nothing = (
        ranks.study(ranks.cohort(labels, noise, blur=0), 4.0 * np.argwhere(labels), range(2, 8))
        for noise in (0.2, 5)
    )
    for rule in RULES:
        assert choose_rank(found, rule).k == 4
        assert not choose_rank(found, rule).flat
        if rule != "opnmf-permutation":  # this criterion cannot say that there is no structure
            assert choose_rank(nothing, rule).flat


@pytest.mark.slow
def test_both_levels_of_a_hierarchy_are_good(monkeypatch):
    monkeypatch.setattr(ranks, "N_SPLITS", 3)
    rng = np.random.default_rng(0)
    coarse, fine = np.exp(0.3 * rng.standard_normal((4, 120))), rng.standard_normal((8, 120))
    loadings = np.repeat(coarse, 2, axis=0) * np.exp(0.2 * fine)
    X = np.repeat(loadings, 60, axis=0) + 0.3 * rng.standard_normal((480, 120))
    X, box = np.maximum(X, 0).astype(np.float32), 3.0 * np.argwhere(np.ones((8, 10, 6)))
    table = ranks.study(X, box, range(2, 11))
    assert choose_rank(table, "reproducibility-peak").good == [4, 8]


def test_passes_on_a_device_are_measured(monkeypatch):
    pytest.importorskip("array_api_strict")
    monkeypatch.setattr(gpu.devices, "opened", lambda name: strict_device(2**20))
    monkeypatch.setattr(gpu, "SQUARE", 8)
    monkeypatch.setattr(gpu, "BLOCK_BYTES", 2**12)
    rate, *found = gpu.measure("cuda", 300, 20, 3, n_rounds=2)
    assert min(rate.values()) > 0
    assert [each["solver"] for each in found] == list(gpu.PASSES)
    assert all(each[place] > 0 for each in found for place in ("processor", "device", "streamed"))


def test_limits_of_a_pass_on_a_device():
    rate = {"copy_to": 8.0, "copy_from": 16.0, "operations": 2.0}
    products, copies = gpu.limits(rate, (10, 5), 3, streams=False)
    assert (products, copies) == (2 * 2 * 10 * 5 * 3 / 2, 4 * 10 * 3 / 8 + 4 * 10 * 3 / 16)
    assert gpu.limits(rate, (10, 5), 3, streams=True) == [products, copies + 4 * 10 * 5 / 8]
