"""Figure of a workflow: boxes and arrows, from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from statistics import fmean

import matplotlib.pyplot as plt
import networkx as nx

from opnmf_pipeline.reporting.figure import BLUE, GREY, plain

__all__ = ["draw_graph"]

COLUMN_INCHES, ROW_INCHES = 1.9, 0.9
N_SWEEPS, SWEEPS_PER_START = 100, 5

Point = tuple[str, int]
"""A box, or the bend of an arrow: its name and its column."""


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
    ways = _ways(nx.DiGraph(edges))
    heights = _heights(nx.DiGraph(step for way in ways for step in pairwise(way)))
    n_columns = 1 + max(column for _, column in heights)
    n_rows = 1 + max(heights.values()) - min(heights.values())
    figure, axis = plt.subplots(figsize=(COLUMN_INCHES * n_columns, ROW_INCHES * (n_rows + 1)))
    axis.axis("off")
    axis.set(
        xlim=(-0.5, n_columns - 0.5), ylim=(min(heights.values()) - 1, max(heights.values()) + 1)
    )
    boxes = {
        end: axis.text(
            end[1],
            heights[end],
            plain(labels.get(end[0], end[0])),
            ha="center",
            va="center",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "#eaf1f8", "edgecolor": BLUE},
        ).get_bbox_patch()
        for end in dict.fromkeys(end for way in ways for end in (way[0], way[-1]))
    }
    for way in ways:
        points = [(point[1], heights[point]) for point in way]
        axis.plot(*zip(*points[:-1], strict=True), color=GREY, linewidth=1, zorder=1)
        axis.annotate(
            "",
            xy=points[-1],
            xytext=points[-2],
            arrowprops={
                "arrowstyle": "-|>",
                "color": GREY,
                "patchA": boxes.get(way[-2]),
                "patchB": boxes[way[-1]],
                "shrinkA": 0,
                "shrinkB": 1,
            },
            zorder=4,  # after the boxes, whose sizes are known when they have been drawn
        )
    figure.savefig(out_file, bbox_inches="tight")
    plt.close(figure)
    return out_file


def _ways(graph: nx.DiGraph) -> list[list[Point]]:
    """Return the points of each arrow, one in each column: its ends, and bends between them."""
    generations = enumerate(nx.topological_generations(graph))
    column = {name: number for number, names in generations for name in names}
    return [
        [
            (start, column[start]),
            *((f"{start} {end}", number) for number in range(column[start] + 1, column[end])),
            (end, column[end]),
        ]
        for start, end in graph.edges
    ]


def _heights(steps: nx.DiGraph) -> dict[Point, float]:
    """Return the height of each point, so that few lines between adjacent columns cross.

    In turn from the left and from the right, the points of each column are sorted by the mean
    height of their neighbours in the column before (Sugiyama's method), from several random
    starts.
    """
    columns = [sorted(points) for points in nx.topological_generations(steps)]
    random, found = Random(0), []  # noqa: S311 (a layout, no secret)
    for sweep in range(N_SWEEPS):
        if sweep % SWEEPS_PER_START == 0:
            for points in columns:
                random.shuffle(points)
            heights = {point: height for points in columns for point, height in _stacked(points)}
        neighbours = steps.successors if sweep % 2 else steps.predecessors
        for points in columns[::-1] if sweep % 2 else columns:
            means = {
                point: fmean([heights[one] for one in neighbours(point)] or [heights[point]])
                for point in points
            }
            points.sort(key=means.__getitem__)
            heights.update(_stacked(points))
        found.append(dict(heights))
    return min(found, key=lambda heights: _n_crossings(steps, heights))


def _stacked(points: Sequence[Point]) -> Iterator[tuple[Point, float]]:
    return ((point, row - (len(points) - 1) / 2) for row, point in enumerate(points))


def _n_crossings(steps: nx.DiGraph, heights: Mapping[Point, float]) -> int:
    return sum(
        (heights[a] - heights[c]) * (heights[b] - heights[d]) < 0
        for (a, b), (c, d) in combinations(steps.edges, 2)
        if a[1] == c[1]
    )
