"""The section of a report about one number of components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from opnmf_pipeline.reporting.captions import map_figures
from opnmf_pipeline.reporting.course import draw_course
from opnmf_pipeline.reporting.effects import draw_effects, effects_table, summarize_effects
from opnmf_pipeline.reporting.facts import FitFacts
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.loadings import draw_loadings
from opnmf_pipeline.reporting.measures import correlations, rows_of_measures
from opnmf_pipeline.reporting.reliability import (
    draw_reliability,
    reliability_sentence,
    reliability_table,
)
from opnmf_pipeline.reporting.tables import by_chance, parts_table, regions_table

__all__ = ["Section", "compose_section", "sentences_about_agreement"]

AGREEMENTS = {
    "start_": "Two random starts on all subjects",
    "": "Two parts of the cohort, each with a random start of its own,",
    "shared_start_": "Two parts of the cohort with a shared start",
}
"""What agrees in a pair of measures, by the beginning of the names of both measures."""


@dataclass(frozen=True)
class Section:
    """Section about one number of components.

    Attributes
    ----------
    n_components : int
        Number of components.
    facts : str
        Sentences about the result of the fit.
    maps : sequence of Figure
        Components and parts.
    parts : DataFrame
        Table of the components and their parts; the first column is their number.
    regions : DataFrame or None
        Regions of the atlas that have most of each component; None without an atlas.
    reliability : DataFrame or None
        Reproducibility, stability and size of each component; None if they are unknown.
    reliability_words : str
        What this table says, and what it is about; may be empty.
    stability : Figure or None
        Map of the stability.
    loadings : sequence of Figure
        Loadings, and their associations with covariates.
    correlations : DataFrame or None
        Correlation of the loadings of each pair of measures; None without several measures.
    effects : sequence of str
        Descriptions of these associations.
    associations : DataFrame or None
        Table of these associations; None if there are none.
    course : Figure or None
        Course of the fit.
    """

    n_components: int
    facts: str
    maps: Sequence[Figure]
    parts: pd.DataFrame
    regions: pd.DataFrame | None
    reliability: pd.DataFrame | None
    reliability_words: str
    stability: Figure | None
    loadings: Sequence[Figure]
    correlations: pd.DataFrame | None
    effects: Sequence[str]
    associations: pd.DataFrame | None
    course: Figure | None

    @property
    def figures(self) -> list[Figure]:
        """All pictures of the section."""
        return [*self.maps, *self.loadings, *filter(None, [self.stability, self.course])]


def compose_section(
    fit: FitFacts, measures: Mapping[str, Any], covariates: pd.DataFrame, *, figures: bool
) -> Section:
    """Return the texts, tables and pictures about a fit.

    Parameters
    ----------
    fit : FitFacts
        The fit.
    measures : mapping of str to object
        Measures of its number of components, by the columns of ``desc-opnmf_metrics.tsv``.
    covariates : DataFrame
        The covariates that are used, one row per subject; may have no column.
    figures : bool
        Draw the loadings and the course of the fit.
    """
    found = fit.reliability
    of_loadings = [
        _of_loadings(name, loadings, table, covariates, figures=figures)
        for name, loadings, table in _by_measure(fit)
    ]
    tables = [one.table for one in of_loadings if one.table is not None]
    return Section(
        n_components=fit.k,
        facts=" ".join([_sentence(fit), *sentences_about_agreement(measures)]),
        maps=map_figures(fit),
        parts=parts_table(fit),
        regions=None if fit.regions is None else regions_table(fit.regions),
        reliability=reliability_table(fit),
        reliability_words=reliability_sentence(found) if found else "",
        stability=draw_reliability(found) if found and figures else None,
        loadings=[figure for one in of_loadings for figure in one.figures],
        correlations=correlations(fit),
        effects=[words for one in of_loadings for words in one.words],
        associations=pd.concat(tables) if tables else None,
        course=draw_course(fit.info, fit.solver.tolerance) if figures else None,
    )


class _OfLoadings(NamedTuple):
    """Pictures of loadings, and the words and the table of their associations with covariates."""

    figures: list[Figure]
    words: list[str]
    table: pd.DataFrame | None


def _by_measure(fit: FitFacts) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Return the loadings of each measure and their associations, or of all rows without a name."""
    table = fit.associations.table if fit.associations else pd.DataFrame()
    if fit.measures is None:
        return [("", fit.loadings, table)]
    return [
        (name, fit.loadings.loc[rows], table[table["measure_id"] == name] if len(table) else table)
        for name, rows in rows_of_measures(fit).items()
    ]


def _of_loadings(
    name: str,
    loadings: pd.DataFrame,
    associations: pd.DataFrame,
    covariates: pd.DataFrame,
    *,
    figures: bool,
) -> _OfLoadings:
    effects = summarize_effects(associations) if len(associations) else []
    drawn = [draw_loadings(loadings, covariates.loc[loadings.index])] if figures else []
    if figures and effects:
        drawn.append(draw_effects(effects))
    table = effects_table(associations) if effects else None
    words = [effect.words for effect in effects]
    if name:
        drawn = [
            replace(one, alt=f"{name}: {one.alt}", caption=f"{name}: {one.caption}")
            for one in drawn
        ]
        words = [f"{name}: {text}" for text in words]
        if table is not None:
            table.insert(0, "images", name)
    return _OfLoadings(drawn, words, table)


def _sentence(fit: FitFacts) -> str:
    info = fit.info
    end = "converged" if info["Converged"] else "stopped without converging"
    explained = (
        f", which explains {fit.explained:.1%} of the variance about the mean of the subjects (R²; "
        f"{fit.explained_about_zero:.1%} about zero)"
        if np.isfinite(fit.explained)
        else ""
    )
    return (
        f"The fit {end} after {info['Iterations']} iterations with a reconstruction error of "
        f"{info['ReconstructionError']:.5g}{explained}. No "
        f"factorization into {fit.k} components can have an error below {info['LowerBound']:.5g}. "
        "The distance from a stationary point of the published update (KKT residual) is "
        f"{info['KKTResidual']:.1e}."
    )


def sentences_about_agreement(measures: Mapping[str, Any]) -> list[str]:
    """Return sentences about the agreement of starts and of parts of the cohort, where measured.

    Parameters
    ----------
    measures : mapping of str to object
        Measures of a number of components, by the columns of ``desc-opnmf_metrics.tsv``.
    """
    sentences = []
    for prefix, what in AGREEMENTS.items():
        cosine, ari = (prefix + name for name in ("inner_product", "label_ari"))
        if pd.notna(measures.get(cosine)) and pd.notna(measures.get(ari)):
            sentences.append(
                f"{what} agree by {measures[cosine]:.2f} (mean cosine of matched components"
                f"{by_chance(measures, cosine)}) and {measures[ari]:.2f} (adjusted Rand index of "
                f"the winner-takes-all maps{by_chance(measures, ari)})."
            )
    if any("by chance" in sentence for sentence in sentences):
        sentences.append("By chance means: for random parts of the same sizes.")
    return sentences
