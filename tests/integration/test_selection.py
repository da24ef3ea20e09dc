"""The rank study of the example, from the command to the choice."""

import json

import pytest

from opnmf_pipeline.cli import main
from tests.conftest import ROOT

CONFIG = str(ROOT / "configs" / "rank_selection.yaml")
N_PLANTED = 8


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "out"


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule", ["reproducibility-peak", "null-crossing", "one-standard-error", "weighted"]
)
def test_each_rule_finds_what_was_planted(out, rule):
    """The rules share the fits: from the second one on, nothing but the choice is computed."""
    command = ["select", CONFIG, "--output", str(out), "--overwrite", "--quiet"]
    assert main([*command, "--set", f"selection.rule={rule}"]) == 0
    choice = json.loads((out / "group" / "desc-opnmf_selection.json").read_text())
    assert choice["rule"] == rule
    assert choice["k"] == N_PLANTED
    assert choice["k"] in choice["good"]
    assert not choice["flat"]
