"""The time that a fit or a loop still needs, where its course so far allows an estimate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["Course", "left_of_items", "words"]

FEWEST_RECORDS = 8
MOST_RECORDS = 512
FEWEST_ITEMS = 3
AGREE_WITHIN = 2.0
"""An estimate is given only if two models of the course agree within this factor."""


def left_of_items(seconds: float, done: int, total: int) -> float | None:
    """Return the seconds for the items that are left; None if too few are done.

    Parameters
    ----------
    seconds : float
        Time since the start.
    done, total : int
        Number of finished items, and of all items.
    """
    return seconds / done * (total - done) if done >= FEWEST_ITEMS else None


class Course:
    """The course of a fit: how far its measure of convergence is from the limit, over time.

    The second half of the course is extended to the limit by two models: the measure falls
    exponentially with time, or as a power of time. Fits are between these two.
    """

    def __init__(self) -> None:
        self._records: list[tuple[float, float]] = []
        self._step, self._n = 1, 0

    def add(self, seconds: float, distance: float) -> None:
        """Record the measure, divided by its limit, at a time since the start of the fit."""
        if self._n % self._step == 0 and seconds > 0 and 0 < distance < math.inf:
            self._records.append((seconds, math.log(distance)))
        self._n += 1
        if len(self._records) > MOST_RECORDS:
            self._records = self._records[::2]
            self._step *= 2

    def share_done(self) -> float:
        """Return the way from the largest measure to the limit, in decades, from 0 to 1."""
        if not self._records:
            return 0.0
        first, last = max(log for _, log in self._records), self._records[-1][1]
        return min(1.0, max(0.0, 1 - last / first)) if first > 0 else 1.0

    def left(self) -> float | None:
        """Return the seconds to the limit; None if the two models do not agree."""
        if len(self._records) < FEWEST_RECORDS:
            return None
        times, logs = np.array(self._records).T
        half = times >= times[-1] / 2
        if half.sum() < FEWEST_RECORDS // 2:
            return None
        slopes = [_slope(x[half], logs[half]) for x in (times, np.log(times))]
        to_fall = max(0.0, float(logs[-1]))
        if max(slopes) >= 0 or to_fall / -slopes[1] > math.log(1 + AGREE_WITHIN**2):
            return None
        exponential = to_fall / -slopes[0]
        power = float(times[-1]) * math.expm1(to_fall / -slopes[1])
        agree = max(exponential, power) <= AGREE_WITHIN * min(exponential, power)
        return math.sqrt(exponential * power) if agree else None


def _slope(x: np.ndarray[tuple[int], np.dtype[np.float64]], y: Sequence[float]) -> float:
    return float(np.polyfit(x, y, 1)[0])


def words(seconds: float | None) -> str:
    """Return an estimate as text, such as ``about 2 min left``; empty if there is none.

    Examples
    --------
    >>> [words(seconds) for seconds in (None, 4, 47, 130, 5000)]
    ['', 'a few seconds left', 'about 50 s left', 'about 2 min left', 'about 1 h 20 min left']
    """
    if seconds is None:
        return ""
    if seconds < 10:
        return "a few seconds left"
    if seconds < 55:
        return f"about {round(seconds, -1):.0f} s left"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"about {minutes} min left"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"about {hours} h {rest} min left" if rest else f"about {hours} h left"
