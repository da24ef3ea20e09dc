"""Figure of a workflow: boxes and arrows, from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import networkx as nx

from opnmf_pipeline.reporting.figure import BLUE, GREY, plain

__all__ = ["draw_graph"]

COLUMN_INCHES, ROW_INCHES = 1.9, 0.9


def draw_graph(edges: Iterable[tuple[str, str]], labels: Mapping[str, str], out_file: Path) -> Path:
    """Draw a directed graph without cycles.

    Parameters
    ----------
    edges : iterable of (str, str)
        From a node to a node that depends on it.
    labels : mapping of str to str
        Text in the box of a node; a node that is absent here shows its name.
    out_file : path
        Picture to write, in the format of its suffix (``.svg``, ``.png``, ``.pdf``).

    Returns
    -------
    path
        ``out_file``.
    """
    graph = nx.DiGraph(edges)
    for column, names in enumerate(nx.topological_generations(graph)):
        for name in names:
            graph.nodes[name]["column"] = column
    positions = nx.multipartite_layout(graph, subset_key="column")
    columns = nx.get_node_attributes(graph, "column").values()
    n_rows = max(list(columns).count(column) for column in set(columns))
    size = (COLUMN_INCHES * (max(columns) + 1), ROW_INCHES * (n_rows + 1))
    figure, axis = plt.subplots(figsize=size)
    axis.axis("off")
    axis.scatter(*zip(*positions.values(), strict=True), alpha=0)
    for start, end in graph.edges:
        axis.annotate(
            "",
            xy=positions[end],
            xytext=positions[start],
            arrowprops={"arrowstyle": "-|>", "color": GREY, "shrinkA": 32, "shrinkB": 34},
        )
    for name, position in positions.items():
        axis.text(
            position[0],
            position[1],
            plain(labels.get(name, name)),
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "#eaf1f8", "edgecolor": BLUE},
        )
    figure.savefig(out_file, bbox_inches="tight")
    plt.close(figure)
    return out_file
