import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from opnmf_pipeline.engines.processes import ProcessWorker, tasks_ended


@pytest.fixture
def worker(monkeypatch):
    """A worker whose jobs fail."""

    async def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pydra.workers.cf.Worker.run", fail)
    return ProcessWorker(n_procs=1)


def test_a_job_that_cannot_store_its_end_cancels_the_run(worker, tmp_path):
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(worker.run(SimpleNamespace(cache_dir=tmp_path)))
    assert worker.error.errno == 28


def test_a_job_that_stored_its_error_leaves_the_others(worker, tmp_path):
    (tmp_path / "_result.pklz").touch()
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(worker.run(SimpleNamespace(cache_dir=tmp_path)))
    assert worker.error is None


def test_jobs_that_wait_end_without_a_traceback(monkeypatch, tmp_path):
    async def run(worker, job, rerun):
        if job.fails:
            await asyncio.sleep(0.5)
            raise OSError(28, "No space left on device")
        await asyncio.get_running_loop().run_in_executor(worker.pool, time.sleep, 60)

    async def as_in_pydra():
        jobs = [SimpleNamespace(cache_dir=tmp_path, fails=number == 0) for number in range(8)]
        tasks = [asyncio.ensure_future(worker.run(job)) for job in jobs]
        try:
            await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0.1)

    monkeypatch.setattr("pydra.workers.cf.Worker.run", run)
    in_threads = []
    monkeypatch.setattr(threading, "excepthook", in_threads.append)
    worker = ProcessWorker(n_procs=1)
    loop = asyncio.new_event_loop()
    start = time.monotonic()
    with pytest.raises(OSError, match="No space left"), tasks_ended(loop, worker):
        loop.run_until_complete(as_in_pydra())
    loop.close()
    with pytest.raises(RuntimeError):  # the pool has ended
        worker.pool.submit(int)
    assert in_threads == []
    assert time.monotonic() - start < 30
