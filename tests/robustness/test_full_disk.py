"""A disk that is really full: a small file system in memory."""

import subprocess

import numpy as np
import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import OutputError
from tests.engines.test_engines import results


@pytest.fixture
def small_disk(tmp_path):
    """Return a function that sets the size of a file system and returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot mount file systems")

    def resize(size):
        remount = ["mount", "-o", f"remount,size={size}", str(folder)]
        subprocess.run(remount, check=True)
        return folder

    yield resize
    subprocess.run(["umount", "-l", str(folder)], check=True)  # maps of this process may be open


@pytest.mark.parametrize(
    "size",
    [
        "100k",
        "400k",
        *(pytest.param(f"{kib}k", marks=pytest.mark.slow) for kib in range(20, 1000, 60)),
    ],
)
def test_a_full_disk_is_named_and_the_run_goes_on(tmp_path, small_disk, command, capsys, size):
    out = small_disk(size) / "out"
    arguments = [*command, "--quiet", "--output"]
    assert main([*arguments, str(out)]) == 2
    told = capsys.readouterr().err
    assert f"error: {out}" in told
    assert "the disk or the quota is full" in told
    assert "bytes are free" in told
    assert "Traceback" not in told
    small_disk("50m")
    assert main([*arguments, str(out)]) == 0
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    assert results(out) == results(tmp_path / "whole")


def test_a_memory_map_has_its_space_before_it_is_written(small_disk):
    path = small_disk("1m") / "matrix.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1000, 1000))
    with pytest.raises(OutputError, match=r"disk: the disk .* is full: 4,000,128 bytes are needed"):
        allocate(path)


def test_the_space_of_a_memory_map_is_taken(tmp_path):
    path = tmp_path / "matrix.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1000, 1000))
    assert path.stat().st_blocks * 512 < 4_000_000
    allocate(path)
    assert path.stat().st_blocks * 512 >= 4_000_000
