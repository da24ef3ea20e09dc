import logging
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, compilation
from tests.arrays import overlapping_parts

FIT = """
import numpy as np
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.compilation import row_solver
X = np.random.default_rng(0).random((60, 8))
W = OPNMF(3, solver="accelerated").fit_transform(X)
print(row_solver(W.dtype) is not None, W.astype(float).sum())
"""


def fit(_=None):
    X = overlapping_parts(np.random.default_rng(0), 200, 20, 4)
    return OPNMF(4, solver="accelerated", random_state=0).fit(X)


@pytest.fixture
def forgotten():
    """Let the next fit ask anew for compiled code, and forget its answer afterwards."""
    compilation.row_solver.cache_clear()
    yield
    compilation.row_solver.cache_clear()


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("reason", ["switched off", "absent"])
def test_numpy_solves_the_rows_where_numba_cannot(reason, monkeypatch, caplog):
    expected = fit()
    compilation.row_solver.cache_clear()
    if reason == "switched off":
        monkeypatch.setenv(compilation.SWITCH, "0")
    else:
        monkeypatch.setitem(sys.modules, "opnmf_pipeline.decomposition.kernels", None)
    with caplog.at_level(logging.INFO, logger="opnmf_pipeline"):
        fitted = fit()
    assert "NumPy solves the rows" in caplog.text
    np.testing.assert_allclose(fitted.coef_, expected.coef_, atol=1e-4)
    assert fitted.mse_ == pytest.approx(expected.mse_, rel=1e-5)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_get_the_same_bits(method):
    expected = fit()
    with multiprocessing.get_context(method).Pool(1) as pool:
        fitted = pool.map(fit, [0])[0]
    np.testing.assert_array_equal(fitted.coef_, expected.coef_)


def test_a_chosen_cache_folder_and_none_at_all_work(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(cache))
    first = subprocess.run([sys.executable, "-c", FIT], capture_output=True, text=True, check=True)
    assert any(cache.rglob("*.nbi"))
    no_locator = (
        "import numba.core.caching as c\n"
        "(getattr(c, 'CacheImpl', None) or c._CacheImpl)._locator_classes = []\n"
    )
    without = subprocess.run(
        [sys.executable, "-c", no_locator + FIT], capture_output=True, text=True, check=True
    )
    assert first.stdout.startswith("True")
    assert without.stdout == first.stdout
