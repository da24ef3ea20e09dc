"""The stages of a run and what they need of each other."""

from __future__ import annotations

from typing import Any

import networkx as nx
from nipype.interfaces.utility import IdentityInterface

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.nipype import init_opnmf_wf

__all__ = ["workflow_edges"]


def workflow_edges(config: PipelineConfig) -> list[tuple[str, str]]:
    """Return the edges of the workflow, from a stage to those that wait for nothing else.

    Parameters
    ----------
    config : PipelineConfig
        Settings.

    Returns
    -------
    list of (str, str)
        Names of stages; the images are ``images``.
    """
    # Nipype has no public way to its graph but to write it to a file.
    graph = init_opnmf_wf(config)._graph
    names = {node: "images" if node.name == "inputnode" else node.name for node in graph}
    passing = [node for node in graph if isinstance(node.interface, IdentityInterface)]
    for node in passing:
        if names[node] != "images":
            _bridge(graph, node)
    reduced = nx.transitive_reduction(graph)
    return sorted((names[start], names[end]) for start, end in reduced.edges)


def _bridge(graph: nx.DiGraph, node: Any) -> None:
    """Take a node out that passes fields on, and join what its fields come from and go to."""
    for before, _, incoming in list(graph.in_edges(node, data="connect")):
        for _, after, outgoing in list(graph.out_edges(node, data="connect")):
            if passed := {field for _, field in incoming} & {field for field, _ in outgoing}:
                graph.add_edge(before, after, connect=[(field, field) for field in passed])
    graph.remove_node(node)
