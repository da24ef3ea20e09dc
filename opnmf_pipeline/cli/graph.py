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
    """Draw the workflow that the settings lead to."""
    out_file = args.picture
    if out_file.suffix not in FORMATS:
        raise ConfigError(f"--output: {out_file}: expected a name ending in {', '.join(FORMATS)}")
    config = load_config(args.config, overrides(args))
    draw_graph(workflow_edges(config), _labels(config), out_file)
    print(out_file)


def _labels(config: PipelineConfig) -> dict[str, str]:
    """Say how often the stages run that fan out."""
    ks = config.decomposition.n_components
    n_halves = 2 * config.selection.n_splits * len(ks)
    per_k = {name: f"{name}\n{len(ks)} times" for name in ("decompose", "maps", "figures")}
    return {**per_k, "half_fit": f"half_fit\n{n_halves} times"}
