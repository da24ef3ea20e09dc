"""The stages of a run and what they need of each other."""

from __future__ import annotations

from typing import Any

import networkx as nx
from nipype.interfaces.utility import IdentityInterface

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.nipype import PASSING, init_opnmf_wf

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
    n_splits = 2 if config.selection.leave_out else None  # any number looks alike
    graph = init_opnmf_wf(config, n_splits=n_splits)._graph
    names = {node: "images" if node.name == "inputnode" else node.name for node in graph}
    passing = [node for node in graph if isinstance(node.interface, PASSING)]
    for node in passing:
        if names[node] != "images":
            _bridge(graph, node)
    reduced = nx.transitive_reduction(graph)
    return sorted((names[start], names[end]) for start, end in reduced.edges)


def _bridge(graph: nx.DiGraph, node: Any) -> None:
    """Take a node out that passes fields on, and join what its fields come from and go to."""
    mixes = not isinstance(node.interface, IdentityInterface)
    for before, _, incoming in list(graph.in_edges(node, data="connect")):
        for _, after, outgoing in list(graph.out_edges(node, data="connect")):
            passed = [
                (source, target)
                for source, taken in incoming
                for given, target in outgoing
                if mixes or taken == given
            ]
            if passed:
                graph.add_edge(before, after, connect=passed)
    graph.remove_node(node)
