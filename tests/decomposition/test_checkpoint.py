import numpy as np
import pytest
from sklearn.base import clone

from opnmf_pipeline.decomposition import OPNMF, PNMF
from opnmf_pipeline.decomposition.checkpoint import Checkpoint
from tests.robustness.faults import DAMAGES

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

MODELS = [
    OPNMF(3),
    OPNMF(3, solver="accelerated", random_state=0),
    OPNMF(3, solver="orthonormal", random_state=0, n_init=1),
    PNMF(3, init="random", random_state=0),
]


def stop_at(iteration):
    return lambda record: record.iteration == iteration


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("wide", [False, True])
def test_a_resumed_fit_has_the_bits_of_an_uninterrupted_one(model, wide, tmp_path):
    X = np.random.default_rng(0).random((20, 30) if wide else (200, 12))
    model = clone(model).set_params(max_iter=60)
    whole = clone(model).fit(X)
    path = tmp_path / "fit.npz"
    cut = 0 if getattr(model, "solver", "") == "orthonormal" else 5
    stopped = clone(model).set_params(checkpoint=path, callback=stop_at(cut)).fit(X)
    assert path.exists()
    assert stopped.n_iter_ == cut + 1 < whole.n_iter_
    resumed = clone(model).set_params(checkpoint=path).fit(X)
    np.testing.assert_array_equal(resumed.coef_, whole.coef_)
    np.testing.assert_array_equal(resumed.components_, whole.components_)
    assert resumed.history_ == whole.history_
    assert path.exists() == (not whole.converged_)


def test_max_iter_may_be_raised_afterwards(X, tmp_path):
    path = tmp_path / "fit.npz"
    OPNMF(3, max_iter=5, checkpoint=path).fit(X)
    more = OPNMF(3, max_iter=9, checkpoint=path).fit(X)
    np.testing.assert_array_equal(more.coef_, OPNMF(3, max_iter=9).fit(X).coef_)


def test_it_is_written_on_time_and_whole(X, tmp_path):
    path = tmp_path / "fit.npz"
    sizes = []

    def look(record):
        if record.iteration > 0:
            sizes.append(len(np.load(path, allow_pickle=False)["course"]))

    OPNMF(3, max_iter=4, checkpoint=path, checkpoint_minutes=0, callback=look).fit(X)
    assert sizes == [1, 2, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 2}, "its n_components is '3', this fit has '2'"),
        ({"dtype": "float64"}, "its dtype is 'float32', this fit has 'float64'"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(X, tmp_path, parameters, message):
    path = tmp_path / "fit.npz"
    model = OPNMF(3, max_iter=3, checkpoint=path).fit(X)
    with pytest.raises(ValueError, match=message):
        clone(model).set_params(**parameters).fit(X)


def test_a_checkpoint_of_other_data_is_refused(X, tmp_path):
    model = OPNMF(3, max_iter=3, checkpoint=tmp_path / "fit.npz").fit(X)
    with pytest.raises(ValueError, match="is of another fit: its squared_norm is"):
        clone(model).fit(X + 0.1)


def test_an_interrupted_write_leaves_the_one_before(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "fit.npz", 0, {"k": 3})
    checkpoint.write({"W": np.ones(4)})

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write({"W": np.zeros(4)})
    np.testing.assert_array_equal(checkpoint.read()["W"], np.ones(4))


def test_it_is_due_after_so_many_minutes(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    checkpoint = Checkpoint(tmp_path / "fit.npz", 2, {})
    now += 119
    assert not checkpoint.due
    now += 1
    assert checkpoint.due
    checkpoint.write({"W": np.ones(1)})
    assert not checkpoint.due
    now += 120
    assert checkpoint.due


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_dropped_with_a_warning(tmp_path, caplog, damage):
    checkpoint = Checkpoint(tmp_path / "fit.npz", 0, {"k": 3})
    checkpoint.write({"W": np.arange(1000.0)})
    DAMAGES[damage](checkpoint.path)
    assert all((arrays == np.arange(1000.0)).all() for arrays in checkpoint.read().values())
    if damage not in ("a byte more", "missing"):  # harmless
        assert not checkpoint.path.exists()
        assert "is damaged" in caplog.text
