"""Draw the map of the package: which folder imports which, from the import statements.

Usage: python scripts/draw_map.py MAP.svg

A folder stands above all folders that it imports from. Folders that nearly every other one uses
(settings, names of files, messages) are left out. docs/conf.py calls :func:`draw`.
"""

import ast
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import networkx as nx

PACKAGE = Path(__file__).parents[1] / "opnmf_pipeline"
USED_EVERYWHERE = {"config", "dataset"}


def rooms() -> nx.DiGraph:
    """Return the folders of the package with their numbers of modules and lines, and imports."""
    graph = nx.DiGraph()
    for folder in sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        if folder.name in USED_EVERYWHERE:
            continue
        sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
        n_lines = sum(len(source.splitlines()) for source in sources)
        graph.add_node(folder.name, modules=len(sources), lines=n_lines)
        for source in sources:
            graph.add_edges_from((folder.name, other) for other in _imported(source))
    graph.remove_edges_from(nx.selfloop_edges(graph))
    return nx.subgraph_view(graph, filter_node=lambda name: "lines" in graph.nodes[name])


def _imported(source: str) -> set[str]:
    """Return the folders of the package from which a module imports."""
    modules = [
        node.module.split(".")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    return {parts[1] for parts in modules if parts[0] == PACKAGE.name and len(parts) > 1}


def draw(out_file: Path) -> None:
    """Draw the folders in layers. Arrows that follow from others are left out."""
    graph = rooms()
    arrows = nx.transitive_reduction(graph)
    row_of = {
        name: row for row, layer in enumerate(nx.topological_generations(graph)) for name in layer
    }
    # One that no other imports stands just above what it imports: its arrow crosses no folder
    for top in (name for name in graph if not graph.in_degree(name)):
        row_of[top] = min(row_of[other] for other in graph.successors(top)) - 1
    layers = [
        [name for name in graph if row_of[name] == row] for row in range(max(row_of.values()) + 1)
    ]
    place = {
        name: ((number + 0.5) / len(layer), -row)
        for row, layer in enumerate(layers)
        for number, name in enumerate(sorted(layer))
    }
    fig, axis = plt.subplots(figsize=(7, 0.95 * len(layers)))
    boxes = {}
    for name, (x, y) in place.items():
        modules, lines = graph.nodes[name]["modules"], graph.nodes[name]["lines"]
        text = f"{name}\n{modules} modules, {lines:,} lines"
        style = {"boxstyle": "round,pad=0.4", "facecolor": "#e8f0fa", "edgecolor": "#4a74a8"}
        label = axis.text(x, y, text, ha="center", va="center", fontsize=9, bbox=style)
        boxes[name] = label.get_bbox_patch()
    fig.canvas.draw()  # gives the boxes their sizes, at which arrows begin and end
    for start, end in arrows.edges:
        ends = {"patchA": boxes[start], "patchB": boxes[end]}
        style = {"arrowstyle": "-|>", "color": "0.4", "mutation_scale": 14, **ends}
        axis.annotate("", place[end], place[start], arrowprops=style)
    axis.set(xlim=(0, 1), ylim=(0.5 - len(layers), 0.5))
    axis.axis("off")
    with mpl.rc_context({"svg.hashsalt": "map"}):  # the same bytes for the same code
        fig.savefig(out_file, bbox_inches="tight", metadata={"Date": None})
    plt.close(fig)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
