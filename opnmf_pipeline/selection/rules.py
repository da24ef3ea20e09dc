"""Rules that choose a number of components from curves of measures, and explain the choice.

To add a rule, write a function from :class:`Curves` to :class:`Choice` and add it to :data:`RULES`.

Splits of one cohort share subjects, so the standard error of their mean does not shrink to zero
with the number of splits. By the correction of Nadeau & Bengio 2003 (Machine Learning 52, 239-281,
https://doi.org/10.1023/A:1024068626366), the variance of the mean over J splits with equally many
training and test subjects is (1/J + 1) times the variance over the splits. So the rules use the
standard deviation over the splits as the standard error.

All columns that the rules use come from fits of the parts with independent random starts. The
agreement of fits with a shared start is higher where both fits are wrong in the same way.

Compact parts agree by chance, and the more the fewer there are. So the rules compare what exceeds
the agreement of random compact parts: (value − null) / (1 − null), the correction for chance of
Hubert & Arabie 1985 (J. Classification 2, 193-218, https://doi.org/10.1007/BF01908075). It is 0 for
random compact parts and 1 for equal ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import find_peaks

from opnmf_pipeline.selection.ranks import elbow, gains, null_lead, slower_than_null

__all__ = ["FIT", "RULES", "Choice", "Curves", "Rule", "listed"]

FIT = "out_of_sample_explained_variance"
NULL = "null_error"
AGREEMENT = "inner_product"
WEIGHTS = {AGREEMENT: 1 / 3, "label_ari": 1 / 3, "stability": 1 / 3, FIT: 1.0}
"""The three measures of reproducibility, which decrease with k, together weigh as much as the fit,
which increases with k."""

ROUNDING = 1e-6
"""The null is at most 1 minus this: a single component agrees with itself by chance too."""

SLIGHT = 0.05
"""Differences of reproducibility below this are negligible; the largest value of a measure is 1."""

SLIGHT_FIT = 0.01
"""Differences of R² out of sample below this are negligible: one per cent of the variance."""


class Choice(NamedTuple):
    """A number of components, with the reason for it.

    Attributes
    ----------
    k : int
        The number that the rule chooses.
    good : list of int
        All numbers that the rule accepts, increasing. ``k`` is one of them, unless the list is
        empty.
    reason : str
        Reason of the choice in a few sentences, with the values of the measures.
    flat : bool
        Whether no k is clearly better than the others. ``k`` is then a convention, not a finding.
    """

    k: int
    good: list[int]
    reason: str
    flat: bool


class Curves(NamedTuple):
    """The table of measures, and which k may be chosen.

    Attributes
    ----------
    table : DataFrame
        One row per number of components, increasing.
    ks : ndarray of shape (n_ks,), int64
        Numbers of components.
    allowed : ndarray of shape (n_ks,), bool
        Whether each number may be chosen.
    """

    table: pd.DataFrame
    ks: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    def of(self, column: str) -> NDArray[np.float64]:
        """Return a column of the table, shape (n_ks,), float64."""
        return self.table[column].to_numpy(dtype=np.float64)

    def by_chance(self, column: str) -> NDArray[np.float64]:
        """Return the agreement of random compact parts, (n_ks,); 0 where it was not measured."""
        if (name := f"{column}_null") not in self.table:
            return np.zeros(len(self.ks))
        return np.minimum(np.nan_to_num(self.of(name)), 1 - ROUNDING)

    def beyond_chance(self, column: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return by how much a measure exceeds chance, and its noise, (n_ks,) each.

        A measure without a null is not changed. Below chance is 0, like chance: there, parts are
        less compact than random ones, and the curve would show the noise of the null. The noise is
        the standard deviation over splits and that over random pairs.
        """
        value, null = self.of(column), self.by_chance(column)
        beyond = np.where(null > 0, np.maximum(value - null, 0) / (1 - null), value)
        of_null = np.zeros(len(self.ks))
        if (name := f"{column}_null_sd") in self.table:
            of_null = np.nan_to_num(self.of(name)) * (1 - beyond)  # the closer to 1, the less
        return beyond, np.hypot(self.of(f"{column}_sd"), of_null) / (1 - null)


@dataclass(frozen=True)
class Rule:
    """A rule of choice.

    Attributes
    ----------
    decide : callable
        Function from :class:`Curves` with at least two allowed k to :class:`Choice`.
    needs : tuple of str
        Columns of the table that it needs.
    summary : str
        The k that it chooses, in words, for the description of the setting.
    """

    decide: Callable[[Curves], Choice]
    needs: tuple[str, ...]
    summary: str

    @property
    def compares_splits(self) -> bool:
        """Whether it needs a standard deviation over splits, and so at least two splits."""
        return any(column.endswith("_sd") for column in self.needs)

    @property
    def compares_shuffled(self) -> bool:
        """Whether it needs fits of shuffled data."""
        return NULL in self.needs


