"""What a page says that depends on the solver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["SolverFacts", "describe_solver"]


@dataclass(frozen=True)
class SolverFacts:
    """A solver, as a page names it.

    Attributes
    ----------
    label : str
        Its name.
    tolerance : float or None
        Relative change of W at which its fits end; None where they end by another measure.
    """

    label: str
    tolerance: float | None


def describe_solver(settings: Mapping[str, Any]) -> SolverFacts:
    """Return the facts about the solver of a fit, from the settings of the fit."""
    name = settings["solver"]
    # The accelerated solver ends by the residual of the optimality conditions
    return SolverFacts(name, None if name == "accelerated" else settings["tol"])
