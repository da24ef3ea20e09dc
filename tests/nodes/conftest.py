import pytest

from tests.builders import three_parts, write_cohort
from tests.nodes.battery import cases


@pytest.fixture(scope="session")
def battery(tmp_path_factory):
    """What every node must do, by its name."""
    root = tmp_path_factory.mktemp("battery")
    tiny = write_cohort(root / "dataset", three_parts(n_subjects=8))
    return cases(tiny, root / "functions")


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """An empty current folder: what a node leaves there, it has left in the wrong place."""
    folder = tmp_path / "current"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
