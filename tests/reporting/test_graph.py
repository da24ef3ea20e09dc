from itertools import combinations, pairwise

import matplotlib.pyplot as plt
import networkx as nx
import pytest

from opnmf_pipeline.reporting.graph import _heights, _n_crossings, _ways, draw_graph

STUDY = [
    ("images", "mask"),
    ("images", "splits"),
    ("mask", "matrix"),
    *(("matrix", name) for name in ("decompose", "candidate", "halves", "permuted", "quality")),
    *((name, "select") for name in ("decompose", "candidate", "halves", "permuted")),
    ("splits", "halves"),
    ("decompose", "maps"),
    ("maps", "figures"),
    *((name, "report") for name in ("figures", "select", "quality")),
]


def placed(edges):
    """Return the straight lines of the picture, with the height of their ends."""
    ways = _ways(nx.DiGraph(edges))
    steps = nx.DiGraph(step for way in ways for step in pairwise(way))
    return steps, _heights(steps)


@pytest.mark.parametrize("order", [1, -1])
def test_no_lines_of_a_study_cross(order):
    steps, heights = placed(STUDY[::order])
    for (a, b), (c, d) in combinations(steps.edges, 2):
        if a[1] == c[1]:
            assert (heights[a] - heights[c]) * (heights[b] - heights[d]) >= 0


def test_an_arrow_bends_around_the_boxes_of_other_columns():
    ways = _ways(nx.DiGraph([("a", "b"), ("b", "c"), ("a", "c")]))
    bends = {(way[0][0], way[-1][0]): len(way) - 2 for way in ways}
    assert bends == {("a", "b"): 0, ("b", "c"): 0, ("a", "c"): 1}
    _, heights = placed([("a", "b"), ("b", "c"), ("a", "c")])
    assert len({(point[1], height) for point, height in heights.items()}) == len(heights)


def test_each_box_is_drawn_once(tmp_path):
    with plt.rc_context({"svg.fonttype": "none"}):
        picture = draw_graph(STUDY, {"halves": "halves\n6 times"}, tmp_path / "graph.svg")
    text = picture.read_text()
    assert [text.count(f">{name}<") for name in ("mask", "select", "6 times")] == [1, 1, 1]


def test_crossings_are_counted():
    steps, heights = placed([(start, end) for start in "abc" for end in "xyz"])
    assert _n_crossings(steps, heights) == 9  # of all pairs of starts and pairs of ends
