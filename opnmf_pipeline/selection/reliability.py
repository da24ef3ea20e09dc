"""Which components can be trusted: agreement of their parts, and of their voxels, over resamples.

A resample is a fit of other subjects: of one half of the cohort, or of a bootstrap sample. The
parts of its winner-takes-all map get the numbers of the parts of the fit of all subjects. Then each
part is compared by itself, and so is each voxel.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from opnmf_pipeline.selection.null import Positions, random_labels
from opnmf_pipeline.selection.reproducibility import part_dice

__all__ = [
    "NO",
    "STABLE",
    "UNCLEAR",
    "YES",
    "assignment_shares",
    "matched_labels",
    "reproducibility",
    "reproducibility_by_chance",
    "stability",
]

Labels = NDArray[np.integer]

INTERVAL = (0.025, 0.975)
"""Quantiles at the ends of an interval."""
N_PLACED = 5
"""Only halves of so many splits are placed at random, because sizes differ little between splits.
Each of their first halves is compared with each of their second halves."""
N_DRAWS = 1000
"""Number of means over random splits."""
STABLE = 0.8
"""A voxel is stable if at least this share of the resamples assigns it to its component."""
ROUNDING = 1e-9
"""A share of 0.8 that is computed by a division can be slightly smaller."""
YES, NO, UNCLEAR = "yes", "no", "unclear"
"""Whether a component is reproduced: its interval is above that of chance; it is not even above the
mean of chance; or neither."""


def matched_labels(reference: Labels, labels: Labels, n_components: int) -> Labels:
    """Give the parts of a label map the numbers of the parts of another that they match.

    The one-to-one pairs are those with the largest sum of Dice coefficients.

    Parameters
    ----------
    reference, labels : ndarray of shape (n_voxels,), integer
        Labels from 1 to ``n_components``, 0 for none.
    n_components : int
        Number of parts, including parts without voxels.

    Returns
    -------
    ndarray of shape (n_voxels,), integer
        ``labels`` with other numbers; 0 stays 0.
    """
    of_reference, of_labels = linear_sum_assignment(-part_dice(reference, labels, n_components))
    numbers = np.zeros(n_components + 1, dtype=labels.dtype)
    numbers[of_labels + 1] = of_reference + 1
    renumbered: Labels = numbers[labels]
    return renumbered


def reproducibility(
    reference: Labels, halves: Sequence[Sequence[Labels]], n_components: int
) -> NDArray[np.float64]:
    """Return how well each component is found in both parts of each split of the cohort.

    Both parts have different subjects. The fit of all subjects only numbers their components. A
    comparison with it would be too good, because it contains their subjects.

    Parameters
    ----------
    reference : ndarray of shape (n_voxels,), integer
        Labels of the fit of all subjects, from 1; 0 for none.
    halves : sequence of pairs of ndarray of shape (n_voxels,), integer
        Labels of the fits of both parts of each split.
    n_components : int
        Number of components.

    Returns
    -------
    ndarray of shape (n_splits, n_components), float64
        Dice coefficient; 0 if both parts are empty.
    """
    found = np.empty((len(halves), n_components))
    for dice, pair in zip(found, halves, strict=True):
        a, b = (matched_labels(reference, half, n_components) for half in pair)
        dice[:] = part_dice(a, b, n_components).diagonal()
    return found


def reproducibility_by_chance(
    reference: Labels,
    halves: Sequence[Sequence[Labels]],
    n_components: int,
    positions: Positions,
    n_null: int,
    seed: int | Sequence[int],
) -> NDArray[np.float64]:
    """Return the mean of this measure over splits of random compact parts with the same sizes.

    The mean over the real splits is compared with it. The splits are independent here. Real splits
    share subjects, so that their mean varies more: compare the range of single splits, too.

    Parameters
    ----------
    reference, halves, n_components
        As in `reproducibility`; only the sizes of the parts are used.
    positions : ndarray of shape (n_voxels, n_dimensions) or None
        Coordinates of the voxels, in mm; None if they have none: then labels are in random order.
    n_null : int
        Number of random references. Each has random halves of its own, of five splits or fewer.
    seed : int or sequence of int
        Seed.

    Returns
    -------
    ndarray of shape (n_draws, n_components), float64
        Each row is the mean over as many random splits as there are real ones.
    """
    if not halves or not n_null:
        return np.empty((0, n_components))
    rng = np.random.default_rng(seed)

    def placed(labels: Labels) -> Labels:
        return random_labels(positions, np.bincount(labels, minlength=n_components + 1), rng)

    found = []
    for _ in range(n_null):
        anywhere = placed(reference)
        firsts, seconds = (
            [matched_labels(anywhere, placed(half), n_components) for half in side]
            for side in zip(*halves[:N_PLACED], strict=True)
        )
        found += [part_dice(a, b, n_components).diagonal() for a, b in product(firsts, seconds)]
    drawn: NDArray[np.float64] = rng.choice(np.array(found), (N_DRAWS, len(halves))).mean(axis=1)
    return drawn


def assignment_shares(
    reference: Labels, resamples: Sequence[Labels], n_components: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the share of resamples that assign each voxel to its component, and part sizes.

    Parameters
    ----------
    reference : ndarray of shape (n_voxels,), integer
        Labels of the fit of all subjects, from 1; 0 for none.
    resamples : sequence of ndarray of shape (n_voxels,), integer
        Labels of the fits of other subjects, one or more.
    n_components : int
        Number of components.

    Returns
    -------
    shares : ndarray of shape (n_voxels,), float64
        0 where the reference has no label.
    sizes : ndarray of shape (n_resamples, n_components), int64
        Number of voxels of each part.
    """
    shares = np.zeros(len(reference))
    sizes = []
    for labels in resamples:
        matched = matched_labels(reference, labels, n_components)
        shares += (matched == reference) & (reference > 0)
        sizes.append(np.bincount(matched, minlength=n_components + 1)[1:])
    return shares / len(sizes), np.array(sizes)


