"""What the script that plants faults says of one that is noticed, missed, or out of date."""

import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

CODE = "def half(number):\n    return number / 2\n\n\ndef unused():\n    return 1\n"
TEST = "from opnmf_pipeline.numbers import half\n\n\ndef test_half():\n    assert half(4) == 2\n"
FAULT = {"file": "opnmf_pipeline/numbers.py", "tests": "tests/test_numbers.py"}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # none is needed, and all take time
    files = {"opnmf_pipeline/__init__.py": "", "opnmf_pipeline/numbers.py": CODE}
    for name, text in (files | {"tests/test_numbers.py": TEST}).items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "tree"


def plant(tree, *faults):
    entries = [FAULT | {"fault": "the fault"} | fault for fault in faults]
    (tree / "tests" / "faults.yaml").write_text(yaml.safe_dump({"room": entries}))
    command = [sys.executable, str(ROOT / "scripts" / "plant_faults.py"), "--root", str(tree)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert not found.stderr
    return found.returncode, found.stdout.splitlines()


def test_noticed_missed_out_of_date_and_no_code(tree):
    status, lines = plant(
        tree,
        {"old": "number / 2", "new": "number / 3"},
        {"old": "return 1", "new": "return 2"},
        {"old": "number / 5", "new": "number / 6"},
        {"old": "return", "new": "pass; return"},
        {"old": "number / 2", "new": "number /"},
    )
    assert status == 1
    assert lines == [
        "caught   room: the fault",
        "SURVIVED room: the fault",
        "STALE    room: the fault",
        "STALE    room: the fault",
        "BROKEN   room: the fault",
        "1 caught, 1 SURVIVED, 2 STALE, 1 BROKEN",
    ]
    assert (tree / "opnmf_pipeline" / "numbers.py").read_text() == CODE


def test_all_noticed(tree):
    assert plant(tree, {"old": "number / 2", "new": "number * 2"})[0] == 0


def test_tests_that_fail_anyway_notice_nothing(tree):
    (tree / "tests" / "test_numbers.py").write_text("def test():\n    assert False\n")
    status, lines = plant(tree, {"old": "number / 2", "new": "number / 3"})
    assert (status, lines[0]) == (1, "BROKEN   room: the fault")
