"""``opnmf-pipeline select``."""

from __future__ import annotations

import argparse
import shlex

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.cli.run import require_convergence, run_and_print
from opnmf_pipeline.config import Override, PipelineConfig, load_config
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.run import Summary

__all__ = ["execute"]

N_SPLITS = 10
"""Number of split halves if the settings give no number."""

DEFAULT_MSG = f"selection.n_splits is not set: {N_SPLITS} random split halves are compared"
NO_STUDY_MSG = (
    "selection: the comparison of numbers of components needs splits or null data sets; set "
    "n_splits, such as --set selection.n_splits=10, or leave_out, or n_permutations"
)
ONE_RANK_MSG = (
    "selection.candidates: k = {k} is the only candidate; give two or more numbers of components"
)


def execute(args: argparse.Namespace) -> None:
    """Compare numbers of components; print the chosen one and the command that writes its maps."""
    given = overrides(args)
    config = load_config(args.config, given)
    if not _has_data(config) and "n_splits" not in config.selection.model_fields_set:
        given.append(("selection.n_splits", N_SPLITS))
        if not args.quiet:
            print(DEFAULT_MSG)
    config = load_config(args.config, [*given, *_only_compared(config)])
    if not _has_data(config):
        raise ConfigError(NO_STUDY_MSG)
    if len(config.ranks) == 1:
        raise ConfigError(ONE_RANK_MSG.format(k=config.ranks[0]))
    summary = run_and_print(config, quiet=args.quiet, verbose=args.verbose)
    if not args.quiet and summary.choice is not None:
        print(f"\nTo write its maps: {_next_command(summary)}")
    require_convergence(summary, strict=args.strict)


def _has_data(config: PipelineConfig) -> bool:
    return config.selection.has_splits or config.selection.n_permutations > 0


def _only_compared(config: PipelineConfig) -> list[Override]:
    """Return the settings with which no number is fitted that is not compared."""
    return [
        ("selection.candidates", sorted(config.compared)),
        ("decomposition.n_components", []),
    ]


def _next_command(summary: Summary) -> str:
    """Return the command that writes the maps of the chosen k.

    It reads the settings that this run wrote, so that no argument of the command line is lost.
    """
    assert summary.choice is not None
    settings = str(summary.outputs.path("config"))
    k = f"decomposition.n_components={summary.choice['k']}"
    return shlex.join(["opnmf-pipeline", "run", settings, "--set", k])
