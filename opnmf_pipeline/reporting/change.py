"""What texts say about the change of each subject between two sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["describe_change", "summarize_change", "units_of_values"]

NEGATIVE = {"clip": "negative and were set to 0", "shift": "negative"}
"""What negative changes were; a shift is that of the whole matrix."""


def describe_change(fit: Mapping[str, Any]) -> str:
    """Return the paragraph of the methods section; empty if the values are those of images.

    Parameters
    ----------
    fit : mapping
        Content of ``factorization.json``; before a run, ``Change`` has only ``Settings``.
    """
    if "Change" not in fit:
        return ""
    change = fit["Change"]
    options = change["Settings"]
    text = (
        f"A change is the value at {options['to_session']} minus the value at "
        f"{options['from_session']}"
    )
    if column := options.get("per_year"):
        text += f", divided by the years between the sessions (column {column}"
        if years := change.get("Years"):
            text += f"; median {np.median(years):.2f}, {min(years):.2f} to {max(years):.2f}"
        text += ")"
    if n := change.get("NumberOfNegativeValues"):
        share, what = change["ShareOfNegativeValues"], NEGATIVE[change["Negative"]]
        text += f". {n:,} changes ({share:.1%}) were {what}"
    return f"{text}."


def summarize_change(settings: Mapping[str, Any], n_subjects: int) -> str:
    """Return one line about the change that settings ask for.

    Parameters
    ----------
    settings : mapping
        Settings of the section ``matrix.change``.
    n_subjects : int
        Number of subjects with both sessions.
    """
    column = settings.get("per_year")
    rate = f" per year ({column})" if column else ""
    return f"{settings['to_session']} minus {settings['from_session']}{rate}, {n_subjects} pairs"


def units_of_values(fit: Mapping[str, Any]) -> str:
    """Return the units of the values in the matrix."""
    if fit.get("Measures", {}).get("Scale", "none") != "none":
        return "scaled measures"
    if "Change" not in fit:
        return "units of the data"
    per_year = fit["Change"]["Settings"].get("per_year")
    return "change in units of the data" + (" per year" if per_year else "")
