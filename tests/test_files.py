import hashlib

import pytest

from opnmf_pipeline.files import file_digest, folder_digest


@pytest.fixture
def digest(tmp_path):
    """Return a function that writes files, by name and text, and returns the digest of all."""

    def digest(files, without=(), name="folder"):
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder_digest(tmp_path / name, without)

    return digest


def test_digest_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"content")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_equal_folders_have_equal_digests(digest):
    files = {"a": "1", "b/c": "2"}
    assert digest(files) == digest(dict(reversed(files.items())), name="other")


@pytest.mark.parametrize(
    "changed",
    [
        {"a": "bc", "b/c": "changed"},
        {"a": "bc", "b/d": "2"},
        {"a": "bc", "c": "2"},
        {"ab": "c", "b/c": "2"},
        {"a": "2", "b/c": "bc"},
        {"a": "bc", "b/c": "2", "d": ""},
    ],
)
def test_names_and_contents_of_all_files_count(digest, changed):
    assert digest({"a": "bc", "b/c": "2"}) != digest(changed, name="changed")


def test_large_files_are_left_out_by_name(digest):
    before = digest({"sum": "1", "big": "x"}, without=["big"])
    assert digest({"big": "changed"}, without=["big"]) == before
    assert digest({"sum": "2"}, without=["big"]) != before
