"""The content of a page about a run: words, tables and pictures, before they become HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from opnmf_pipeline.reporting.attention import attention
from opnmf_pipeline.reporting.captions import selection_figures
from opnmf_pipeline.reporting.facts import Facts, QualityFacts, Viewer
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.head import choice, lead, tiles, title
from opnmf_pipeline.reporting.methods import Methods, describe_methods
from opnmf_pipeline.reporting.outliers import find_outliers
from opnmf_pipeline.reporting.quality import draw_cohort_maps, draw_errors
from opnmf_pipeline.reporting.section import Section, compose_section
from opnmf_pipeline.reporting.tables import Measure, images_table, measures, subjects_table

__all__ = ["Page", "compose_page"]


@dataclass(frozen=True)
class Page:
    """Everything that the page shows; empty items are left out.

    Attributes
    ----------
    title, lead : str
        Heading, and what was run.
    facts : mapping of str to str
        The main numbers, by name.
    choice : str
        Which number of components was chosen, and why.
    chosen : int or None
        That number.
    attention : sequence of str
        What needs attention, a sentence each.
    ks : sequence of int
        Numbers of components that ``measures`` have values for.
    measures : sequence of Measure
        Rows of their comparison.
    selection : sequence of Figure
        Curves over the numbers of components.
    viewer : Viewer or None
        Interactive view of the components; None where their space has none.
    sections : sequence of Section
        One per number of components.
    quality : sequence of Figure
        Pictures of the cohort.
    subjects : DataFrame or None
        Quality of the image of each subject.
    methods : Methods
        Text to paste.
    runs : sequence of dict
        When and how the results were computed.
    versions : mapping of str to str
        Versions of the software that computed them.
    inputs : DataFrame or None
        The images, with their hashes.
    settings : str
        YAML that a run can start from.
    """

    title: str
    lead: str
    facts: Mapping[str, str]
    choice: str
    chosen: int | None
    attention: Sequence[str]
    ks: Sequence[int]
    measures: Sequence[Measure]
    selection: Sequence[Figure]
    viewer: Viewer | None
    sections: Sequence[Section]
    quality: Sequence[Figure]
    subjects: pd.DataFrame | None
    methods: Methods
    runs: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]
    inputs: pd.DataFrame | None
    settings: str


def compose_page(facts: Facts, *, figures: bool) -> Page:
    """Put the facts about a run into words, tables and pictures.

    Parameters
    ----------
    facts : Facts
        What was read and computed.
    figures : bool
        Draw pictures of loadings, courses and the cohort, which takes seconds for each k.
    """
    settings = yaml.safe_load(facts.settings) or {}
    selection, quality = facts.selection, facts.quality
    return Page(
        title=title(settings),
        lead=lead(facts),
        facts=tiles(facts),
        choice=choice(facts),
        chosen=selection.chosen,
        attention=attention(facts),
        ks=selection.ks,
        measures=measures(selection.metrics, selection.descriptions),
        selection=selection_figures(selection),
        viewer=facts.viewer,
        sections=[compose_section(fit, facts.covariates, figures=figures) for fit in facts.fits],
        quality=_draw_quality(quality, facts.errors) if quality and figures else [],
        subjects=subjects_table(quality.subjects, facts.errors) if quality else None,
        methods=describe_methods(
            [fit.info for fit in facts.fits],
            settings,
            facts.voxel_sizes,
            selection.choice or None,
            qualified=quality is not None,
        ),
        runs=facts.runs,
        versions=facts.fits[0].info["Versions"],
        inputs=images_table(facts.images),
        settings=facts.settings,
    )


def _draw_quality(quality: QualityFacts, errors: pd.DataFrame) -> list[Figure]:
    maps = {
        "Mean of the subjects": quality.mean,
        "Standard deviation over the subjects": quality.sd,
        "Coverage: share of the subjects with data": quality.coverage,
    }
    return [draw_cohort_maps(maps, quality.mask), draw_errors(errors, find_outliers(errors))]
