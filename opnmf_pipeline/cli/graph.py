"""``opnmf-pipeline graph``."""

from __future__ import annotations

import argparse

from opnmf_pipeline.cli.parser import overrides
from opnmf_pipeline.config import PipelineConfig, load_config
from opnmf_pipeline.engines.graph import SPLIT, Graph
from opnmf_pipeline.engines.steps import steps_of
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
    graph = graph_of(config)
    draw_graph(graph.edges(), _labels(graph, config.selection.leave_out), out_file)
    print(out_file)


def graph_of(config: PipelineConfig) -> Graph:
    """Return the graph to draw: with ``leave_out``, any number of splits gives the same picture."""
    return Graph.of_steps(steps_of(config, 2 if config.selection.leave_out else None))


def _labels(graph: Graph, leave_out: str | None) -> dict[str, str]:
    """Return labels that say how many times each repeated step runs."""
    labels = {}
    for step in graph.steps:
        counts = [str(len(numbers)) for numbers in step.over.values()]
        if leave_out is not None and SPLIT in step.over:
            counts[-1] = f"each {leave_out}"
        if counts:
            times = "once" if step.n_runs == 1 else f"{' x '.join(counts)} times"
            labels[step.name] = f"{step.name}\n{times}"
    return labels
