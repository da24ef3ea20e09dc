"""Arguments of ``opnmf-bids``, with the names that fMRIPrep uses. Imports no large library."""

from __future__ import annotations

import argparse
from pathlib import Path

from opnmf_pipeline import __version__
from opnmf_pipeline.cli.parser import add_messages, add_strict, positive

__all__ = ["build_bids_parser"]

GIGABYTES = {"": 1 / 1024, "M": 1 / 1024, "G": 1.0, "T": 1024.0}
"""Gigabytes (2**30 bytes) in one unit of a memory size, as in Slurm."""


def build_bids_parser() -> argparse.ArgumentParser:
    """Return the parser of ``opnmf-bids``."""
    parser = argparse.ArgumentParser(
        prog="opnmf-bids",
        description="BIDS App for patterns of structural covariance by orthonormal projective NMF. "
        "The level `group` learns components from one image per subject and session. The level "
        "`participant` writes the loadings of each image on the components of a group run.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "bids_dir",
        type=Path,
        metavar="BIDS_DIR",
        help="root of the dataset with the images, usually the derivatives of another program",
    )
    parser.add_argument(
        "output_dir",
        type=Path,
        metavar="OUTPUT_DIR",
        help="output folder; it becomes a BIDS derivatives dataset",
    )
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="group: learn components from the cohort; participant: project images on components",
    )
    _add_selection(parser)
    _add_analysis(parser)
    _add_performance(parser)
    _add_messages(parser)
    return parser


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("selection of images")
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
        help="JSON file with the BIDS entities that select the images, such as "
        '{"image": {"label": "GM", ...}}; null: the file name must not have the entity; '
        '"*": the file name must have the entity, with any value',
    )
    group.add_argument(
        "--bids-database-dir",
        type=Path,
        metavar="DIR",
        help="folder that stores the index of the dataset between runs",
    )
    group.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        action="store_true",
        help="accept a dataset whose dataset_description.json is missing or incomplete",
    )


def _add_analysis(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("analysis")
    group.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        help="YAML file of settings (see opnmf-pipeline schema); arguments replace the settings "
        "of the file",
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
        help="participant level only: output folder of the group run with the components, or "
        "folder with a model (default: OUTPUT_DIR)",
    )
    group.add_argument(
        "--resample",
        action="store_true",
        help="participant level only: resample images on another grid to the grid of the model "
        "(linear interpolation, antialiased)",
    )
    group.add_argument(
        "--random-seed",
        "--random_seed",
        type=int,
        metavar="SEED",
        help="seed of random starts, split halves and shuffling",
    )
    group.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results in OUTPUT_DIR if they come from different settings",
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
        help="number of processes and threads (default: all CPUs available to the process)",
    )
    group.add_argument(
        "--omp-nthreads",
        "--omp_nthreads",
        type=positive,
        metavar="N",
        help="maximum number of threads of one fit (default: --nprocs divided among the fits that "
        "run in parallel)",
    )
    group.add_argument(
        "--mem",
        "--mem-mb",
        "--mem_mb",
        type=_gigabytes,
        metavar="MEMORY",
        help="memory limit: 8192 (megabytes, 2**20 bytes) or 8G (2**30 bytes). Nipype's MultiProc "
        "keeps the limit; without a plugin, a warning says if a fit may need more memory",
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
        help="YAML file with `plugin` and `plugin_args` of Nipype, or of Pydra if the file has "
        "`engine: pydra`",
    )
    group.add_argument(
        "--stop-on-first-crash",
        "--stop_on_first_crash",
        action="store_true",
        help="stop at the first error (default: complete the stages that do not depend on the "
        "failed stage)",
    )
    group.add_argument(
        "--resource-monitor",
        "--resource_monitor",
        action="store_true",
        help="write the memory and CPU use of the run, once per second, to logs/resources.tsv",
    )


def _add_messages(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("messages")
    group.add_argument(
        "--boilerplate-only",
        "--boilerplate_only",
        action="store_true",
        help="group level only: print a methods section with BibTeX references, without computing "
        "anything",
    )
    add_strict(group)
    add_messages(group)


def _gigabytes(text: str) -> float:
    """Read a memory size in megabytes (2**20 bytes), or in the unit of its letter."""
    number = text.upper().removesuffix("B")
    unit = number.lstrip("0123456789.")
    try:
        gigabytes = float(number.removesuffix(unit)) * GIGABYTES[unit]
    except (KeyError, ValueError):
        gigabytes = 0.0
    if gigabytes <= 0:
        raise argparse.ArgumentTypeError(f"expected a size such as 8000, 800M or 8G, got {text!r}")
    return gigabytes
