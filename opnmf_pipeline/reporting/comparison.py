"""The report of a comparison of models: matrices of overlaps, and parts beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from opnmf_pipeline.reporting.figure import ORANGE, STYLE, Figure, plain, png
from opnmf_pipeline.reporting.page import MAX_ROWS, embedded_pictures, environment

__all__ = ["ComparisonFacts", "PairFacts", "draw_overlaps", "render_comparison"]

TEMPLATE = "comparison.html.jinja"
CELL_INCHES = 0.22
SMALLEST_INCHES = 2.6
LARGEST_INCHES = 9.0
MAX_TICKS = 60
"""With more components, their numbers would run into each other."""
MAX_NUMBERS = 12
"""With more components of A, shares are not written into the cells."""
CLOSE = 2.0
"""An agreement below the mean by chance plus so many standard deviations is no evidence."""


@dataclass(frozen=True)
class PairFacts:
    """Two models.

    Attributes
    ----------
    name_a, name_b : str
        Names of the models.
    measures : mapping of str to float
        Agreement, and agreement by chance if it is known; see
        :func:`opnmf_pipeline.selection.comparison.compare_components`.
    matches, overlaps : DataFrame
        Tables of this function.
    parts : sequence of Figure
        Pictures of the parts of A, and of B with the colours of their partners.
    """

    name_a: str
    name_b: str
    measures: Mapping[str, float]
    matches: pd.DataFrame
    overlaps: pd.DataFrame
    parts: Sequence[Figure]


@dataclass(frozen=True)
class ComparisonFacts:
    """Content of the report of a comparison.

    Attributes
    ----------
    models : DataFrame
        The models, one per row.
    grid : str
        Grid of the comparison.
    elements : str
        What the rows of the components are, such as ``voxels``.
    n_rows : int
        Number of rows that all models have.
    n_null : int
        Number of random pairs.
    measures : mapping of str to str
        Description of each measure.
    messages : sequence of str
        Messages about the models.
    pairs : sequence of PairFacts
        All pairs.
    versions : mapping of str to str
        Versions of the libraries.
    """

    models: pd.DataFrame
    grid: str
    elements: str
    n_rows: int
    n_null: int
    measures: Mapping[str, str]
    messages: Sequence[str]
    pairs: Sequence[PairFacts]
    versions: Mapping[str, str]


@dataclass(frozen=True)
class _Section:
    pair: PairFacts
    sentences: Sequence[str]
    measures: pd.DataFrame
    matrix: Figure


def render_comparison(facts: ComparisonFacts) -> str:
    """Return the report as one self-contained HTML page; all texts from files are escaped.

    Parameters
    ----------
    facts : ComparisonFacts
        What was compared.
    """
    sections = [
        _Section(
            pair=pair,
            sentences=_sentences(pair),
            measures=_measures(pair.measures, facts.measures),
            matrix=draw_overlaps(pair),
        )
        for pair in facts.pairs
    ]
    pictures = [one for section in sections for one in (section.matrix, *section.pair.parts)]
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            tiles={
                "Models": str(len(facts.models)),
                f"Common {facts.elements}": f"{facts.n_rows:,}".replace(",", "\u202f"),
                "Random pairs": str(facts.n_null),
            },
            sections=sections,
            pictures=embedded_pictures(pictures),
            max_rows=MAX_ROWS,
        )
    )


def _measures(measures: Mapping[str, float], known: Mapping[str, str]) -> pd.DataFrame:
    columns = {"measure": list(known.values()), "value": [measures[name] for name in known]}
    if all(f"{name}_null" in measures for name in known):
        columns["by chance"] = [measures[f"{name}_null"] for name in known]
        columns["SD by chance"] = [measures[f"{name}_null_sd"] for name in known]
    return pd.DataFrame(columns)


def _sentences(pair: PairFacts) -> list[str]:
    """Say which parts of A are split in B, and which matches are not better than by chance."""
    matches = pair.matches
    counts = matches["parent"].value_counts().sort_index()
    split = [
        f"component {parent} ({_listed(matches.loc[matches['parent'] == parent, 'component_b'])})"
        for parent in counts[counts > 1].index
    ]
    sentences = []
    if split:
        sentences.append(
            f"Components of {pair.name_a} that contain the largest share of several components of "
            f"{pair.name_b}: {', '.join(split)}."
        )
    else:
        sentences.append(f"No component of {pair.name_a} is split in {pair.name_b}.")
    if "cosine_null" in matches:
        known = matches.dropna(subset="cosine")
        low = known["cosine"] < known["cosine_null"] + CLOSE * known["cosine_null_sd"]
        if low.any():
            sentences.append(
                f"Components of {pair.name_b} whose match is not clearly better than by chance "
                f"(less than {CLOSE:g} standard deviations above it): "
                f"{_listed(known.loc[low, 'component_b'])}."
            )
    return sentences


def _listed(numbers: pd.Series[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def draw_overlaps(pair: PairFacts) -> Figure:
    """Draw the cosines and the shares of all components of two models, in matched order.

    Parameters
    ----------
    pair : PairFacts
        Two models.
    """
    order = pair.matches["component_b"].to_numpy()
    cosines, shares = (_matrix(pair.overlaps, column, order) for column in ("cosine", "share_of_b"))
    k_a, k_b = cosines.shape
    width = float(np.clip(CELL_INCHES * k_b, SMALLEST_INCHES, LARGEST_INCHES / 2))
    height = float(np.clip(CELL_INCHES * k_a, SMALLEST_INCHES, LARGEST_INCHES))
    partners = {
        int(a) - 1: column for column, a in enumerate(pair.matches["component_a"]) if not pd.isna(a)
    }
    titles = {
        "cosine": "Cosine",
        "share_of_b": "Share of each part of B in each part of A",
    }
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axes = plt.subplots(1, 2, figsize=(2 * width + 1.8, height + 1.1), squeeze=False)
        for axis, values, title in zip(axes[0], (cosines, shares), titles.values(), strict=True):
            image = axis.imshow(values, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            for row, column in partners.items():
                axis.add_patch(
                    Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=1.4)
                )
            _label(axis, values, order)
            axis.set_title(title)
            axis.set_xlabel(plain(f"components of B: {pair.name_b}"))
        axes[0][0].set_ylabel(plain(f"components of A: {pair.name_a}"))
        figure.colorbar(image, ax=list(axes[0]), shrink=0.8, pad=0.02)
        content = png(figure)
    return Figure(
        content,
        alt=f"Two matrices of {k_a} times {k_b} components: cosines, and shares of the parts of "
        f"{pair.name_b} in the parts of {pair.name_a}",
        caption="Left: cosine of each component of A and each component of B. Right: share of each "
        "part of B (column) in each part of A (row); a row with several dark cells is a part of A "
        "that is split in B. Frames: matched components. Components of B are in the order of their "
        "partners and parents in A.",
    )


def _matrix(overlaps: pd.DataFrame, column: str, order: NDArray[np.int64]) -> NDArray[np.float64]:
    table = overlaps.pivot(index="component_a", columns="component_b", values=column)
    values: NDArray[np.float64] = table[order].to_numpy()
    return values


def _label(axis: Axes, values: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Write the numbers of the components, and the values if there is space."""
    k_a, k_b = values.shape
    for ticks, names in (
        (axis.set_xticks, order),
        (axis.set_yticks, np.arange(1, k_a + 1)),
    ):
        step = -(-len(names) // MAX_TICKS)
        ticks(np.arange(0, len(names), step), [str(name) for name in names[::step]], fontsize=7)
    if max(k_a, k_b) <= MAX_NUMBERS:
        for (row, column), value in np.ndenumerate(values):
            if value >= 0.01:
                colour = "white" if value > 0.6 else "black"
                axis.text(
                    column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center",
                    fontsize=6, color=colour,
                )  # fmt: skip
