"""The messages that docs/troubleshooting.md explains are messages of the program."""

import ast
import re

import pytest

from tests.conftest import ROOT

QUOTED = re.compile(r'^### "(.+)"$', re.MULTILINE)
SLOT = re.compile(r"\{[^}]*\}|%\w")


def headings():
    return QUOTED.findall((ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def strings():
    """Return all strings of the package; those that Python joins are joined, and slots are cut."""
    found = []
    for path in sorted((ROOT / "opnmf_pipeline").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(SLOT.sub("…", node.value))
    return found


@pytest.mark.parametrize("heading", headings())
def test_a_message_that_is_explained_exists(strings, heading):
    pieces = [piece.strip(" :") for piece in heading.split("…") if piece.strip(" :")]
    assert any(all(piece in text for piece in pieces) for text in strings), pieces


def test_there_are_messages():
    assert len(headings()) > 5
