"""Fits whose rows are on Dask workers: the same results, and what happens when workers are lost."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.passes import RowBlocks, moments
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.exceptions import ClusterError

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from opnmf_pipeline.decomposition import crew  # noqa: E402
from opnmf_pipeline.decomposition import distributed as ours  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::opnmf_pipeline.exceptions.ConvergenceWarning",
    "ignore:Sending large graph",
)

K = 3


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def X(tmp_path_factory):
    """Rows with overlapping parts, mapped from a file."""
    rng = np.random.default_rng(0)
    W = rng.gamma(0.3, size=(700, K))
    values = W @ rng.gamma(1.0, size=(K, 30)) + 0.1 * rng.random((700, 30))
    path = tmp_path_factory.mktemp("matrix") / "matrix.npy"
    np.save(path, values.astype(np.float32))
    return np.load(path, mmap_mode="r")


@pytest.fixture
def parts(monkeypatch):
    """Return a function that sets the number of parts."""

    def of(n):
        monkeypatch.setattr(ours, "Crew", partial(ours.Crew, n_parts=n))

    return of


def close(one, other):
    """Whether two fits are equal but for rounding errors."""
    np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-5 * other.coef_.max())
    np.testing.assert_allclose(
        one.components_, other.components_, atol=1e-5 * other.components_.max()
    )
    assert one.reconstruction_err_ == pytest.approx(other.reconstruction_err_, rel=1e-5)
    assert one.n_passes_ == other.n_passes_


@pytest.mark.parametrize(
    ("solver", "n"),
    [("multiplicative", 4), ("accelerated", 1), ("orthonormal", 2), ("adaptive", 2)],
)
def test_fit_on_workers_is_the_fit_in_memory(cluster, X, parts, solver, n):
    fit = OPNMF(K, solver=solver, random_state=0, max_iter=5)
    expected = fit.fit(np.array(X)).__dict__.copy()
    parts(n)
    fit.set_params(scheduler=cluster.scheduler_address).fit(X)
    close(fit, type("Fit", (), expected))


def test_every_solver_is_compared():
    compared = test_fit_on_workers_is_the_fit_in_memory.pytestmark[0].args[1]
    assert {solver for solver, _ in compared} == set(SOLVERS)


def test_compressed_data_stay_on_the_workers(cluster, X, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.GRAM_COLUMNS", 10)
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.LEAST_RATIO", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.spectrum.KRYLOV_BLOCKS", 1)
    monkeypatch.setattr("opnmf_pipeline.decomposition.compression.KRYLOV_BLOCKS", 1)
    fit = OPNMF(K, solver="accelerated", random_state=0, max_iter=8)
    expected = fit.fit(np.array(X)).__dict__.copy()
    fit.set_params(scheduler=cluster.scheduler_address).fit(X)
    assert expected["compression_loss_"] > 0
    assert fit.compression_loss_ == pytest.approx(expected["compression_loss_"], rel=1e-4)
    close(fit, type("Fit", (), expected))


def test_data_of_any_dtype_and_unit(cluster, X, tmp_path):
    np.save(tmp_path / "X.npy", (1000 * X).astype(np.uint16))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")[100:]  # a view of some rows
    fit = OPNMF(K, solver="orthonormal", random_state=0, n_init=2, dtype="float64")
    expected = fit.fit(np.array(mapped)).__dict__.copy()
    fit.set_params(scheduler=cluster.scheduler_address).fit(mapped)
    close(fit, type("Fit", (), expected))


def test_only_M_and_G_travel(cluster, X, monkeypatch):
    """A sweep sends M to the workers, and gets one M and one G from each part."""
    sent, found = [], []
    plain_send, plain_added = ours.Crew.send, ours.Crew.added
    monkeypatch.setattr(
        ours.Crew, "send", lambda self, order: sent.append(len(order)) or plain_send(self, order)
    )

    def added(self, done):
        found.extend(part.result().found for part in done)
        return plain_added(self, done)

    monkeypatch.setattr(ours.Crew, "added", added)
    n_rows, n_columns = X.shape
    k = 20  # so that M, S and the code differ in size

    def stop(record):
        if record.iteration == 0:
            sent.clear()
            found.clear()
        return record.iteration == 2

    address = cluster.scheduler_address
    OPNMF(k, solver="multiplicative", scheduler=address, init="random", callback=stop).fit(X)
    sweeps = sent[:2]
    code = 4000  # the function itself
    assert all(0 < size - 4 * n_columns * k - 8 * k**2 < code for size in sweeps)
    assert all(size < 4 * n_rows * k for size in sweeps)
    for part in found[:4]:
        assert part.M.shape == (n_columns, k)
        assert part.G.shape == (k, k)


def test_rows_that_are_lost_are_made_again(cluster, X, monkeypatch):
    """All rows of W are lost three times, after one change or several."""
    fit = OPNMF(8, solver="multiplicative", max_iter=8, scheduler=cluster.scheduler_address)
    whole = fit.fit(X).coef_
    rows, plain, lost = [], ours.Rows.note, []

    def noted(self, change, made):
        plain(self, change, made)
        rows.append(self)

    def lose(record):
        if record.iteration in (1, 3, 6):
            lost.append(len(rows[-1].log))
            rows[-1].crew.client.cancel(rows[-1].parts, force=True)

    monkeypatch.setattr(ours.Rows, "note", noted)
    again = fit.set_params(callback=lose).fit(X)
    assert max(lost) > 1
    np.testing.assert_array_equal(again.coef_, whole)


def test_rows_behave_as_the_array(cluster):
    array = np.arange(60, dtype=np.float32).reshape(20, 3)
    with distributed.Client(cluster, set_as_default=False) as client:
        rows = ours.Rows(ours.Crew(client, 20, 3), array.shape, array.dtype, array.copy())
        np.testing.assert_array_equal(rows[::6], array[::6])
        np.testing.assert_array_equal(rows[[1, 7, 8], 1:], array[[1, 7, 8], 1:])
        half = rows / np.float32(2)
        rows *= np.array([1, 2, 3], np.float32)
        np.testing.assert_array_equal(np.asarray(half), array / 2)
        np.testing.assert_array_equal(np.asarray(rows), array * [1, 2, 3])
        rows /= 4.0
        rows.restore()
        np.testing.assert_array_equal(np.asarray(rows), array * [1, 2, 3] / 4)
        rows[...] = 0
        assert not np.asarray(rows).any()


def test_passes_see_the_rows_by_their_numbers(cluster, X):
    with (
        ours.on_workers(X, "float32", cluster.scheduler_address) as blocks,
        RowBlocks(X, "float32") as local,
    ):
        starts = list(blocks.map(lambda rows, X_b: (rows.start, rows.stop, float(X_b[0, 0]))))
        W = np.random.default_rng(0).random((700, 2), dtype=np.float32)
        M = moments(blocks, blocks.held(W)).M
        np.testing.assert_allclose(M, moments(local, W).M, rtol=1e-6)
    assert [(start, stop) for start, stop, _ in starts] == [(0, 350), (350, 700)]
    assert [first for *_, first in starts] == [X[0, 0], X[350, 0]]


def test_data_that_workers_cannot_read(cluster, X, tmp_path):
    fit = OPNMF(K, scheduler=cluster.scheduler_address)
    with pytest.raises(ClusterError, match=r"memory map of a \.npy file .* got ndarray"):
        fit.fit(np.array(X))
    path = tmp_path / "X.npy"
    np.save(path, X)
    mapped = np.load(path, mmap_mode="r")
    path.unlink()
    with pytest.raises(ClusterError, match="workers cannot read the file of X"):
        fit.fit(mapped)


def test_missing_values_are_refused(X):
    with pytest.raises(ValueError, match="only one of missing='masked', scheduler and device"):
        OPNMF(K, missing="masked", scheduler="tcp://127.0.0.1:1").fit(X)


def test_no_scheduler(X):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.1s"}),
        pytest.raises(ClusterError, match=r"no Dask scheduler responds at tcp://127\.0\.0\.1:1 "),
    ):
        OPNMF(K, scheduler="tcp://127.0.0.1:1").fit(X)


def test_workers_with_other_software_are_refused(cluster, X, monkeypatch):
    names = iter(["opnmf-pipeline 1", "opnmf-pipeline 2", "opnmf-pipeline 2"])
    monkeypatch.setattr(crew, "software", lambda: next(names))
    with pytest.raises(ClusterError, match=r"has opnmf-pipeline .*, this process has"):
        OPNMF(K, scheduler=cluster.scheduler_address).fit(X)


def test_workers_with_too_little_memory(X, monkeypatch):
    monkeypatch.setattr(crew, "PATIENCE", 0.5)
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        dashboard_address=":0",
        memory_limit="50MB",  # this process needs more
        silence_logs=50,
    ) as small:
        while not small.scheduler.workers or small.scheduler.running:
            time.sleep(0.05)
        with pytest.raises(ClusterError, match=r"1 of the workers .* are paused, .* of 0\.05 GB"):
            OPNMF(K, scheduler=small.scheduler_address).fit(X)


def test_dask_is_imported_only_where_it_is_asked_for():
    code = (
        "import sys, opnmf_pipeline.decomposition, opnmf_pipeline.engines.cluster\n"
        "print({'dask', 'distributed'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_each_item_is_worked_on_in_order_by_the_workers(cluster):
    with crew.connected(cluster.scheduler_address) as client:
        here = set(crew.Crew(client, 1).each(lambda _: threading.get_ident(), range(9)))
        squares = list(crew.Crew(client, 1).each(lambda item: item**2, range(50)))
    assert threading.get_ident() not in here
    assert squares == [item**2 for item in range(50)]


def test_an_error_in_a_worker_is_raised(cluster):
    with crew.connected(cluster.scheduler_address) as client:
        results = crew.Crew(client, 1).each(lambda item: 1 / item, [1, 0])
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_reads():
    def slow(item):
        time.sleep(0.05)
        return item

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        crew.connected(cluster.scheduler_address) as client,
    ):
        pids = [nanny.pid for nanny in cluster.workers.values()]
        done = []
        for item in crew.Crew(client, 1).each(slow, range(60)):
            if item in (5, 25):
                os.kill(pids[item > 5], signal.SIGKILL)
            done.append(item)
    assert done == list(range(60))


@pytest.mark.slow
def test_a_killed_worker(X):
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        pids = [nanny.pid for nanny in cluster.workers.values()]

        def kill(record):
            if record.iteration == 6:
                os.kill(pids[0], signal.SIGKILL)

        fit = OPNMF(K, solver="multiplicative", max_iter=12, scheduler=cluster.scheduler_address)
        whole = fit.fit(X).coef_
        again = fit.set_params(callback=kill).fit(X)
    np.testing.assert_array_equal(again.coef_, whole)


@pytest.mark.slow
def test_a_killed_scheduler(X, tmp_path, cluster):
    """The fit ends with a message, and continues from its checkpoint on another cluster."""
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    file, path = tmp_path / "scheduler.json", tmp_path / "fit.npz"
    options = ["--no-dashboard", "--port", "0", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*program, *options], stderr=subprocess.DEVNULL)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file)]
    worker += ["--no-dashboard", "--nthreads", "1"]
    with subprocess.Popen(worker, stderr=subprocess.DEVNULL) as started:
        try:
            with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
                client.wait_for_workers(1)
                address = client.scheduler.address

            def kill(record):
                if record.iteration == 6:
                    scheduler.kill()

            fit = OPNMF(K, solver="multiplicative", max_iter=12, checkpoint_minutes=0)
            fit.set_params(checkpoint=path, scheduler=address, callback=kill)
            with (
                dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
                pytest.raises(ClusterError, match="does not respond; the checkpoint"),
            ):
                fit.fit(X)
        finally:
            scheduler.kill()
            scheduler.wait()
            started.terminate()
    assert path.exists()
    again = OPNMF(K, solver="multiplicative", max_iter=12, checkpoint=path)
    again.set_params(scheduler=cluster.scheduler_address).fit(X)
    whole = OPNMF(K, solver="multiplicative", max_iter=12).fit(X)
    assert again.n_iter_ == whole.n_iter_
    np.testing.assert_allclose(again.coef_, whole.coef_, atol=1e-5 * whole.coef_.max())
