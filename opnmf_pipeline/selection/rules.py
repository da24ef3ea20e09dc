"""Rules that choose a number of components from curves of measures, with the reason in words.

Splits of one cohort share subjects, so their mean does not become certain with their number. By
the correction of Nadeau & Bengio 2003 (Machine Learning 52, 239-281,
https://doi.org/10.1023/A:1024068626366) the variance of a mean over J splits that test on as many
subjects as they learn from is (1/J + 1) times that over the splits. So the standard deviation over
the splits is taken here as the standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.signal import find_peaks, peak_prominences

from opnmf_pipeline.selection.ranks import elbow, gains, null_lead

__all__ = ["FIT", "RULES", "Choice", "Curves", "Rule", "listed"]

FIT = "out_of_sample_explained_variance"
NULL = "null_error"
WEIGHTS = {"inner_product": 1 / 3, "label_ari": 1 / 3, "stability": 1 / 3, FIT: 1.0}
"""Reproducibility, seen in three ways, weighs as much as fit: it falls with k, and fit rises."""

SLIGHT = 0.05
"""Measures of reproducibility that differ by less, on their scale up to 1, differ by nothing."""


class Choice(NamedTuple):
    """A number of components, and how much it means.

    Attributes
    ----------
    k : int
        The number that the rule chooses.
    good : list of int
        All that the rule finds good, in order; ``k`` is one of them unless none is good.
    reason : str
        Why, with the numbers, in one or two sentences.
    flat : bool
        Whether nothing stands out in the range: ``k`` is then a convention and no finding.
    """

    k: int
    good: list[int]
    reason: str
    flat: bool


class Curves(NamedTuple):
    """The table as arrays over k, and which k may be chosen."""

    table: pd.DataFrame
    ks: NDArray[np.int64]
    allowed: NDArray[np.bool_]

    def of(self, column: str) -> NDArray[np.float64]:
        """Return one column."""
        return self.table[column].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class Rule:
    """One way to choose.

    Attributes
    ----------
    decide : callable
        From curves with at least two allowed k to the choice.
    needs : tuple of str
        Columns of the table that it reads.
    summary : str
        Which k it chooses, in one sentence for the description of the setting.
    """

    decide: Callable[[Curves], Choice]
    needs: tuple[str, ...]
    summary: str

    @property
    def compares_splits(self) -> bool:
        """Whether it needs at least two splits: the spread of a measure over them."""
        return any(column.endswith("_sd") for column in self.needs)

    @property
    def compares_shuffled(self) -> bool:
        """Whether it needs fits of shuffled data."""
        return NULL in self.needs


def _reproducibility_peak(curves: Curves) -> Choice:
    ks, values, sd = curves.ks, curves.of("inner_product"), curves.of("inner_product_sd")
    bend = elbow(ks.tolist(), curves.of("reconstruction_error"))
    peaks = [i for i in _clear_peaks(values, sd) if curves.allowed[i]]
    if not peaks:
        return _no_peak(curves, values, sd, bend)
    # where the error bends is known to one step of k only
    limit = ks[min(int(np.searchsorted(ks, bend)) + 1, len(ks) - 1)]
    early = [i for i in peaks if ks[i] <= limit]
    best = max(early or peaks, key=lambda i: values[i])
    level = _plateau(values >= values[best] - sd[best], best) & curves.allowed
    k = int(ks[level].max())
    good = sorted({*ks[level].tolist(), *ks[peaks].tolist()})
    reason = (
        f"Reproducibility (mean inner product of matched components) peaks at k = {ks[best]}: "
        f"{_pm(values[best], sd[best])}{_beside(ks, values, best)}. "
        f"The error bends at k = {bend}"
    )
    reason += ". " if early else ", before any peak that stands out of the noise. "
    if k != ks[best]:
        reason += f"k = {k} is as reproducible, and the largest that is. "
    return Choice(k, good, reason + _others(good, k), False)


def _clear_peaks(values: NDArray[Any], sd: NDArray[Any]) -> list[int]:
    """Return local maxima, first and last k not among them, that stand out of what is around."""
    peaks, _ = find_peaks(values)
    prominences, left, right = peak_prominences(values, peaks)
    base = np.where(values[left] > values[right], left, right)
    noise = np.maximum(np.hypot(sd[peaks], sd[base]), SLIGHT)
    clear: list[int] = peaks[prominences > noise].tolist()
    return clear


def _plateau(high: NDArray[np.bool_], i: int) -> NDArray[np.bool_]:
    """Return where the values are high without a break from i on, in both directions."""
    run = np.cumsum(~high)
    plateau: NDArray[np.bool_] = high & (run == run[i])
    return plateau


def _no_peak(curves: Curves, values: NDArray[Any], sd: NDArray[Any], bend: int) -> Choice:
    """Reproducibility does not decide: say how it runs, and take the elbow of the error."""
    ks = curves.ks[curves.allowed]
    values, sd = values[curves.allowed], sd[curves.allowed]
    best, worst = int(values.argmax()), int(values.argmin())
    k = int(ks[np.argmin(np.abs(ks - bend))])
    as_good = values >= values[best] - sd[best]
    spread = f"{_pm(values[best], sd[best])} at k = {ks[best]}, "
    spread += f"{_pm(values[worst], sd[worst])} at k = {ks[worst]}"
    if values[best] - values[worst] <= max(np.hypot(sd[best], sd[worst]), SLIGHT):
        course, as_good = "is flat", np.ones(len(ks), dtype=bool)
    elif best == len(ks) - 1:
        course, k = "is highest at the end of the range, which is too short", int(ks[-1])
    elif best == 0:
        course = "is highest at the smallest k, without a peak that stands out of the noise"
    else:
        course = "has no peak that stands out of the noise"
    how = (
        "the largest candidate" if "too short" in course else f"near the bend of the error, {bend}"
    )
    reason = f"Reproducibility {course} ({spread}), and does not single out a k. k = {k} is {how}. "
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
            f"From {where} on, components gain hardly more than on shuffled data: more find no "
            f"structure. k = {k} is the smallest candidate, and not a good one."
        )
        return Choice(k, [], reason, True)
    at = int(allowed[allowed <= top][-1])
    k, real, shuffled = int(ks[at]), gains(errors, ks.tolist()), gains(null, ks.tolist())
    reason = (
        f"The last component up to k = {ks[top]} lowers the error by {real[top]:.4g}, on shuffled "
        f"data by {shuffled[top]:.4g}; "
    )
    if top == len(ks) - 1:
        reason += (
            "that is the end of the range, which is too short for this rule, or the noise of "
            "neighbouring voxels is alike, which shuffling undoes."
        )
    else:
        reason += (
            f"beyond it the next gains {real[top + 1]:.4g} against {shuffled[top + 1]:.4g}, and no "
            "number of further ones gains clearly more than on shuffled data."
        )
    if at < top:
        reason += f" It is no candidate; k = {k} is the last one before it."
    if at < top or top == len(ks) - 1:
        return Choice(k, [k], reason, True)
    first = int(np.argmax(np.diff(lead) <= 0))
    if not 0 < first < at or not curves.allowed[first]:
        return Choice(k, [k], reason, False)
    reason += f" The gain is first at that of shuffled data after k = {ks[first]}."
    return Choice(k, [int(ks[first]), k], reason, False)


def _one_standard_error(curves: Curves) -> Choice:
    explained, sd = curves.of(FIT), curves.of(f"{FIT}_sd")
    first = min(3 * len(explained) // 4, len(explained) - 2)
    free = max((explained[-1] - explained[first]) / (curves.ks[-1] - curves.ks[first]), 0.0)
    ks = curves.ks[curves.allowed]
    net = (explained - free * curves.ks)[curves.allowed]
    best = int(net.argmax())
    # fits that miss a part now and then make the right k vary more than the best does
    limits = np.hypot(sd[curves.allowed], sd[curves.allowed][best])
    within = net >= net[best] - limits
    k, limit = int(ks[within][0]), limits[within][0]
    reason = (
        f"Any component adds {free:.2g} to the variance that is explained out of sample, as the "
        f"last of the table do. Without that, most is explained at k = {ks[best]}, and k = {k} is "
        f"the smallest within one standard error of the difference ({limit:.2g})."
    )
    if within.all():
        reason += " So are all candidates: the curve is flat, and does not single out a k."
        return Choice(k, ks.tolist(), reason, True)
    return _unless_at_the_end(Choice(k, [k], reason, False), ks)


def _weighted(curves: Curves) -> Choice:
    ks = curves.ks[curves.allowed]
    weights = {name: weight for name, weight in WEIGHTS.items() if not _is_flat(curves, name)}
    agreement = curves.of("label_ari")[curves.allowed].max()
    if agreement < SLIGHT or not weights.keys() - {FIT}:
        why = "is flat over the range"
        if agreement < SLIGHT:
            why = f"is hardly above chance at any k (label maps: ARI of {agreement:.3f} at most)"
        reason = (
            f"Reproducibility {why}, and there is nothing to weigh against the fit. k = {ks[0]} "
        )
        return Choice(int(ks[0]), ks.tolist(), reason + "is the smallest candidate.", True)
    score, noise = np.zeros(len(ks)), np.zeros(len(ks))
    for name, weight in weights.items():
        values, sd = (curves.of(column)[curves.allowed] for column in (name, f"{name}_sd"))
        share = weight / sum(weights.values()) / np.ptp(values)
        score += share * (values - values.min())
        noise += share * sd
    top = int(score.argmax())
    k, good = int(ks[top]), ks[score >= score[top] - noise[top]].tolist()
    reason = (
        f"The weighted mean of reproducibility and out-of-sample fit, each from 0 to 1 over the "
        f"range, is highest at k = {k}: {_pm(score[top], noise[top])}"
        f"{_beside(ks, score, top)}. "
    )
    if flat := [name for name in WEIGHTS if name not in weights]:
        reason += f"Left out, as flat over the range: {', '.join(flat)}. "
    if len(good) == len(ks):
        reason += "All candidates are within its noise: it is flat, and does not single out a k. "
    choice = Choice(k, good, reason + _others(good, k), len(good) == len(ks))
    return _unless_at_the_end(choice, ks)


def _is_flat(curves: Curves, name: str) -> bool:
    """Say whether a measure differs over the range by no more than noise, or by next to nothing."""
    values, sd = (curves.of(column)[curves.allowed] for column in (name, f"{name}_sd"))
    noise = np.hypot(sd[values.argmax()], sd[values.argmin()])
    return bool(np.ptp(values) <= max(noise, 0 if name == FIT else SLIGHT))


def _unless_at_the_end(choice: Choice, ks: NDArray[np.int64]) -> Choice:
    """Call a choice flat that the range made."""
    if choice.k not in ks[[0, -1]]:
        return choice
    reason = f"{choice.reason} k = {choice.k} is an end of the range, so no k inside stands out."
    return choice._replace(reason=reason, flat=True)


def _pm(value: float, sd: float) -> str:
    return f"{value:.3f} ± {sd:.2g}"


def _beside(ks: NDArray[Any], values: NDArray[Any], i: int) -> str:
    """Say what the values are at the k before and after."""
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
    """Return columns, and those of their standard deviations over the splits."""
    return (*columns, *(f"{column}_sd" for column in columns))


RULES = {
    "reproducibility-peak": Rule(
        _reproducibility_peak,
        ("reconstruction_error", *_with_sd("inner_product")),
        "the highest peak of the mean inner product of matched components that stands out of the "
        "noise, at the elbow of the error or before it",
    ),
    "null-crossing": Rule(
        _null_crossing,
        ("reconstruction_error", NULL),
        "the k beyond which components lower the error no more than on shuffled data",
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
        "the k with the highest weighted mean of reproducibility and explained variance out of "
        "sample",
    ),
}
"""By the name that the setting ``selection.rule`` takes."""
