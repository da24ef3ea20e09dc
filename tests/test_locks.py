import errno
import logging
import subprocess
import sys

import pytest

from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.locks import only_run
from tests.conftest import ROOT


def locked(folder):
    return only_run(folder, "output.dir", "--output")


HOLD = """
import sys
from pathlib import Path
from opnmf_pipeline.locks import only_run
from tests.conftest import ROOT
with only_run(Path(sys.argv[1]), "output.dir", "--output"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock of the folder until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.communicate()


def test_a_second_run_is_refused(tmp_path, other):
    with pytest.raises(OutputError, match=rf"^output\.dir: {tmp_path}: another run is using it"):
        locked(tmp_path).__enter__()


def test_the_lock_of_a_killed_run_holds_up_nobody(tmp_path, other):
    other.kill()
    other.wait()
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
