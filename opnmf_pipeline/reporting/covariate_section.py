"""The section of a report about its covariates: which are used, in which models, and which not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from opnmf_pipeline.reporting.associations import ADJUSTED
from opnmf_pipeline.reporting.covariates import NUMERIC
from opnmf_pipeline.reporting.facts import AssociationFacts

__all__ = ["CovariateSection", "compose_covariates"]

READING = (
    "The models describe this cohort: an association is not a cause, and the strongest of many "
    "effects is overestimated. The adjusted effect of a covariate is its effect at equal values of "
    "the other covariates in the model."
)


@dataclass(frozen=True)
class CovariateSection:
    """Section about the covariates.

    Attributes
    ----------
    used : sequence of str
        The covariates, each with its type and reference.
    notes : sequence of str
        Paragraphs about the models.
    unused : DataFrame or None
        The other columns of the participants table, each with the reason; None if there are none.
    """

    used: Sequence[str]
    notes: Sequence[str]
    unused: pd.DataFrame | None


def compose_covariates(facts: AssociationFacts | None) -> CovariateSection | None:
    """Return the section, or None if there are no covariates to choose from.

    Parameters
    ----------
    facts : AssociationFacts or None
        Associations of the loadings with covariates; None if they were not measured.
    """
    if facts is None or not (facts.covariates or facts.unused):
        return None
    used = [f"{name}: {_kind(about)}" for name, about in facts.covariates.items()]
    unused = pd.DataFrame({"column": list(facts.unused), "reason": list(facts.unused.values())})
    notes = [_models(facts), READING, *facts.notes] if used else []
    return CovariateSection(used, notes, None if unused.empty else unused)


def _kind(about: Mapping[str, Any]) -> str:
    if about["Type"] == NUMERIC:
        return "numeric"
    return f"{len(about['Levels'])} levels ({', '.join(about['Levels'])}); reference: " + str(
        about["Reference"]
    )


def _models(facts: AssociationFacts) -> str:
    adjusted = facts.table[facts.table["model"] == ADJUSTED]
    simple = "A linear model for each component and covariate contains this covariate only (simple)"
    if adjusted.empty:
        return f"{simple}."
    names = adjusted["covariate"].unique()
    n = adjusted["n"].iloc[0]
    return (
        f"{simple}. One more model for each component contains {', '.join(names)} together "
        f"(adjusted; n = {n})."
    )