def _reproducibility_peak(curves: Curves) -> Choice:
    ks, (values, sd) = curves.ks, curves.beyond_chance(AGREEMENT)
    bend = elbow(ks.tolist(), curves.of("reconstruction_error"))
    peaks = [i for i in _clear_peaks(values, sd) if curves.allowed[i]]
    if not peaks:
        return _no_peak(curves, values, sd, bend)
    # the elbow can be wrong by one step of k
    limit = ks[min(int(np.searchsorted(ks, bend)) + 1, len(ks) - 1)]
    early = [i for i in peaks if ks[i] <= limit]
    best = max(early or peaks, key=lambda i: values[i])
    level = _plateau(values >= values[best] - sd[best], best) & curves.allowed
    k = int(ks[level].max())
    good = sorted({*ks[level].tolist(), *ks[peaks].tolist()})
    reason = (
        f"Reproducibility (mean inner product of matched components of halves with independent "
        f"starts{_scale(curves)}) peaks at k = {ks[best]}: {_pm(values[best], sd[best])}"
        f"{_beside(ks, values, best)}. {_not_by_chance(curves, best)}"
        f"The elbow of the error is at k = {bend}"
    )
    reason += ". " if early else ", before any peak that is larger than the noise. "
    if k != ks[best]:
        reason += f"k = {k} is the largest k that is equally reproducible. "
    return Choice(k, good, reason + _others(good, k), False)


def _clear_peaks(values: NDArray[Any], sd: NDArray[Any]) -> list[int]:
    """Return the indices of local maxima that have a k on each side that is lower beyond noise.

    No k between them is higher. The first and the last k are not local maxima.
    """

    def clear(i: int) -> bool:
        lower = values[i] - values > np.maximum(np.hypot(sd[i], sd), SLIGHT)
        higher = np.flatnonzero(values > values[i])
        at = int(np.searchsorted(higher, i))
        first = higher[at - 1] + 1 if at > 0 else 0
        end = higher[at] if at < len(higher) else len(values)
        return bool(lower[first:i].any() and lower[i:end].any())

    return [i for i in find_peaks(values)[0].tolist() if clear(i)]


def _plateau(high: NDArray[np.bool_], i: int) -> NDArray[np.bool_]:
    """Return the run of high values around index i, as a mask."""
    run = np.cumsum(~high)
    plateau: NDArray[np.bool_] = high & (run == run[i])
    return plateau


def _no_peak(curves: Curves, values: NDArray[Any], sd: NDArray[Any], bend: int) -> Choice:
    """Describe a curve of reproducibility without a clear peak, and choose another k.

    It is the largest k if the curve is highest there, or else the k nearest to the elbow.
    """
    ks, places = curves.ks[curves.allowed], np.flatnonzero(curves.allowed)
    values, sd = values[curves.allowed], sd[curves.allowed]
    best, worst = int(values.argmax()), int(values.argmin())
    at = int(np.argmin(np.abs(ks - bend)))
    as_good = values >= values[best] - sd[best]
    spread = f"{_pm(values[best], sd[best])} at k = {ks[best]}, "
    spread += f"{_pm(values[worst], sd[worst])} at k = {ks[worst]}"
    if values[best] == values[worst]:
        spread = f"{values[best]:.3f} at every k"
    how = "at the elbow of the error"
    if ks[at] != bend:
        how = f"the candidate nearest to the elbow of the error (k = {bend})"
    if values[best] - values[worst] <= max(np.hypot(sd[best], sd[worst]), SLIGHT):
        course, as_good = "is flat", np.ones(len(ks), dtype=bool)
    elif best == len(ks) - 1:
        course, at = "is highest at the end of the range, which is too short", best
        how = "the largest candidate"
    elif best == 0:
        course = "is highest at the smallest k and has no peak that is larger than the noise"
    else:
        course = "has no peak that is larger than the noise"
    k = int(ks[at])
    reason = (
        f"Reproducibility {course} ({spread}{_scale(curves)}). "
        f"{_not_by_chance(curves, int(places[best]))}No k is clearly better. k = {k} is {how}. "
    )
    if not as_good[at]:
        reason += f"It is less reproducible ({_pm(values[at], sd[at])}) than k = {ks[best]}. "
    reason += f"Within one standard error of the highest: {listed(ks[as_good].tolist())}."
    return Choice(k, sorted({k, *ks[as_good].tolist()}), reason, True)


