import json
import os

import pytest

from opnmf_pipeline.engines.seals import MANIFEST, Digests, seal
from tests.robustness.faults import DAMAGES


def refuse(*args):
    raise AssertionError("read again")


@pytest.fixture
def digests(tmp_path):
    return Digests(tmp_path / "digests.json")


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "sealed"
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (folder / name).write_text(f"the text of {name}")
    seal(folder)
    return folder


def test_digests_follow_the_content(digests, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one")
    b.write_text("one")
    first, second = digests.of([a, b])
    assert first == second
    a.write_text("two")
    os.utime(a, ns=(1, 1))
    assert digests.of([a]) != [first]
    a.write_text("one")
    assert digests.of([a]) == [first]


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read(digests, tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_text("one")
    other.write_text("two")
    for one in (path, other):
        os.utime(one, ns=(1, 1))
    first = digests.of([path])
    other.replace(path)
    assert digests.of([path]) != first


def test_digests_are_remembered(digests, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_text("one")
    expected = digests.of([path])
    monkeypatch.setattr("hashlib.file_digest", refuse)
    assert Digests(tmp_path / "digests.json").of([path]) == expected


@pytest.mark.parametrize(
    "text", ['{"half', "[]", "3", "null", "[" * 100_000, b"\xff", '{"PATH": 3}', '{"PATH": [1]}']
)
def test_a_damaged_memory_of_digests_is_forgotten(digests, tmp_path, text):
    path = tmp_path / "a"
    path.write_text("one")
    expected = digests.of([path])
    text = text if isinstance(text, bytes) else text.replace("PATH", str(path)).encode()
    (tmp_path / "digests.json").write_bytes(text)
    assert Digests(tmp_path / "digests.json").of([path]) == expected


def test_a_sealed_folder_may_be_moved(digests, sealed, tmp_path):
    assert digests.confirm(sealed)
    assert digests.confirm(sealed.rename(tmp_path / "moved"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a", "inner/b", MANIFEST])
def test_no_damage_goes_unseen(digests, sealed, name, damage):
    assert digests.confirm(sealed)
    DAMAGES[damage](sealed / name)
    assert not digests.confirm(sealed)


@pytest.mark.parametrize("text", ["[]", "3", "null", '["a"]', '{"a": 3}', '{"no file": "0"}'])
def test_a_list_that_is_none(digests, sealed, text):
    (sealed / MANIFEST).write_text(text)
    assert not digests.confirm(sealed)


def test_the_seal_lists_all_files(sealed):
    assert set(json.loads((sealed / MANIFEST).read_text())) == {"a", "inner/b"}
