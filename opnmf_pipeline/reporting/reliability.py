"""What a report says about the reliability of components: a table, a picture, and sentences."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd

from opnmf_pipeline.reporting.facts import FitFacts, ReliabilityFacts
from opnmf_pipeline.reporting.figure import Figure

__all__ = [
    "draw_reliability",
    "reliability_sentence",
    "reliability_table",
    "sentences_about_reliability",
]

YES, NO, UNCLEAR = "yes", "no", "unclear"
"""Values of the column ``reproduced`` of the table of the stage ``reliability``."""
N_NAMED = 8
CHANCE = (
    "By chance means: for random parts of the same sizes, compact ones if places are known. This "
    "is a low bar: a component above it can still have other borders in other subjects."
)


def reliability_sentence(found: ReliabilityFacts) -> str:
    """Return sentences that count the components that both parts of the splits show.

    Parameters
    ----------
    found : ReliabilityFacts
        Reliability of the components of a fit.
    """
    resamples = f"Stability and the intervals of sizes come from fits of {found.resamples}."
    if found.n_splits < 2 or found.table["reproduced"].isna().all():
        return resamples
    n = {verdict: len(found.verdicts(verdict)) for verdict in (YES, UNCLEAR, NO)}
    return (
        f"Of {len(found.table)} components, {n[YES]} {'is' if n[YES] == 1 else 'are'} reproduced "
        f"over {found.n_splits} splits: the interval of the Dice coefficient between two parts of "
        f"the cohort is above the interval that is expected by chance. For {n[NO]}, it is not even "
        f"above the mean of chance. The other {n[UNCLEAR]} {'is' if n[UNCLEAR] == 1 else 'are'} "
        f"unclear. {CHANCE} {resamples}"
    )


def reliability_table(fit: FitFacts) -> pd.DataFrame | None:
    """Return reproducibility, stability and size of each component; None if they are unknown."""
    if fit.reliability is None:
        return None
    table, volumes = fit.reliability.table, fit.reliability.size_units == "mm^3"
    units, scale = ("volume (cm³)", 1000.0) if volumes else (fit.reliability.size_units, 1.0)
    digits = 1 if volumes else 0
    columns: dict[str, Any] = {"component": table["index"]}
    if table["dice"].notna().any():
        columns |= {
            "reproduced": table["reproduced"].fillna("n/a"),
            "Dice": _with_interval(table, "dice", 2),
            "Dice by chance": _with_interval(table, "dice_null", 2),
        }
    return pd.DataFrame(
        {
            **columns,
            "stability": table["stability"].map("{:.0%}".format),
            "stable": table["stable"].map("{:.0%}".format),
            units: _with_interval(table, "size", digits, scale),
        }
    ).replace("nan%", "n/a")


def _with_interval(table: pd.DataFrame, name: str, digits: int, scale: float = 1) -> list[str]:
    """Return values with their intervals as text, such as ``0.82 (0.75 to 0.90)``."""
    cells = []
    rows = table[[name, f"{name}_low", f"{name}_high"]].astype(float) / scale
    for value, low, high in rows.itertuples(index=False):
        text = "n/a" if pd.isna(value) else f"{value:.{digits}f}"
        cells.append(text if pd.isna(low) else f"{text} ({low:.{digits}f} to {high:.{digits}f})")
    return cells


def draw_reliability(found: ReliabilityFacts) -> Figure:
    """Draw the map of the share of resamples that assign each place to its component.

    Parameters
    ----------
    found : ReliabilityFacts
        Reliability of the components of a fit.
    """
    return replace(
        found.draw(),
        alt="Map of stability",
        caption=f"Stability: share of {found.resamples} whose fits assign each place to the same "
        "component as the fit of all subjects. It is low at the borders of components, and "
        "everywhere in a component that other subjects do not show.",
    )


def sentences_about_reliability(k: int, found: ReliabilityFacts | None) -> list[str]:
    """Return a sentence if components are not reproduced.

    Parameters
    ----------
    k : int
        Number of components.
    found : ReliabilityFacts or None
        Reliability of these components, if it is known.
    """
    if found is None or (rows := found.verdicts(NO)).empty:
        return []
    named = [
        f"component {row['index']} (Dice {row['dice']:.2f}, interval {row['dice_low']:.2f} to "
        f"{row['dice_high']:.2f}, not above {row['dice_null']:.2f} by chance)"
        for _, row in rows.iterrows()
    ]
    more = len(named) - N_NAMED
    listed = ", ".join(named[:N_NAMED]) + (f" and {more} more" if more > 0 else "")
    return [
        f"k = {k}, components that are not reproduced: {listed}. The interval over the splits "
        "of the agreement between two parts of the cohort reaches down to the mean of chance, or "
        "below. Do not interpret them one by one; compare with a smaller k."
    ]
