import os

import pytest

from opnmf_pipeline.engines.cache import Cache
from opnmf_pipeline.exceptions import OutputError


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "work")


def write(folder):
    (folder / "result").write_text("done")


def refuse(folder):
    raise AssertionError("computed again")


def test_a_result_is_reused(cache):
    first = cache.stage("mask", ["a"], {"threshold": 1}, write)
    assert (first.folder / "result").read_text() == "done"
    assert not first.reused
    again = cache.stage("mask", ["a"], {"threshold": 1}, refuse)
    assert again == first._replace(reused=True)


def test_another_cache_on_the_folder_reuses_it_too(cache, tmp_path):
    cache.stage("mask", ["a"], None, write)
    assert Cache(tmp_path / "work").stage("mask", ["a"], None, refuse).reused


@pytest.mark.parametrize(
    "change",
    [
        {"name": "matrix"},
        {"inputs": ["b"]},
        {"inputs": ["a", "b"]},
        {"settings": {"threshold": 2}},
        {"settings": None},
    ],
)
def test_whatever_goes_in_is_part_of_the_key(cache, change):
    base = {"name": "mask", "inputs": ["a"], "settings": {"threshold": 1}}
    first = cache.stage(**base, make=write)
    other = cache.stage(**(base | change), make=write)
    assert not other.reused
    assert other.key != first.key
    assert other.folder != first.folder


def test_the_version_is_part_of_the_path(cache, tmp_path, monkeypatch):
    cache.stage("mask", ["a"], None, write)
    monkeypatch.setattr("opnmf_pipeline.engines.cache.__version__", "99.0")
    assert not Cache(tmp_path / "work").stage("mask", ["a"], None, write).reused


@pytest.mark.parametrize(
    "error",
    [
        ValueError,
        KeyboardInterrupt,
        SystemExit,
    ],
)
def test_a_failed_stage_leaves_nothing(cache, error):
    def fail(folder):
        write(folder)
        raise error

    with pytest.raises(error):
        cache.stage("mask", ["a"], None, fail)
    assert [path.name for path in cache.root.iterdir() if path.is_dir()] == []
    assert not cache.stage("mask", ["a"], None, write).reused


def test_what_a_killed_stage_left_is_no_result(cache):
    folders = []

    def fail(folder):
        folders.append(folder)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        cache.stage("mask", ["a"], None, fail)
    folders[0].mkdir()
    (folders[0] / "half").touch()
    finished = cache.stage("mask", ["a"], None, write)
    assert [path.name for path in finished.folder.iterdir()] == ["result"]


def test_digests_follow_the_content(cache, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one")
    b.write_text("one")
    first, second = cache.digests([a, b])
    assert first == second
    a.write_text("two")
    os.utime(a, ns=(1, 1))
    assert cache.digests([a]) != [first]
    a.write_text("one")
    assert cache.digests([a]) == [first]


def test_digests_are_remembered(cache, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("one")
    expected = cache.digests([path])
    monkeypatch.setattr("hashlib.file_digest", refuse)
    assert Cache(tmp_path / "work").digests([path]) == expected


def test_a_damaged_memory_of_digests_is_forgotten(cache, tmp_path):
    path = tmp_path / "a"
    path.write_text("one")
    expected = cache.digests([path])
    (cache.root / "digests.json").write_text('{"half')
    assert Cache(tmp_path / "work").digests([path]) == expected


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot be written \(Not a directory\)"):
        Cache(tmp_path / "file" / "work")
