import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import RowBlocks, default_threads

FIT = """
import sys, threading, time, warnings
import numpy as np
from opnmf_pipeline.decomposition import OPNMF

def private_megabytes():
    with open("/proc/self/status") as file:
        sizes = dict(line.split(":", 1) for line in file)
    return int(sizes["RssAnon"].split()[0]) / 1024

def watch():
    while True:
        peak[0] = max(peak[0], private_megabytes())
        time.sleep(0.01)

peak = [0.0]
threading.Thread(target=watch, daemon=True).start()
warnings.simplefilter("ignore")
X = np.load(sys.argv[1], mmap_mode="r")
OPNMF(5, solver="accelerated", max_iter=3, max_memory=450).fit(X)
print(peak[0])
"""


def test_a_fit_that_needs_more_is_refused(X):
    with pytest.raises(ValueError, match="max_memory=10 MB is too little: the fit needs about 300"):
        OPNMF(3, max_memory=10).fit(X)
    OPNMF(3, max_memory=1000, tol=0.1).fit(X)


def test_a_memory_map_of_another_dtype_is_not_read_whole(X, tmp_path):
    np.save(tmp_path / "matrix.npy", X)
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    view = np.asarray(mapped)
    for source in (mapped, view, view[:50]):
        with RowBlocks(source, "float32") as blocks:
            assert blocks.mapped
            assert np.shares_memory(blocks.X, mapped)
    assert not RowBlocks(X, "float32").mapped


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_memory_map_four_times_larger_than_the_limit(tmp_path):
    path = tmp_path / "matrix.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (450_000, 1000))
    rng = np.random.default_rng(0)
    for i in range(0, len(X), 50_000):
        X[i : i + 50_000] = rng.random((50_000, 1000), dtype=np.float32)
    del X
    done = subprocess.run(
        [sys.executable, "-c", FIT, path], capture_output=True, text=True, check=True
    )
    assert 50 < float(done.stdout) <= 450


def test_threads_are_those_of_blas_alone():
    with threadpool_limits(1, user_api="blas"):
        assert default_threads() == 1
        with threadpool_limits(3, user_api="openmp"):
            assert default_threads() == 1
