"""Arguments of all commands. Imports no large library, so that ``--help`` is fast."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from opnmf_pipeline import __version__

__all__ = ["add_messages", "add_strict", "build_parser", "given", "overrides", "positive"]

SOURCES = (
    "output folder of a run, folder with a copied model, or the file of one model; or of others: a "
    "label image, an image of several maps, a folder of sopnmf or cobra-nmf with one image per "
    "component, or a matrix W (.mat, .npz, .npy)"
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``opnmf-pipeline``."""
    parser = argparse.ArgumentParser(
        prog="opnmf-pipeline",
        description="Patterns of structural covariance by orthonormal projective NMF: from one "
        "image, or one row of a table, per subject to components and loadings.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = _add_run(
        commands,
        "run",
        "run the pipeline",
        "Run all stages. Stages whose inputs and settings have not changed since an earlier run "
        "are not computed again.",
    )
    run.add_argument(
        "--share",
        type=_share,
        metavar="I/N",
        help="compute only share I of N shares of the fits, and write no results; for job arrays "
        "(engine local only). Tasks that run at the same time need one --work-dir each. Then copy "
        "the content of these folders into one --work-dir, and run the same command with it and "
        "without --share to write the results. workflows/slurm_rank_array.sbatch does all this",
    )
    _add_run(
        commands,
        "select",
        "compare numbers of components and choose one",
        "Compare the numbers of components in selection.candidates (default: "
        "decomposition.n_components) with the settings of the section `selection`, and choose one. "
        "This command writes no maps. The command run writes them and reuses these results.",
    )
    _add_project(commands)
    _add_compare(commands)
    _add_export(commands)
    _add_check(commands)
    _add_graph(commands)
    _add_report(commands)
    commands.add_parser(
        "schema",
        help="print the JSON Schema of the settings",
        description="Print the JSON Schema of the settings. An editor can use it to complete and "
        "check the YAML file.",
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
        help="local: run without a workflow engine; nipype, pydra: run as a workflow of that "
        "engine (default: local)",
    )
    engine.add_argument(
        "--plugin",
        metavar="NAME",
        help="Nipype plugin (MultiProc, Linear, SLURM, ...) or Pydra worker (cf, slurm, ...)",
    )
    engine.add_argument(
        "--plugin-args", type=Path, metavar="FILE", help="YAML file with the plugin arguments"
    )
    performance = run.add_argument_group("performance")
    performance.add_argument(
        "--nprocs",
        type=positive,
        metavar="N",
        help="number of processes and threads (default: all CPUs available to the process)",
    )
    performance.add_argument(
        "--mem",
        type=float,
        metavar="GB",
        help="memory limit in GB (2**30 bytes), for plugins that support a limit (default: the "
        "memory available to the job)",
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
        help="replace the results in the output folder if they come from different settings",
    )
    add_strict(outputs)
    add_messages(outputs)
    return run


def add_strict(group: argparse._ArgumentGroup) -> None:
    """Add the argument that makes a fit without convergence an error."""
    group.add_argument(
        "--strict",
        action="store_true",
        help="exit with code 3 if a fit has not converged; the results are written",
    )


def add_messages(group: argparse._ArgumentGroup) -> None:
    """Add the arguments for the amount of messages."""
    group.add_argument("-q", "--quiet", action="store_true", help="show errors only")
    group.add_argument(
        "-v", "--verbose", action="store_true", help="show the log, including the engine's log"
    )


def _add_project(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    project = commands.add_parser(
        "project",
        help="project new images on the components of a model",
        description="Write the loadings of new images on the components of a finished run, means "
        "of the images weighted by each component, their reconstruction errors next to those of "
        "the cohort of the model, and a report. Nothing is fitted. Images are preprocessed as the "
        "images of the model. An interrupted command continues if it is started again.",
    )
    project.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help=SOURCES,
    )
    _add_mask(project)
    project.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help="image files, a pattern in quotation marks, a BIDS dataset (its images are selected "
        "with the filters of the model), tables of features (.csv, .tsv, .xlsx), or a YAML file of "
        "settings with the section `inputs`",
    )
    project.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="output folder; it becomes a BIDS derivatives dataset",
    )
    project.add_argument(
        "--participants",
        type=Path,
        metavar="FILE",
        help="table of the subjects with participant_id and the columns that the images of the "
        "model were adjusted for, if they were (default: participants.tsv of the BIDS dataset)",
    )
    _add_ranks(project, "all that the model has")
    project.add_argument(
        "--resample",
        action="store_true",
        help="resample images on another grid to the grid of the model (linear interpolation, "
        "antialiased); the images must be in the space of the model",
    )
    project.add_argument(
        "--nprocs",
        type=positive,
        metavar="N",
        help="number of processes (default: all CPUs available to the process)",
    )
    project.add_argument(
        "--overwrite",
        action="store_true",
        help="replace loadings in the output folder on other components or of other images",
    )
    add_messages(project.add_argument_group("messages"))


