"""A disk that is really full: a small file system, in memory or ext4."""

import os
import shutil
import subprocess

import numpy as np
import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.disk import allocate, array_on_disk
from opnmf_pipeline.exceptions import OutputError
from tests.engines.test_engines import results

KIB = 1024


def mounted(folder, *arguments):
    try:
        subprocess.run(["mount", *arguments, str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user cannot mount file systems")


def in_memory(folder):
    """Mount a tmpfs; return a function that sets its size in KiB."""
    mounted(folder, "-t", "tmpfs", "-o", "size=60k", "tmpfs")

    def resize(kib):
        subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)

    return resize


def on_a_disk(folder):
    """Mount an ext4 of 64 MB; return a function that leaves so many KiB free."""
    image = folder.with_suffix(".img")
    with image.open("wb") as stream:
        stream.truncate(64 * KIB**2)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, capture_output=True)
    mounted(folder, "-o", "loop", str(image))
    ballast = folder / "ballast"

    def resize(kib):
        ballast.unlink(missing_ok=True)
        os.sync()
        taken = shutil.disk_usage(folder).free - kib * KIB
        if taken > 0:
            with ballast.open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, taken)

    return resize


KINDS = {"tmpfs": in_memory, "ext4": on_a_disk}


@pytest.fixture
def small_disk(request, tmp_path):
    """Return a function that sets the free space of a file system and returns its folder."""
    kind = getattr(request, "param", "tmpfs")
    if kind == "ext4" and shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    folder = tmp_path / "disk"
    folder.mkdir()
    set_size = KINDS[kind](folder)

    def resize(kib):
        set_size(kib)
        return folder

    yield resize
    subprocess.run(["umount", "-l", str(folder)], check=True)  # maps of this process may be open


@pytest.mark.parametrize(
    "small_disk", ["tmpfs", pytest.param("ext4", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.parametrize(
    "size",
    [
        100,
        400,
        *(pytest.param(kib, marks=pytest.mark.slow) for kib in range(20, 1000, 60)),
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
    small_disk(50 * KIB)
    assert main([*arguments, str(out)]) == 0
    assert main([*arguments, str(tmp_path / "whole")]) == 0
    assert results(out) == results(tmp_path / "whole")


def test_a_memory_map_has_its_space_before_it_is_written(small_disk):
    path = small_disk(KIB) / "matrix.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1000, 1000))
    with pytest.raises(OutputError, match=r"disk: the disk .* is full: 4,000,128 bytes are needed"):
        allocate(path)


def test_an_array_on_the_disk_has_its_space_before_it_is_written(small_disk, tmp_path):
    folder = small_disk(KIB)
    with pytest.raises(OutputError, match=r"disk: the disk .* is full: 4,000,000 bytes are needed"):
        array_on_disk((1000, 1000), "float32", folder)
    values = array_on_disk((1000, 1000), "float32", tmp_path)
    values[...] = 1
    assert values.sum() == values.size


def test_the_space_of_a_memory_map_is_taken(tmp_path):
    path = tmp_path / "matrix.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(1000, 1000))
    assert path.stat().st_blocks * 512 < 4_000_000
    allocate(path)
    assert path.stat().st_blocks * 512 >= 4_000_000
