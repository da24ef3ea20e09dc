"""``opnmf-pipeline select``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.cli.run import run_and_print
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.run import Summary

__all__ = ["execute"]

NO_STUDY_MSG = (
    "selection: the comparison of numbers of components needs splits or null data sets; set "
    "n_splits, such as --set selection.n_splits=10, or leave_out, or n_permutations"
)
ONE_RANK_MSG = (
    "selection.candidates: k = {k} is the only candidate; give two or more numbers of components"
)


def execute(args: argparse.Namespace) -> None:
    """Compare numbers of components; print the chosen one and the command that writes its maps."""
    config = load_config(args.config, overrides(args))
    if not config.selection.has_splits and not config.selection.n_permutations:
        raise ConfigError(NO_STUDY_MSG)
    if len(config.ranks) == 1:
        raise ConfigError(ONE_RANK_MSG.format(k=config.ranks[0]))
    summary = run_and_print(config.without_maps(), quiet=args.quiet, verbose=args.verbose)
    if not args.quiet and summary.choice is not None:
        print(f"\nTo write its maps: {_next_command(config, summary, args)}")


def _next_command(config: PipelineConfig, summary: Summary, args: argparse.Namespace) -> str:
    assert summary.choice is not None
    k = summary.choice["k"]
    given = [f"--set decomposition.n_components={k}"]
    if set(config.selection.candidates) != set(config.ranks):
        given.append(f"--set selection.candidates='{list(config.ranks)}'")
    return f"opnmf-pipeline run {args.config} {' '.join(given)} --output {summary.outputs.root}"
