"""Arguments of ``opnmf-bids``, in the words of fMRIPrep. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from opnmf_pipeline import __version__
from opnmf_pipeline.cli.parser import add_messages, positive

__all__ = ["build_bids_parser"]

MEGABYTES = {"": 1.0, "M": 1.0, "G": 1e3, "T": 1e6}


def build_bids_parser() -> argparse.ArgumentParser:
    """Return the parser of ``opnmf-bids``."""
    parser = argparse.ArgumentParser(
        prog="opnmf-bids",
        description="Patterns of structural covariance by orthonormal projective NMF, as a BIDS "
        "App: `group` learns the components from one image per subject and session, `participant` "
        "writes the loadings of each image on components that were learned.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "bids_dir",
        type=Path,
        metavar="BIDS_DIR",
        help="root of the dataset with the images: mostly the derivatives of another program",
    )
    parser.add_argument(
        "output_dir",
        type=Path,
        metavar="OUTPUT_DIR",
        help="folder that becomes a BIDS derivatives dataset",
    )
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="group: learn components from the cohort; participant: project images on them",
    )
    _add_selection(parser)
    _add_analysis(parser)
    _add_performance(parser)
    _add_messages(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which images")
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="subjects to use, with or without `sub-` (default: all)",
    )
    group.add_argument(
        "--session-label",
        "--session_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="sessions to use, with or without `ses-` (default: all)",
    )
    group.add_argument(
        "--bids-filter-file",
        type=Path,
        metavar="FILE",
        help='JSON file of entities that select the image, {"image": {"label": "GM", ...}}; '
        'null: the name must not have the entity, "*": any value of it',
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="folder that keeps the index of the dataset from one call to the next",
    )
    group.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        action="store_true",
        help="take a dataset without a proper dataset_description.json",
    )


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("analysis")
    group.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="YAML file of settings (opnmf-pipeline schema); these arguments replace what it says",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="SECTION.KEY=VALUE",
        help="replace one setting; can be given more than once",
    )
    group.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        help="participant level: output folder of the group run that learned the components "
        "(default: OUTPUT_DIR)",
    )
    group.add_argument(
        "--random-seed",
        "--random_seed",
        type=int,
        metavar="SEED",
        help="seed of random starts, of the halvings and of the shuffling",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of a run with other settings in the same folder",
    )


def _add_performance(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("performance")
    group.add_argument(
        "--nprocs",
        "--nthreads",
        "--n-cpus",
        "--n_cpus",
        type=positive,
        metavar="N",
        help="processes and threads to use (default: the CPUs that are free)",
    )
    group.add_argument(
        "--omp-nthreads",
        "--omp_nthreads",
        type=positive,
        metavar="N",
        help="largest number of threads of one fit (default: those of --nprocs, shared)",
    )
    group.add_argument(
        "--mem",
        "--mem-mb",
        "--mem_mb",
        type=_gigabytes,
        metavar="MEMORY",
        help="memory to use: 8000 (megabytes) or 8G. Nipype's MultiProc keeps to it; without a "
        "plugin you are warned where a fit may need more",
    )
    group.add_argument(
        "-w",
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="folder of intermediate results (default: work in OUTPUT_DIR)",
    )
    group.add_argument(
        "--use-plugin",
        "--nipype-plugin-file",
        type=Path,
        metavar="FILE",
        help="YAML file with `plugin` and `plugin_args` of Nipype; with `engine: pydra` in it, "
        "of Pydra",
    )
    group.add_argument(
        "--stop-on-first-crash",
        "--stop_on_first_crash",
        action="store_true",
        help="end at the first failure, instead of finishing what does not depend on it",
    )
    group.add_argument(
        "--resource-monitor",
        "--resource_monitor",
        action="store_true",
        help="write memory and CPU of the run, second by second, to logs/resources.tsv",
    )


def _add_messages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    group.add_argument(
        "--boilerplate-only",
        "--boilerplate_only",
        action="store_true",
        help="group level: print the methods section of a paper with its BibTeX, and compute "
        "nothing",
    )
    add_messages(group)


def _gigabytes(text: str) -> float:
    """Read a size as fMRIPrep does: in megabytes, unless a letter says otherwise."""
    number = text.upper().removesuffix("B")
    unit = number.lstrip("0123456789.")
    try:
        gigabytes = float(number.removesuffix(unit)) * MEGABYTES[unit] / 1e3
    except (KeyError, ValueError):
        gigabytes = 0.0
    if gigabytes <= 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 8000, 800M or 8G, got {text!r}")
    return gigabytes
