import errno
import logging
import multiprocessing

import pytest

from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.locks import only_run


def locked(folder):
    return only_run(folder, "output.dir", "--output")


def hold(folder, held, release):
    with locked(folder):
        held.set()
        release.wait(60)


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder."""
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(60)
    yield process
    release.set()
    process.join()


def test_a_second_run_is_refused(tmp_path, other):
    with pytest.raises(OutputError, match=rf"^output\.dir: {tmp_path}: another run is using it"):
        locked(tmp_path).__enter__()


def test_the_lock_of_a_killed_run_holds_up_nobody(tmp_path, other):
    other.kill()
    other.join()
    with locked(tmp_path):
        pass


def test_nothing_is_left(tmp_path):
    (tmp_path / ".half.tsv.1.partial").touch()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, 524])
def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog, number):
    def refuse(*args):
        raise OSError(number, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    caplog.set_level(logging.WARNING)
    with locked(tmp_path):
        assert "the file system has no locks" in caplog.text
        with pytest.raises(OutputError, match="another run is using it"):
            locked(tmp_path).__enter__()
    with locked(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OutputError, match=rf"{tmp_path}: the disk or the quota is full"):
        locked(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written \(Not a directory\)"):
        locked(tmp_path / "file" / "work").__enter__()
