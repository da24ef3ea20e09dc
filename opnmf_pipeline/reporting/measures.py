"""What a report says about several measures of each subject: its words, and a table of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from opnmf_pipeline.reporting.facts import Facts, FitFacts

__all__ = [
    "MeasuresSection",
    "compose_measures",
    "correlations",
    "describe_measures",
    "n_subjects_of",
    "rows_of_measures",
    "summarize_measures",
]

CITATION = re.compile(r" \[[a-z0-9, ]+\]")
SCALES = {
    "zscore": "From the values of each measure, their mean over {elements} and subjects was "
    "subtracted, and the result was divided by their standard deviation.",
    "zscore_voxel": "From the values of each measure in each {element}, their mean over subjects "
    "was subtracted, and the result was divided by their standard deviation.",
    "range": "The values of each measure were mapped linearly, the smallest to 0 and the largest "
    "to 1.",
    "none": "The values of the measures were not scaled.",
}
STACKS = {
    "subjects": "The matrices of the measures were joined along subjects [patel2020]: each subject "
    "has one column for each measure, all measures share the components, and each measure has "
    "loadings of its own.",
    "voxels": "The matrices of the measures were joined along {elements}: each component has a map "
    "for each measure, and each subject has one loading on each component.",
}
LEARNED = "Fits of parts of the cohort learned the scales of the measures from their own subjects."


class MeasuresSection(NamedTuple):
    """Section about the measures.

    Attributes
    ----------
    sentences : list of str
        How they were joined.
    table : DataFrame
        One row per measure.
    """

    sentences: list[str]
    table: pd.DataFrame


def n_subjects_of(fit: Mapping[str, Any]) -> int:
    """Return the number of subjects (or sessions) of a fit, who may have several columns each."""
    n, measures = int(fit["NumberOfSubjects"]), fit.get("Measures")
    return n if not measures or measures["Stack"] == "voxels" else n // len(measures["Names"])


def summarize_measures(names: Sequence[str], stack: str, scale: str) -> str:
    """Return one line about the measures that settings ask for."""
    return f"{', '.join(names)}: joined along {stack}, scale: {scale}"


def describe_measures(
    fit: Mapping[str, Any], element: str, elements: str, *, has_parts: bool = False
) -> str:
    """Return the paragraph of the methods section; empty for one measure.

    Parameters
    ----------
    fit : mapping
        Content of ``factorization.json``; before a run, without ``Shift``.
    element, elements : str
        Name of a place of the grid, singular and plural.
    has_parts : bool
        Whether parts of the cohort were fitted.
    """
    if "Measures" not in fit:
        return ""
    measures, words = fit["Measures"], {"element": element, "elements": elements}
    sentences = [SCALES[measures["Scale"]].format(**words), STACKS[measures["Stack"]]]
    if shift := fit.get("Shift"):
        sentences.append(
            f"The smallest value of the joined matrix, {shift:.4g}, was subtracted from all values."
        )
    return " ".join(sentences + [LEARNED] * has_parts).format(**words)


def compose_measures(facts: Facts) -> MeasuresSection | None:
    """Return the section about the measures; None if there is one measure."""
    info = facts.infos[0]
    if "Measures" not in info:
        return None
    measures, grid = info["Measures"], facts.grid
    text = describe_measures(info, grid.element, grid.elements)
    rows = []
    for name in measures["Names"]:
        first, stop = measures["Rows"][name]
        row = {
            "measure": name,
            "images": n_subjects_of(info),
            grid.elements: stop - first,
            "subtracted": f"{measures['Centers'][name]:.5g}",
            "divided by": f"{measures['Spreads'][name]:.5g}",
        }
        for fit in facts.fits:
            if fit.errors is not None and (of_measure := rows_of_measures(fit).get(name)):
                row[f"error, k = {fit.k}"] = f"{fit.errors.loc[of_measure].mean():.3f}"
        rows.append(row)
    return MeasuresSection([CITATION.sub("", text)], pd.DataFrame(rows))


def rows_of_measures(fit: FitFacts) -> dict[str, list[str]]:
    """Return the rows of the loadings that belong to each measure; empty without measures."""
    if fit.measures is None:
        return {}
    rows = pd.Series(fit.loadings.index, index=list(fit.measures))
    return {str(name): rows.loc[[name]].tolist() for name in dict.fromkeys(fit.measures)}


def correlations(fit: FitFacts) -> pd.DataFrame | None:
    """Return the correlation of the loadings of each pair of measures, one row per component.

    None if the measures do not have loadings of their own.
    """
    rows = rows_of_measures(fit)
    if not rows:
        return None
    values = {name: fit.loadings.loc[found].to_numpy() for name, found in rows.items()}
    names = list(values)
    table: dict[str, Any] = {"component": range(1, fit.k + 1)}
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            pairs = zip(values[first].T, values[second].T, strict=True)
            table[f"{first} and {second}"] = [f"{_correlation(a, b):.2f}" for a, b in pairs]
    return pd.DataFrame(table)


def _correlation(a: Any, b: Any) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) > 0 and np.ptp(b) > 0 else float("nan")
