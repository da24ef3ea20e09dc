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
    "selection: nothing says what to compare the numbers of components by; "
    "set n_splits, such as --set selection.n_splits=10, or leave_out, or n_permutations"
)
ONE_RANK_MSG = (
    "selection.candidates: there is nothing to choose with k = {k} alone; name two numbers or more"
)


def execute(args: argparse.Namespace) -> None:
    """Compare the numbers of components, and print which to choose and how to get its maps."""
    config = load_config(args.config, overrides(args))
    if not config.selection.has_splits and not config.selection.n_permutations:
        raise ConfigError(NO_STUDY_MSG)
    if len(config.ranks) == 1:
        raise ConfigError(ONE_RANK_MSG.format(k=config.ranks[0]))
    summary = run_and_print(config.without_maps(), quiet=args.quiet, verbose=args.verbose)
    if not args.quiet and summary.choice is not None:
        print(f"\nIts maps: {_next_command(config, summary, args)}")


def _next_command(config: PipelineConfig, summary: Summary, args: argparse.Namespace) -> str:
    assert summary.choice is not None
    k = summary.choice["k"]
    given = [f"--set decomposition.n_components={k}"]
    if set(config.selection.candidates) != set(config.ranks):
        given.append(f"--set selection.candidates='{list(config.ranks)}'")
    return f"opnmf-pipeline run {args.config} {' '.join(given)} --output {summary.outputs.root}"
