"""The Boutiques descriptor of the BIDS App, against the arguments of the App and by Boutiques."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from containers.boutiques import DESCRIPTOR, descriptor
from opnmf_pipeline.cli.bids_parser import build_bids_parser

BOSH = Path(sys.executable).with_name("bosh")


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # where Boutiques keeps what it has seen


def bosh(*arguments):
    done = subprocess.run([BOSH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_in_step_with_the_arguments():
    assert json.loads(DESCRIPTOR.read_text()) == descriptor(), "run `make boutiques`"


def test_boutiques_accepts_it():
    assert bosh("validate", DESCRIPTOR).strip() == "OK"


def test_the_command_line_that_boutiques_makes_is_understood(tmp_path):
    """Every input at once: Boutiques writes the command, and our parser reads it."""
    filled = {"File": str(tmp_path), "String": "8G", "Flag": True, "Number": 3}
    invocation = {}
    for entry in json.loads(DESCRIPTOR.read_text())["inputs"]:
        value = entry.get("value-choices", [filled[entry["type"]]])[-1]
        invocation[entry["id"]] = [value] if entry.get("list") else value
    path = tmp_path / "invocation.json"
    path.write_text(json.dumps(invocation))
    *_, command = bosh("exec", "simulate", DESCRIPTOR, "--input", path).strip().splitlines()
    program, *words = shlex.split(command)
    assert program == "opnmf-bids"
    args = vars(build_bids_parser().parse_args(words))
    assert args.keys() == invocation.keys()
    given = args | {"bids_dir": str(args["bids_dir"]), "output_dir": str(args["output_dir"])}
    assert {name: given[name] for name in ("bids_dir", "output_dir", "analysis_level")} == {
        name: invocation[name] for name in ("bids_dir", "output_dir", "analysis_level")
    }
    assert all(value is not None and value is not False for value in args.values())
