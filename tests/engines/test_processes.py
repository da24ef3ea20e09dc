import asyncio
from types import SimpleNamespace

import pytest

from opnmf_pipeline.engines.processes import ProcessWorker


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
