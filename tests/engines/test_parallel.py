import os
from functools import partial

import psutil
import pytest

from opnmf_pipeline.engines.parallel import as_they_finish, n_workers


def test_memory_limits_the_processes():
    assert n_workers(8, 4.0, 2**30) == 4
    assert n_workers(2, 4.0, 2**30) == 2
    assert n_workers(8, 0.5, 2**30) == 1


def test_without_a_limit_the_machine_is_one():
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert n_workers(8, None, machine // 2) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_each_job_is_done_once_and_known_by_its_number(workers):
    jobs = [partial(pow, base, 2) for base in range(6)]
    assert sorted(as_they_finish(jobs, workers)) == [(base, base**2) for base in range(6)]


def test_jobs_run_in_other_processes():
    found = {process for _, process in as_they_finish([os.getpid] * 4, 2)}
    assert os.getpid() not in found
    left = {child.pid for child in psutil.Process().children(recursive=True)}
    assert not found & left, "the memory of idle processes is not free for later stages"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_through(workers):
    with pytest.raises(ValueError, match="invalid literal"):
        list(as_they_finish([partial(int, "one"), partial(int, "2")], workers))
