"""What a solver reports while it runs, and when it has to stop."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from opnmf_pipeline.decomposition.checkpoint import Checkpoint
from opnmf_pipeline.decomposition.passes import Array

logger = logging.getLogger(__name__)

NOT_FINITE_MSG = (
    "the objective is {objective} at iteration {n}: the values of X, or of W_init, differ by more "
    "orders of magnitude than the arithmetic can hold; look for outliers, or use dtype='float64'"
)

LOG_EVERY = 100
"""The course of a fit is logged once in so many iterations."""


class Iteration(NamedTuple):
    """One update of W.

    Attributes
    ----------
    iteration : int
        Index of the update, counted from 0.
    objective : float
        ‖X − WWᵀX‖_F of the W that this update made.
    change : float
        ‖W − W_old‖_F / ‖W_old‖_F.
    distance : float
        The measure of convergence divided by its limit: the fit can end once this is below 1.
    """

    iteration: int
    objective: float
    change: float
    distance: float = np.inf


@dataclass(frozen=True)
class Criterion:
    """The measure that must become small before a solver ends as converged.

    Attributes
    ----------
    measure : str
        Its name in messages.
    description : str
        The same for readers of the documentation.
    last : callable
        From a fitted estimator to the value at the end of the fit.
    factor : float
        The limit is so many times the parameter ``tol``.
    """

    measure: str
    description: str
    last: Callable[[Any], float]
    factor: float = 1.0

    @property
    def words(self) -> str:
        """Say when a fit ends."""
        return f"{self.description} below {self.limit('tol')}"

    def limit(self, tol: str) -> str:
        """Return the limit as text, from the text of ``tol``."""
        return tol if self.factor == 1 else f"{self.factor:g} x {tol}"


CHANGE = Criterion(
    "change", "relative change of W in an iteration", lambda fit: fit.history_[-1].change
)
"""What `Progress` checks, unless a solver tells it whether it has converged."""


class Progress:
    """Record the course of a fit and decide when it ends.

    Parameters
    ----------
    tol : float
        The fit has converged once the change of an iteration is below this.
    max_iter : int
        The most iterations to make.
    callback : callable, optional
        Called with every `Iteration`; a true return value ends the fit.
    level : int, default=logging.DEBUG
        Level at which the course is logged.
    checkpoint : Checkpoint, optional
        Where `save` puts the state of the solver; a file from before is taken up.
    unit : float, default=1
        Objectives are multiplied by this: solvers see X rescaled.

    Attributes
    ----------
    history : list of Iteration
        One record per iteration.
    converged : bool
        Whether the change fell below `tol`.
    stopped : bool
        Whether the callback ended the fit.
    resumed : dict of ndarray
        State of the solver in the checkpoint, empty at a fresh start.
    """

    def __init__(
        self,
        tol: float,
        max_iter: int,
        callback: Callable[[Iteration], object] | None = None,
        level: int = logging.DEBUG,
        checkpoint: Checkpoint | None = None,
        *,
        unit: float = 1.0,
    ) -> None:
        self.tol = tol
        self.max_iter = max_iter
        self.callback = callback
        self.level = level
        self.checkpoint = checkpoint
        self.unit = unit
        self.history: list[Iteration] = []
        self.converged = False
        self.stopped = False
        self.resumed = checkpoint.read() if checkpoint is not None else {}
        if self.resumed:
            course = self.resumed.pop("course").tolist()
            self.history = [Iteration(i, *record) for i, record in enumerate(course)]
            logger.log(level, "resumed after iteration %d", len(course) - 1)

    @property
    def done(self) -> bool:
        """Whether the solver has to stop."""
        return self.converged or self.stopped or len(self.history) >= self.max_iter

    def part(self, most: int | None = None) -> "Progress":
        """Return the course of a part of the fit, of at most so many iterations; see `take`."""
        end = self.max_iter if most is None else min(self.max_iter, len(self.history) + most)
        part = Progress(self.tol, end, self.callback, self.level, unit=self.unit)
        part.history = self.history
        return part

    def take(self, part: "Progress") -> None:
        """Take over how a part of the fit ended."""
        self.converged, self.stopped = part.converged, part.stopped

    def record(
        self,
        objective: float,
        change: float,
        converged: bool | None = None,
        distance: float | None = None,
    ) -> None:
        """Take the outcome of one more iteration; by default its change tells convergence."""
        if not np.isfinite(objective):
            raise ValueError(NOT_FINITE_MSG.format(objective=objective, n=len(self.history)))
        if distance is None:
            distance = change / self.tol if self.tol > 0 else np.inf
        record = Iteration(len(self.history), objective * self.unit, change, distance)
        self.history.append(record)
        self.converged = change < self.tol if converged is None else converged
        if self.callback is not None and self.callback(record):
            self.stopped, self.converged = True, False
        if record.iteration % LOG_EVERY == 0:
            logger.log(self.level, "iteration %d: objective %.6g, change %.3g", *record[:3])
        if self.converged:
            logger.log(
                self.level, "converged at iteration %d: objective %.6g, change %.3g", *record[:3]
            )

    def save(self, n_iter: int | None = None, **state: Array | float) -> None:
        """Write the state of the solver if it is time, or if the fit ends before it converged.

        It is the state after `n_iter` iterations, by default all of those so far.
        """
        if self.checkpoint is None:
            return
        if self.converged:
            self.checkpoint.remove()
        elif self.done or self.checkpoint.due:
            course = np.array([record[1:] for record in self.history[:n_iter]])
            arrays = {name: np.asarray(value) for name, value in state.items()}
            self.checkpoint.write({"course": course, **arrays})
