"""The head of a report: title, description of the run, main numbers and chosen k."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from opnmf_pipeline.reporting.change import describe_change
from opnmf_pipeline.reporting.facts import Facts

__all__ = ["choice", "lead", "tiles", "title"]

TITLE = "Components of structural covariance"


def title(settings: Mapping[str, Any]) -> str:
    """Return the heading, with the name of the dataset if the settings have one."""
    inputs = settings.get("inputs", {})
    if inputs.get("simulation"):
        return f"{TITLE}: simulated cohort"
    features = (inputs.get("features") or [None])[0]
    sources = (*(inputs.get(key) for key in ("bids", "table", "glob")), features)
    named = next(filter(None, sources), "")
    return f"{TITLE}: {name}" if (name := Path(named).name) else TITLE


def lead(facts: Facts) -> str:
    """Return the paragraph that describes the run."""
    ks = [str(k) for k in facts.ks]
    listed = " and ".join(filter(None, [", ".join(ks[:-1]), ks[-1]]))
    about = describe_change(facts.infos[0])
    text = (
        f"{_cohort(facts)} were factorized into {listed} components by orthonormal "
        "projective non-negative matrix factorization (OPNMF). Each component is a set of regions "
        "whose values vary together across subjects."
        + (f" {about}" if about else "")
        + _mask(facts)
    )
    if not facts.fits:
        text += " This page compares the numbers of components. A comparison writes no maps."
    return text


def _cohort(facts: Facts) -> str:
    """Return what was factorized."""
    what, people = _columns(facts), _people(facts)
    if "Measures" in facts.infos[0]:
        return f"{what} of {people}"
    n, what = facts.infos[0]["NumberOfVoxels"], what[0].lower() + what[1:]
    text = facts.grid.words.cohort.format(n=n, what=what, people=people)
    return text[0].upper() + text[1:]


def _columns(facts: Facts) -> str:
    """Return what the columns of the matrix are."""
    change, measures = facts.infos[0].get("Change"), facts.infos[0].get("Measures")
    if measures is not None:
        return f"{len(measures['Names'])} measures ({', '.join(measures['Names'])})"
    words = facts.grid.words
    return (words.data if change is None else words.changes).capitalize()


def _mask(facts: Facts) -> str:
    space = (
        " The images were taken to be in MNI152 space, as their file names, headers or grid say."
        if facts.in_standard_space
        else ""
    )
    rule = f" The analysis mask contains the {facts.grid.elements} with {facts.mask}."
    return space + (rule if facts.mask else "")


def tiles(facts: Facts) -> dict[str, str]:
    """Return the main numbers by their names."""
    info, chosen = facts.infos[0], facts.selection.chosen
    ends = (facts.explained[0], facts.explained[-1])
    explained = " to ".join(dict.fromkeys(f"{share:.1%}" for share in ends if np.isfinite(share)))
    sizes = " x ".join(f"{size:g}" for size in facts.grid.spacing)
    elements = facts.grid.elements.capitalize()
    return {
        _columns(facts): _people(facts),
        f"{elements} of {sizes} mm" if sizes else elements: f"{info['NumberOfVoxels']:,}".replace(
            ",", "\u202f"
        ),
        "Components (k)": ", ".join(map(str, facts.ks)),
        **(
            {"k by convention" if facts.selection.flat else "Chosen k": str(chosen)}
            if chosen
            else {}
        ),
        **({"R² about the mean": explained} if explained else {}),
        "Solver": facts.solver.label,
    }


def choice(facts: Facts) -> str:
    """Return a sentence with the chosen number of components and its reason.

    Without a choice, the sentence says so; with a single k it is empty. No other part of the page
    repeats the reason.
    """
    made = facts.selection.choice
    if facts.selection.flat:
        return f"k = {made['k']} is a convention, not a finding. {made['reason']}"
    if made.get("k"):
        return f"Chosen: {made['k']} components. {made['reason']}"
    if made:
        return f"No number of components was chosen. {made['reason']}"
    if len(facts.infos) > 1:
        return (
            "No number of components was chosen in this run: results for every k are shown. "
            "Set selection.n_splits to measure how well the components of each k reproduce."
        )
    return ""


def _people(facts: Facts) -> str:
    sessions = f"{facts.n_sessions} sessions of " if facts.n_sessions is not None else ""
    return f"{sessions}{facts.n_subjects} subjects"
