"""What can be seen of the containers without building them; build-and-test.sh does that."""

import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

CONTAINERS = ROOT / "containers"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["tool"]["hatch"]["version"]["raw-options"]["fallback_version"]
LOCKED = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+) \\$((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)", re.M
)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", PROJECT["project"]["dependencies"]),
        ("build.lock", PROJECT["build-system"]["requires"]),
    ],
)
def test_locked_versions_are_those_that_the_package_asks_for(name, wanted):
    text = (CONTAINERS / name).read_text()
    versions = {canonicalize_name(found[1]): found[2] for found in LOCKED.finditer(text)}
    assert len(versions) == text.count("==")  # each with its hashes
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{name} lacks {requirement}: run `make lock`"
        assert version in requirement.specifier, (
            f"{name} has {version}, not {requirement}: `make lock`"
        )


@pytest.mark.parametrize("script", sorted(CONTAINERS.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_shell(script):
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_recipes_take_the_same_files():
    recipe = (CONTAINERS / "opnmf-pipeline.def").read_text()
    files = re.search(r"%files\n((?:    .*\n)+)", recipe)[1]
    sources = {line.split()[0] for line in files.splitlines()}
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignore if line.startswith("!")}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)


def test_both_recipes_name_the_version():
    for name in ("Dockerfile", "opnmf-pipeline.def"):
        recipe = (CONTAINERS / name).read_text()
        assert re.findall(r"^ *(?:ARG )?VERSION=(.*)$", recipe, re.M) == [VERSION], name


def test_both_recipes_set_the_same_variables():
    recipe = (CONTAINERS / "opnmf-pipeline.def").read_text()
    exported = dict(
        re.findall(r"^    export ([A-Z_]+)=(.*)$", recipe.split("%environment")[1], re.M)
    )
    dockerfile = (CONTAINERS / "Dockerfile").read_text()
    block = re.search(r"^ENV ((?:.*\\\n)+.*)$", dockerfile, re.M)[1]
    given = dict(re.findall(r"([A-Z_]+)=(\S+)", block))
    assert exported.keys() == given.keys()
    # the folder of a user, where users share /tmp
    del exported["MPLCONFIGDIR"], given["MPLCONFIGDIR"]
    assert exported == given