def stability(
    reference: Labels,
    shares: NDArray[np.floating],
    sizes: NDArray[np.int64],
    dice: NDArray[np.float64],
    by_chance: NDArray[np.float64],
) -> pd.DataFrame:
    """Summarize what resamples say about each component.

    Parameters
    ----------
    reference : ndarray of shape (n_voxels,), integer
        Labels of the fit of all subjects.
    shares, sizes : ndarray
        See `assignment_shares`.
    dice : ndarray of shape (n_splits, n_components), float64
        See `reproducibility`; may have no rows.
    by_chance : ndarray of shape (n_draws, n_components), float64
        See `reproducibility_by_chance`; may have no rows.

    Returns
    -------
    DataFrame
        One row per component. ``reproduced``: `YES` if the interval of ``dice`` is above the one
        that is expected by chance; `NO` if it is not even above the mean of chance; otherwise
        `UNCLEAR`; missing with fewer than two splits or without null. ``dice``, ``dice_null``:
        means, with ``_low`` and ``_high``, the 2.5th and 97.5th percentiles. ``stability``: mean of
        ``shares`` over the voxels of the component. ``stable``: share of its voxels where it is at
        least `STABLE`. ``size``, ``size_low``, ``size_high``: number of voxels, and percentiles
        over the resamples.
    """
    n_components = sizes.shape[1]
    size = np.bincount(reference, minlength=n_components + 1)[1:]
    known = np.where(size > 0, size, np.nan)

    def within(values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean of the values over the voxels of each component."""
        return np.bincount(reference, values, minlength=n_components + 1)[1:] / known

    smallest, largest = np.quantile(sizes, INTERVAL, axis=0)
    table = pd.DataFrame(
        {
            **_summary("dice", dice, n_components),
            **_summary("dice_null", by_chance, n_components),
            "stability": within(shares),
            "stable": within(shares >= STABLE - ROUNDING),
            "size": size,
            "size_low": smallest,
            "size_high": largest,
        }
    )
    low = table["dice_low"]
    verdict = np.select(
        [low > table["dice_null_high"], low <= table["dice_null"]], [YES, NO], UNCLEAR
    )
    table.insert(0, "reproduced", verdict.astype(object))
    table.loc[low.isna() | table["dice_null"].isna(), "reproduced"] = None
    return table


def _summary(
    name: str, values: NDArray[np.float64], n_components: int
) -> dict[str, NDArray[np.float64]]:
    """Return mean and interval of each column; one row has no interval, and no row is nothing."""
    unknown = np.full(n_components, np.nan)
    low, high = np.quantile(values, INTERVAL, axis=0) if len(values) > 1 else (unknown, unknown)
    mean = values.mean(axis=0) if len(values) else unknown
    return {name: mean, f"{name}_low": low, f"{name}_high": high}
