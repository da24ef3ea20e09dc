"""``opnmf-pipeline graph``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.engines.graph import workflow_edges
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.reporting.graph import draw_graph

__all__ = ["execute"]

FORMATS = (".pdf", ".png", ".svg")


def execute(args: argparse.Namespace) -> None:
    """Draw the workflow of the settings."""
    out_file = args.picture
    if out_file.suffix not in FORMATS:
        raise ConfigError(f"--output: {out_file}: expected a name ending in {', '.join(FORMATS)}")
    config = load_config(args.config, overrides(args))
    draw_graph(workflow_edges(config), _labels(config), out_file)
    print(out_file)


def _labels(config: PipelineConfig) -> dict[str, str]:
    """Return labels that say how many times each repeated stage runs."""
    n_mapped, n_ranks = len(config.decomposition.n_components), len(config.ranks)
    selection = config.selection
    n_splits = selection.n_splits or f"each {selection.leave_out}"
    times = {
        **dict.fromkeys(("decompose", "maps", "figures"), n_mapped),
        "candidate": n_ranks - n_mapped,
        "halves": f"{n_ranks} x {n_splits}",
        "permuted": f"{n_ranks} x {selection.n_permutations}",
    }
    return {name: f"{name}\n{number} times" for name, number in times.items()}
