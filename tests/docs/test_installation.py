"""docs/installation.md says what each runtime dependency is for."""

import re
import tomllib

from tests.conftest import ROOT

NAME = re.compile(r"[\w.-]+")


def test_each_dependency_has_a_purpose():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {NAME.match(line)[0] for line in project["dependencies"]}
    page = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")][2:]
    explained = [name.strip() for row in rows for name in row.split(",")]
    assert sorted(explained) == sorted(declared)
