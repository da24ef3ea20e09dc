"""What a report says about the adjustment of the matrix: its words, and a table of what is left."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from opnmf_pipeline.config import GLOBAL
from opnmf_pipeline.reporting.facts import AdjustmentFacts

__all__ = ["AdjustmentSection", "compose_adjustment", "describe_adjustment"]

CITATION = re.compile(r" \[[a-z0-9, ]+\]")
LEARNED = (
    "Fits of parts of the cohort, such as split halves, learned the adjustment from their own "
    "subjects; for errors out of sample, it was applied to the other subjects."
)
NEGATIVE = {
    "clip": "and were set to 0",
    "shift": "before the smallest value was subtracted from all values",
}
LEFT = (
    "The adjustment removes linear effects from every voxel. Associations of the loadings with a "
    "column whose effects were removed show only what is left, and their p-values do not mean that "
    "the column is unrelated to the brain."
)


class AdjustmentSection(NamedTuple):
    """Section about the adjustment.

    Attributes
    ----------
    sentences : list of str
        What was done.
    table : DataFrame
        One row per column of the participants table: the variance that it explains.
    loadings : DataFrame
        One row per component: the variance of its loadings that each column explains.
    """

    sentences: list[str]
    table: pd.DataFrame
    loadings: pd.DataFrame


def compose_adjustment(facts: AdjustmentFacts | None) -> AdjustmentSection | None:
    """Return the section about the adjustment; None if the matrix was not adjusted.

    Parameters
    ----------
    facts : AdjustmentFacts or None
        What was adjusted, and what is left.
    """
    if facts is None:
        return None
    rows = [
        {
            "column": _named(name),
            "voxels before": f"{found['Before']:.1%}",
            "voxels after": f"{found['After']:.1%}",
            **{
                f"k = {k} {when.lower()}": f"{max(shares):.1%}"
                for k, explained in facts.loadings.items()
                for when, shares in explained.get(name, {}).items()
            },
        }
        for name, found in facts.record["MedianR2"].items()
    ]
    done = [CITATION.sub("", text) for text in _sentences(facts.record["Settings"])]
    sentences = [*done, _negative(facts.record), LEFT]
    return AdjustmentSection(sentences, pd.DataFrame(rows), _of_components(facts))


def _of_components(facts: AdjustmentFacts) -> pd.DataFrame:
    tables = []
    for k, explained in facts.loadings.items():
        columns = {
            f"{_named(name)} {when.lower()}": [f"{share:.1%}" for share in shares]
            for name, found in explained.items()
            for when, shares in found.items()
        }
        numbers = range(1, k + 1)
        tables.append(pd.DataFrame({"k": k, "component": numbers, **columns}))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _named(column: str) -> str:
    return "mean of the image" if column == GLOBAL else column


def describe_adjustment(
    fit: Mapping[str, Any], matrix: Mapping[str, Any], *, has_parts: bool
) -> str:
    """Return the paragraph of the methods section; empty if the matrix is not adjusted.

    Parameters
    ----------
    fit : mapping
        Content of ``factorization.json``; before a run, without ``Adjustment``.
    matrix : mapping
        Section ``matrix`` of the settings.
    has_parts : bool
        Whether parts of the cohort were fitted.
    """
    record = fit.get("Adjustment", {})
    sentences = _sentences(record.get("Settings", matrix))
    if not sentences:
        return ""
    if record:
        sentences.append(_negative(record))
    return " ".join(sentences + [LEARNED] * has_parts)


def _negative(record: Mapping[str, Any]) -> str:
    n, share = record["NumberOfNegativeValues"], record["ShareOfNegativeValues"]
    if not n:
        return "No adjusted value was negative."
    return f"{n:,} adjusted values ({share:.2%}) were negative {NEGATIVE[record['Negative']]}."


def _sentences(settings: Mapping[str, Any]) -> list[str]:
    scale, harmonize = settings.get("scale"), settings.get("harmonize")
    removed, kept = settings.get("covariates"), settings.get("keep")
    found = []
    if scale and scale.get("method", "proportional") == "proportional":
        size = _size(scale["by"])
        found.append(
            f"Each subject's values were divided by {size} and multiplied by its mean over the "
            "subjects."
        )
    elif scale:
        removed = " + ".join(filter(None, [removed, scale["by"]]))
    if harmonize:
        protected = harmonize.get("covariates") or removed
        terms = " + ".join(filter(None, [protected, kept]))
        effects = f"; the effects of {terms} were in its model and kept" if terms else ""
        found.append(
            f"Differences in location and scale between the batches of {harmonize['batch']} were "
            "removed from every voxel with ComBat [johnson2007, fortin2017, fortin2018], empirical "
            f"Bayes with parametric priors{effects}."
        )
    if removed:
        interest = f"; the effects of {kept} were in the model and kept" if kept else ""
        found.append(
            f"The effects of {removed}, in Wilkinson notation [wilkinson1973], were removed from "
            f"every voxel by least squares, and the mean of the voxel was kept{interest}."
        )
    return found


def _size(column: str) -> str:
    return "the mean of the image in the mask" if column == GLOBAL else column