def _null_crossing(curves: Curves) -> Choice:
    ks, allowed = curves.ks, np.flatnonzero(curves.allowed)
    errors, null = curves.of("reconstruction_error"), curves.of(NULL)
    lead = null_lead(errors, null)
    top = int(lead.argmax())
    if top < allowed[0] or top == 0:
        k = int(ks[allowed[0]])
        where = "the second k" if top == 0 else f"k = {ks[top]}"
        reason = (
            f"From {where} on, additional components reduce the error little more than on shuffled "
            f"data: they find no structure. k = {k} is the smallest candidate, but not a good one."
        )
        return Choice(k, [], reason, True)
    at = int(allowed[allowed <= top][-1])
    k, real, shuffled = int(ks[at]), gains(errors, ks.tolist()), gains(null, ks.tolist())
    reason = (
        f"The last component up to k = {ks[top]} reduces the error by {real[top]:.4g}, and on "
        f"shuffled data by {shuffled[top]:.4g}. "
    )
    if top == len(ks) - 1:
        reason += (
            f"k = {ks[top]} is the end of the range. The range is too short for this rule, or the "
            "noise of neighbouring voxels is correlated; shuffling removes this correlation."
        )
    else:
        reason += (
            f"The next component reduces it by {real[top + 1]:.4g}, and on shuffled data by "
            f"{shuffled[top + 1]:.4g}. No number of additional components reduces it clearly more "
            "than on shuffled data."
        )
    if at < top:
        reason += f" k = {ks[top]} is not a candidate; k = {k} is the last candidate before it."
    if at < top or top == len(ks) - 1:
        return Choice(k, [k], reason, True)
    first = int(np.argmax(np.diff(lead) <= 0))
    if not 0 < first < at or not curves.allowed[first]:
        return Choice(k, [k], reason, False)
    reason += (
        f" The first component that does not reduce the error clearly more than on shuffled data "
        f"is the one after k = {ks[first]}."
    )
    return Choice(k, [int(ks[first]), k], reason, False)


def _opnmf_permutation(curves: Curves) -> Choice:
    errors, null = curves.of("reconstruction_error"), curves.of(NULL)
    ks, good = curves.ks[curves.allowed], slower_than_null(errors, null) & curves.allowed
    if not good.any():
        reason = (
            "From each candidate to the next k, the error relative to its largest value decreases "
            f"at least as much as on shuffled data. k = {ks[-1]} is the largest candidate. "
            "The range may be too short for this rule."
        )
        return Choice(int(ks[-1]), [], reason, True)
    at = int(good.argmax())
    k, found = int(curves.ks[at]), curves.ks[good].tolist()
    real, shuffled = (-np.diff(curve)[at] / curve.max() for curve in (errors, null))
    reason = (
        f"k = {k} is the smallest candidate after which the error decreases less than on shuffled "
        f"data: by {real:.2g} of its largest value up to k = {curves.ks[at + 1]}, and on shuffled "
        f"data by {shuffled:.2g}. "
    )
    return _unless_at_the_end(Choice(k, found, reason + _others(found, k), False), ks)