def _add_ranks(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument(
        "--n-components",
        type=positive,
        nargs="+",
        metavar="K",
        help=f"numbers of components (default: {default})",
    )


def _add_mask(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help="mask whose voxels are the rows of a matrix W (.mat, .npz, .npy)",
    )


def _add_compare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="compare the components of two or more models",
        description="Match the components of each pair of models, in the voxels that all models "
        "have, and write tables of cosines, overlaps and parts that split, each beside its value "
        "by chance, and a report. Models on another grid are resampled. Models in different "
        "spaces are refused.",
    )
    compare.add_argument(
        "models",
        type=Path,
        nargs="+",
        metavar="MODEL",
        help=f"{SOURCES}; all models of a folder are compared",
    )
    _add_mask(compare)
    compare.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="output folder"
    )
    _add_ranks(compare, "all that each folder has")
    compare.add_argument(
        "--n-null",
        type=int,
        default=20,
        metavar="N",
        help="number of pairs of random compact models for the agreement by chance; 0: none "
        "(default: %(default)s)",
    )
    compare.add_argument(
        "--overwrite", action="store_true", help="replace a comparison in the output folder"
    )
    add_messages(compare.add_argument_group("messages"))


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    export = commands.add_parser(
        "export",
        help="write a model for other labs and programs",
        description="Write a model as a portable folder that `project` takes, as an atlas in BIDS, "
        "and, on surfaces, in the formats of FreeSurfer. Each format has its own folder.",
    )
    export.add_argument("model", type=Path, metavar="MODEL", help=SOURCES)
    _add_mask(export)
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="empty output folder"
    )
    _add_ranks(export, "all that the model has")
    export.add_argument(
        "--format",
        nargs="+",
        choices=("model", "bids-atlas", "freesurfer"),
        dest="formats",
        help="formats to write (default: all that are possible for the model)",
    )
    export.add_argument(
        "--name",
        default="OPNMF",
        metavar="LABEL",
        help="name of the atlas, with letters and digits only (default: %(default)s)",
    )
    export.add_argument(
        "--space",
        metavar="LABEL",
        help="space in the file names in BIDS, such as MNI152NLin2009cAsym (default: that of the "
        "model)",
    )
    export.add_argument(
        "--license",
        metavar="TEXT",
        help="licence, such as CC-BY-4.0 (default: that in the settings of the run)",
    )
    export.add_argument(
        "--authors",
        nargs="+",
        default=[],
        metavar="NAME",
        help="authors (default: those in the settings of the run)",
    )
    export.add_argument("--citation", metavar="TEXT", help="what users of the model should cite")
    add_messages(export.add_argument_group("messages"))


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="validate settings and inputs, and print the plan",
        description="Validate the settings, find the images, read their headers, and print what "
        "a run would compute. This command writes nothing.",
    )
    _add_settings(check)
    check.add_argument(
        "--deep",
        action="store_true",
        help="also read the values of all images, and list all images that a run would refuse",
    )


def _add_graph(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    graph = commands.add_parser(
        "graph",
        help="draw the workflow",
        description="Draw the stages of a run with these settings, and the dependencies between "
        "them.",
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
        help="rewrite the report of a finished run",
        description="Write report.html from the files in the output folder of a run. This command "
        "computes nothing and does not need the images.",
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
        raise argparse.ArgumentTypeError(f"share {number} does not exist; expected 1 to {n_shares}")
    return int(number), int(n_shares)


def positive(text: str) -> int:
    """Read an integer ≥ 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return int(text)


def overrides(args: argparse.Namespace) -> list[str | tuple[str, Any]]:
    """Return all settings of the command line: items of --set, and pairs of key and value."""
    from opnmf_pipeline.config.parsing import read_yaml

    plugin_args = getattr(args, "plugin_args", None)
    flags = {
        "output.dir": getattr(args, "output", None),
        "execution.n_procs": getattr(args, "nprocs", None),
        "execution.memory_gb": getattr(args, "mem", None),
        "execution.engine": getattr(args, "engine", None),
        "execution.plugin": getattr(args, "plugin", None),
        "execution.plugin_args": read_yaml(plugin_args) if plugin_args else None,
        "execution.work_dir": getattr(args, "work_dir", None),
        "output.overwrite": getattr(args, "overwrite", False) or None,
    }
    return [*args.overrides, *given(flags)]


def given(flags: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the settings that have a value."""
    return [(key, value) for key, value in flags.items() if value is not None]
