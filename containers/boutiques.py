#!/usr/bin/env python3
"""Write boutiques.json, the Boutiques descriptor of the BIDS App, from the arguments of the App.

Run `make boutiques` after a change of the arguments.
"""

import argparse
import json
import tomllib
from pathlib import Path

from opnmf_pipeline.cli.bids_parser import build_bids_parser
from opnmf_pipeline.cli.parser import positive

PROJECT = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())
VERSION = PROJECT["tool"]["hatch"]["version"]["raw-options"]["fallback_version"]
"""The version without the number of the commit, which changes with each commit."""
DESCRIPTOR = Path(__file__).with_name("boutiques.json")
MUST_EXIST = ("bids_dir", "model")
"""Folders that must exist; the App creates all other folders."""


def actions(parser):
    """Return the arguments of a run, without --help and --version."""
    leaves = (argparse._HelpAction, argparse._VersionAction)
    return [action for action in parser._actions if not isinstance(action, leaves)]


def value_key(action):
    """Return the place of an argument in the command line."""
    return f"[{action.dest.upper()}]"


def value_type(action):
    """Return type and range of the value, in the format of Boutiques."""
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.choices:
        return {"type": "String", "value-choices": list(action.choices)}
    if action.type is positive:
        return {"type": "Number", "integer": True, "minimum": 1}
    if action.type is int:
        return {"type": "Number", "integer": True}
    read = action.metavar == "FILE" or action.dest in MUST_EXIST
    return {"type": "File" if read else "String"}


def argument(action):
    """Return one entry of `inputs`."""
    entry = {
        "id": action.dest,
        "name": action.dest.replace("_", " ").capitalize(),
        "description": action.help,
        "value-key": value_key(action),
        "optional": bool(action.option_strings),
    } | value_type(action)
    if action.option_strings:
        entry["command-line-flag"] = max(action.option_strings[:2], key=len)
    if action.nargs == "+":
        entry["list"] = True
    return entry


def descriptor():
    """Return the descriptor."""
    parser = build_bids_parser()
    found = actions(parser)
    return {
        "name": "opnmf-pipeline",
        "description": parser.description,
        "author": "The opnmf-pipeline developers",
        "tool-version": VERSION,
        "schema-version": "0.5",
        "command-line": " ".join([parser.prog, *map(value_key, found)]),
        "container-image": {
            "type": "docker",
            "image": f"opnmf-pipeline:{VERSION}",
            "entrypoint": True,
        },
        "inputs": [argument(action) for action in found],
        "output-files": [
            {
                "id": "derivatives",
                "name": "BIDS derivatives dataset",
                "description": "Component maps, labels, loadings, measures, pictures and a report",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "suggested-resources": {"cpu-cores": 2, "ram": 8},
        "tags": {"domain": ["neuroinformatics", "mri"], "toolbox": ["bids-app"]},
    }


if __name__ == "__main__":
    DESCRIPTOR.write_text(json.dumps(descriptor(), indent=4, ensure_ascii=False) + "\n")
