"""``opnmf-pipeline select``."""

from __future__ import annotations

import argparse
import json
import shlex

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.cli.run import require_convergence, run_and_print
from opnmf_pipeline.config import Override, PipelineConfig, load_config
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.runs.run import Summary

__all__ = ["execute"]

NO_STUDY_MSG = (
    "selection: the comparison of numbers of components needs splits or null data sets; set "
    "n_splits, such as --set selection.n_splits=10, or leave_out, or n_permutations"
)
OUTPUT_KEYS = ("output.dir", "output.overwrite")
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
    require_convergence(summary, strict=args.strict)


def _next_command(config: PipelineConfig, summary: Summary, args: argparse.Namespace) -> str:
    assert summary.choice is not None
    replaced = {"decomposition.n_components": summary.choice["k"]}
    compared = config.without_maps().selection.candidates  # as the output folder has them
    if config.selection.candidates != compared:
        replaced["selection.candidates"] = list(compared)
    kept = [item for item in overrides(args) if _key(item) not in {*replaced, *OUTPUT_KEYS}]
    items = map(_item, [*kept, *replaced.items()])
    settings = [word for item in items for word in ("--set", item)]
    output = ["--output", str(summary.outputs.root)]
    return shlex.join(["opnmf-pipeline", "run", str(args.config), *settings, *output])


def _key(item: Override) -> str:
    return item[0] if isinstance(item, tuple) else item.partition("=")[0].strip()


def _item(item: Override) -> str:
    """Return an override as an item of --set; JSON is valid YAML and quotes names such as `#1`."""
    if isinstance(item, str):
        return item
    key, value = item
    return f"{key}={json.dumps(value, default=str, ensure_ascii=False)}"
