"""Arguments of every command. Imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from opnmf_pipeline import __version__
from opnmf_pipeline.exceptions import ConfigError

__all__ = ["add_messages", "as_items", "build_parser", "overrides", "positive", "read_yaml_of"]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``opnmf-pipeline``."""
    parser = argparse.ArgumentParser(
        prog="opnmf-pipeline",
        description="Patterns of structural covariance by orthonormal projective NMF: from NIfTI "
        "images to component brain maps.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _add_run(
        commands,
        "run",
        "run the pipeline",
        "Run every stage that has not been run before with the same inputs and settings.",
    )
    run.add_argument(
        "--share",
        type=_share,
        metavar="I/N",
        help="only make the I-th of N shares of the fits, and write no results: for the tasks of a "
        "batch array (engine local). The same command without this finds the fits in --work-dir",
    )
    _add_run(
        commands,
        "select",
        "compare numbers of components and say which to choose",
        "Compare the numbers of components in selection.candidates (or those in "
        "decomposition.n_components) as the section `selection` says, and say which to choose and "
        "why. No maps are written: run does that, and takes over what was computed here.",
    )
    _add_check(commands)
    _add_graph(commands)
    _add_report(commands)
    commands.add_parser(
        "schema",
        help="print the JSON Schema of the settings",
        description="Print the JSON Schema of the settings, so that an editor completes the YAML.",
    )
    return parser


def _add_run(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    run = commands.add_parser(name, help=summary, description=description)
    _add_settings(run)
    engine = run.add_argument_group("engine")
    engine.add_argument(
        "--engine",
        choices=("local", "nipype", "pydra"),
        help="who computes: this process, or a workflow of that engine (default: local)",
    )
    engine.add_argument(
        "--plugin",
        metavar="NAME",
        help="Nipype plugin (MultiProc, Linear, SLURM, ...) or Pydra worker (cf, slurm, ...)",
    )
    engine.add_argument(
        "--plugin-args", type=Path, metavar="FILE", help="YAML file with arguments of the plugin"
    )
    performance = run.add_argument_group("performance")
    performance.add_argument(
        "--nprocs",
        type=positive,
        metavar="N",
        help="processes and threads to use (default: the CPUs that are free)",
    )
    performance.add_argument(
        "--mem",
        type=float,
        metavar="GB",
        help="memory to use, where the plugin heeds it (default: what is free)",
    )
    performance.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="folder of intermediate results (default: work in the output folder)",
    )
    outputs = run.add_argument_group("outputs")
    outputs.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of a run with other settings in the same folder",
    )
    add_messages(outputs)
    return run


def add_messages(group: argparse._ArgumentGroup) -> None:
    """Add the arguments that say how much is shown."""
    group.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="show the log, that of the engine included"
    )


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="validate settings and inputs, and print the plan",
        description="Validate the settings, find the images, read their headers, and print what "
        "a run would do. Nothing is written.",
    )
    _add_settings(check)


def _add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    graph = commands.add_parser(
        "graph",
        help="draw the workflow",
        description="Draw the stages that the settings lead to, and what they need of each other.",
    )
    _add_settings(graph, output=False)
    graph.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        dest="picture",
        metavar="FILE",
        help="picture to write: .svg, .png or .pdf",
    )


def _add_report(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    report = commands.add_parser(
        "report",
        help="write the page about a finished run anew",
        description="Write report.html from what stands in the output folder of a run. Nothing is "
        "computed, and the images are not needed.",
    )
    report.add_argument("folder", type=Path, metavar="OUT", help="output folder of the run")


def _add_settings(command: argparse.ArgumentParser, *, output: bool = True) -> None:
    command.add_argument("config", type=Path, metavar="CONFIG", help="YAML file of settings")
    if output:
        command.add_argument(
            "-o",
            "--output",
            type=Path,
            metavar="DIR",
            help="output folder (replaces output.dir)",
        )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="replace one setting; can be given more than once",
    )


def _share(text: str) -> tuple[int, int]:
    number, slash, n_shares = text.partition("/")
    if not (slash and number.isdecimal() and n_shares.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a share such as 3/20, got {text!r}")
    if not 1 <= int(number) <= int(n_shares):
        raise argparse.ArgumentTypeError(f"of {n_shares} shares there is no {number}")
    return int(number), int(n_shares)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text!r}")
    return int(text)


def read_yaml_of(flag: str, path: Path | None) -> Any:
    """Return the content of the YAML file that a flag names, or None."""
    if path is None:
        return None
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{flag}: {path}: cannot be read as YAML: {error}") from None


def overrides(args: argparse.Namespace) -> list[str]:
    """Return all that the command line sets, as ``section.key=value`` items."""
    flags = {
        "output.dir": getattr(args, "output", None),
        "execution.n_procs": getattr(args, "nprocs", None),
        "execution.memory_gb": getattr(args, "mem", None),
        "execution.engine": getattr(args, "engine", None),
        "execution.plugin": getattr(args, "plugin", None),
        "execution.plugin_args": read_yaml_of("--plugin-args", getattr(args, "plugin_args", None)),
        "execution.work_dir": getattr(args, "work_dir", None),
        "output.overwrite": getattr(args, "overwrite", False) or None,
    }
    return [*args.overrides, *as_items(flags)]


def as_items(flags: Mapping[str, Any]) -> list[str]:
    """Return settings as ``section.key=value`` items, without those that are None."""
    # As JSON, which is YAML: a folder may be called `yes` or `#1`
    return [
        f"{key}={json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in flags.items()
        if value is not None
    ]
