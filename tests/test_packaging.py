"""The conda recipe and the citation say the same as pyproject.toml."""

import re
import tomllib

import pytest
import yaml

from tests.conftest import ROOT

RECIPE = ROOT / "recipe/recipe.yaml"
REQUIREMENT = re.compile(r"([\w.-]+)\s*(.*)")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NEXT = PROJECT["tool"]["hatch"]["version"]["raw-options"]["fallback_version"]
"""The version of a checkout without tags and without git."""
CONDA_NAMES = {"matplotlib": "matplotlib-base"}


@pytest.fixture(scope="module")
def project():
    return PROJECT["project"]


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load(RECIPE.read_text(encoding="utf-8"))


def requirements(lines):
    return {REQUIREMENT.fullmatch(line).groups() for line in lines}


def test_the_recipe_has_the_requirements_and_programs_of_the_project(project, recipe):
    declared = {
        (CONDA_NAMES.get(name, name.lower()), bounds)
        for name, bounds in requirements(project["dependencies"])
    }
    declared.add(("python", project["requires-python"]))
    assert requirements(recipe["requirements"]["run"]) == declared
    needed = requirements([*PROJECT["build-system"]["requires"], "pip"])
    needed.add(("python", project["requires-python"]))
    assert requirements(recipe["requirements"]["host"]) == needed
    programs = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == programs


def test_the_recipe_is_valid():
    rattler_build = pytest.importorskip("rattler_build")
    parsed = rattler_build.Stage0Recipe.from_file(str(RECIPE))
    (rendered,) = parsed.render(rattler_build.VariantConfig())
    assert f"package='opnmf-pipeline', version='{NEXT}'" in repr(rendered)


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == NEXT
