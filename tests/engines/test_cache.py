from pathlib import Path

import pytest

from opnmf_pipeline.engines.cache import Cache
from tests.robustness.faults import DAMAGES


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
    assert not (finished.folder / "half").exists()


def test_what_killed_runs_left_is_removed_at_the_start(cache, tmp_path):
    kept = cache.stage("mask", ["a"], None, write).folder
    (cache.root / "mask-1.partial").mkdir()
    (cache.root / "mask-1.partial" / "half").touch()
    (cache.root / ".digests.json.1.partial").touch()
    Cache(tmp_path / "work")
    assert not list(cache.root.glob("*.partial"))
    assert kept.exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["result", "manifest.json"])
def test_a_damaged_result_is_computed_again_with_a_warning(cache, caplog, name, damage):
    first = cache.stage("mask", ["a"], None, write)
    DAMAGES[damage](first.folder / name)
    again = cache.stage("mask", ["a"], None, write)
    assert not again.reused
    assert (again.folder / "result").read_text() == "done"
    assert f"{first.folder}: files are missing or have changed" in caplog.text
    assert cache.stage("mask", ["a"], None, refuse).reused


def test_no_result_is_final_before_all_of_it_is_on_the_disk(cache, monkeypatch):
    done = []
    monkeypatch.setattr(
        "os.fsync", lambda file: done.append(f"{Path(f'/proc/self/fd/{file}').readlink()}")
    )
    rename = type(cache.root).rename

    def renamed(path, target):
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(type(cache.root), "rename", renamed)
    cache.stage("mask", ["a"], None, write)
    before = done[: done.index("rename")]
    assert any(name.endswith("/result") for name in before)
    assert any("manifest.json" in name for name in before)