def _one_standard_error(curves: Curves) -> Choice:
    explained, sd = curves.of(FIT), curves.of(f"{FIT}_sd")
    first = min(3 * len(explained) // 4, len(explained) - 2)
    free = max((explained[-1] - explained[first]) / (curves.ks[-1] - curves.ks[first]), 0.0)
    ks = curves.ks[curves.allowed]
    course = explained - free * curves.ks
    net = course[curves.allowed]
    best = int(net.argmax())
    # at the right k, some fits miss a part, so its values can vary more than those of the best k
    limits = np.hypot(sd[curves.allowed], sd[curves.allowed][best])
    within = net >= net[best] - limits
    k, limit = int(ks[within][0]), limits[within][0]
    reason = (
        f"Each of the last components of the table adds {free:.2g} to R² out of sample, about the "
        f"mean image. Without this gain per component, R² is highest at k = "
        f"{ks[best]}, and k = {k} is the smallest candidate within one standard error of the "
        f"difference ({limit:.2g})."
    )
    if within.all() or np.ptp(course) < SLIGHT_FIT:
        why = "All candidates are within it"
        if not within.all():
            why = f"But over all k, it differs by {np.ptp(course):.1g} at most"
        reason += f" {why}: the curve is flat, and no k is clearly better."
        return Choice(k, ks.tolist(), reason, True)
    return _unless_at_the_end(Choice(k, [k], reason, False), ks)


def _weighted(curves: Curves) -> Choice:
    ks = curves.ks[curves.allowed]
    weights = {name: weight for name, weight in WEIGHTS.items() if not _is_flat(curves, name)}
    agreement = curves.beyond_chance("label_ari")[0][curves.allowed].max()
    if agreement < SLIGHT or not weights.keys() - {FIT}:
        why = "is flat over the range"
        if agreement < SLIGHT:
            why = f"is near chance at every k (label maps: ARI of {agreement:.3f} at most"
            why += f"{_scale(curves)})"
        reason = f"Reproducibility {why}, so it cannot be weighed against the fit. k = {ks[0]} "
        return Choice(int(ks[0]), ks.tolist(), reason + "is the smallest candidate.", True)
    score, noise = np.zeros(len(ks)), np.zeros(len(ks))
    for name, weight in weights.items():
        values, sd = (column[curves.allowed] for column in curves.beyond_chance(name))
        share = weight / sum(weights.values()) / np.ptp(values)
        score += share * (values - values.min())
        noise += share * sd
    top = int(score.argmax())
    k, good = int(ks[top]), ks[score >= score[top] - noise[top]].tolist()
    reason = (
        f"The weighted mean of reproducibility and out-of-sample fit, each scaled to 0..1 over the "
        f"range, is highest at k = {k}: {_pm(score[top], noise[top])}"
        f"{_beside(ks, score, top)}. "
    )
    if flat := [name for name in WEIGHTS if name not in weights]:
        reason += f"Left out because they are flat over the range: {', '.join(flat)}. "
    if len(good) == len(ks):
        reason += "All candidates are within its noise: it is flat, and no k is clearly better. "
    choice = Choice(k, good, reason + _others(good, k), len(good) == len(ks))
    return _unless_at_the_end(choice, ks)


def _is_flat(curves: Curves, name: str) -> bool:
    """Tell whether the range of a measure over k is no larger than noise, or negligible."""
    values, sd = (column[curves.allowed] for column in curves.beyond_chance(name))
    noise = np.hypot(sd[values.argmax()], sd[values.argmin()])
    return bool(np.ptp(values) <= max(noise, 0 if name == FIT else SLIGHT))


def _unless_at_the_end(choice: Choice, ks: NDArray[np.int64]) -> Choice:
    """Mark a choice as flat if it is the first or the last k: the range decided it."""
    if choice.k not in ks[[0, -1]]:
        return choice
    reason = (
        f"{choice.reason} k = {choice.k} is an end of the range, so no k inside the range is "
        "clearly better."
    )
    return choice._replace(reason=reason, flat=True)


def _pm(value: float, sd: float) -> str:
    return f"{value:.3f} ± {sd:.2g}"


def _scale(curves: Curves) -> str:
    """Say what 0 means, if the agreement by chance was measured."""
    return ", scaled to 0 for random parts" if curves.by_chance(AGREEMENT).any() else ""


def _not_by_chance(curves: Curves, i: int) -> str:
    """Say how much of the agreement at index i is expected by chance, if this was measured."""
    if not (null := curves.by_chance(AGREEMENT)[i]):
        return ""
    return (
        f"At k = {curves.ks[i]}, the inner product is {curves.of(AGREEMENT)[i]:.3f}, and "
        f"{null:.3f} is expected by chance, for random parts of the same sizes. "
    )


def _beside(ks: NDArray[Any], values: NDArray[Any], i: int) -> str:
    """Say what the values are at the previous and the next k."""
    beside = [f"{values[j]:.3f} at {ks[j]}" for j in (i - 1, i + 1) if 0 <= j < len(ks)]
    return ", against " + " and ".join(beside)


def _others(good: Sequence[int], k: int) -> str:
    others = [other for other in good if other != k]
    return f"Also good: {listed(others)}." if others else "No other k is as good."


def listed(ks: Sequence[int]) -> str:
    """Return numbers as ``2, 4 and 6``, or ``none``."""
    *most, last = [str(k) for k in ks] or ["none"]
    return f"{', '.join(most)} and {last}" if most else last


def _with_sd(*columns: str) -> tuple[str, ...]:
    """Return columns, followed by the columns of their standard deviations over the splits."""
    return (*columns, *(f"{column}_sd" for column in columns))


RULES = {
    "reproducibility-peak": Rule(
        _reproducibility_peak,
        ("reconstruction_error", *_with_sd("inner_product")),
        "the highest peak of the mean inner product of matched components of halves with "
        "independent starts, beyond that of random parts, that is larger than the noise, "
        "at the elbow of the error or before it",
    ),
    "null-crossing": Rule(
        _null_crossing,
        ("reconstruction_error", NULL),
        "the k beyond which additional components reduce the error no more than on shuffled data",
    ),
    "opnmf-permutation": Rule(
        _opnmf_permutation,
        ("reconstruction_error", NULL),
        "the smallest k after which the error, divided by its largest value, decreases less than "
        "on shuffled data; this is the criterion of the Python package opnmf",
    ),
    "one-standard-error": Rule(
        _one_standard_error,
        _with_sd(FIT),
        "the smallest k whose explained variance out of sample is within one standard error of "
        "the highest",
    ),
    "weighted": Rule(
        _weighted,
        _with_sd(*WEIGHTS),
        "the k with the highest weighted mean of reproducibility (of halves with independent "
        "starts) and explained variance out of sample",
    ),
}
"""Rules by their names, which are the values of the setting ``selection.rule``."""
