"""Where components are: overlap with the regions of an atlas, peaks, and proposed names."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["OUTSIDE", "hemisphere_peaks", "propose_names", "region_overlaps"]

OUTSIDE = "outside the atlas"
SMALLEST_PERCENT = 0.1
"""Regions with less of a component are left out of the table."""

HALF = 50.0
"""A name lists regions until they cover this much of a component, in per cent,"""
MOST_REGIONS = 3
"""but not more than so many regions,"""
SMALLEST_NAMED = 5.0
"""and none with less of the component than this, in per cent."""
THIRD = 100 / 3
"""If the listed regions cover less than this, the component is widespread."""
ONE_SIDED = 0.25
"""A region is bilateral if the smaller side has at least this share of both sides."""

SIDE = re.compile(r"(?<![A-Za-z0-9])((?i:left|right|lh|rh)|L|R)(?![A-Za-z0-9])")
"""The hemisphere in the name of a region: ``Left-Putamen``, ``Insula_L``, ``ctx-rh-cuneus``."""
SEPARATORS = " _-."


def region_overlaps(
    W: NDArray[np.floating], labels: NDArray[np.integer], regions: NDArray[np.integer]
) -> pd.DataFrame:
    """Measure how much of each component is in each region, and of each region in its part.

    Parameters
    ----------
    W : ndarray of shape (n_rows, n_components), non-negative
    labels : ndarray of shape (n_rows,), integer
        Result of :func:`opnmf_pipeline.selection.shape.winner_takes_all`.
    regions : ndarray of shape (n_rows,), integer
        Index of the region of each row, from 1; 0 for no region.

    Returns
    -------
    DataFrame
        One row per component and region with at least 0.1 % of the weight of the component, by
        decreasing weight: ``component`` (from 1), ``index`` of the region (0 outside the atlas),
        ``percent_of_component`` (share of its weight) and ``percent_of_region`` (share of the rows
        of the region that are in the part of the component; NaN outside the atlas).
    """
    n_components = W.shape[1]
    indices, place = np.unique(regions, return_inverse=True)
    cells = place * (n_components + 1) + labels
    counts = np.bincount(cells, minlength=len(indices) * (n_components + 1))
    counts = counts.reshape(len(indices), n_components + 1)
    of_region = 100 * counts[:, 1:] / counts.sum(axis=1, keepdims=True)
    of_region[indices == 0] = np.nan
    tables = []
    for number, weights in enumerate(W.T.astype(np.float64)):
        in_region = np.bincount(place, weights, minlength=len(indices))
        of_component = 100 * in_region / max(float(weights.sum()), np.finfo(float).tiny)
        order = np.argsort(-of_component, kind="stable")
        order = order[of_component[order] >= SMALLEST_PERCENT]
        tables.append(
            pd.DataFrame(
                {
                    "component": number + 1,
                    "index": indices[order],
                    "percent_of_component": np.round(of_component[order], 1),
                    "percent_of_region": np.round(of_region[order, number], 1),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def hemisphere_peaks(
    W: NDArray[np.floating], hemispheres: NDArray[np.integer]
) -> dict[str, NDArray[np.int64]]:
    """Find the row with the largest weight of each component in each hemisphere.

    Parameters
    ----------
    W : ndarray of shape (n_rows, n_components), non-negative
    hemispheres : ndarray of shape (n_rows,), integer
        −1 for rows of the left hemisphere, 1 for the right one, 0 for rows between them.

    Returns
    -------
    dict
        For ``left`` and ``right``, an ndarray of shape (n_components,) with the row; −1 if the
        component has no weight in this hemisphere.
    """
    peaks = {}
    for side, code in (("left", -1), ("right", 1)):
        rows = np.flatnonzero(hemispheres == code)
        found = np.full(W.shape[1], -1, dtype=np.int64)
        if rows.size:
            largest = rows[np.argmax(W[rows], axis=0)]
            weighted = W[largest, np.arange(W.shape[1])] > 0
            found[weighted] = largest[weighted]
        peaks[side] = found
    return peaks


def propose_names(overlaps: pd.DataFrame, n_components: int) -> list[str | None]:
    """Name each component after the regions that have most of it.

    Regions of both hemispheres count together. If no few regions have a third of the component, it
    is called widespread and named after the larger structures, such as lobes, if they are known. A
    component with more than half of its weight outside the atlas is named so. Components with equal
    names get the next region in addition, and a number if their names are still equal.

    Parameters
    ----------
    overlaps : DataFrame
        Table of :func:`region_overlaps` with the column ``region`` (names) and, if the atlas has
        it, ``structure`` (larger structures).
    n_components : int
        Number of components.

    Returns
    -------
    list of str or None
        One name per component; None for a component without weight.
    """
    parts = dict(iter(overlaps.groupby("component")))
    names = pd.Series({k: _name(part) for k, part in parts.items()}, dtype=object)
    for k in names.index[names.duplicated(keep=False)]:
        names[k] = _name(parts[k], n_more=1)
    equal = names.duplicated(keep=False)
    numbers = (names.groupby(names).cumcount() + 1).astype(str)
    names[equal] += " (" + numbers[equal] + ")"
    return [names.get(k) for k in range(1, n_components + 1)]


def _name(overlaps: pd.DataFrame, n_more: int = 0) -> str:
    """Return the name of one component from its rows of the table, with so many more regions."""
    overlaps = overlaps[overlaps["index"] != 0]
    if overlaps["percent_of_component"].sum() < HALF:
        return f"Mostly {OUTSIDE}"
    split = [_side_of(str(name)) for name in overlaps["region"]]
    shares = pd.DataFrame(
        {
            "side": [side for side, _ in split],
            "what": [what for _, what in split],
            "percent": overlaps["percent_of_component"].to_numpy(dtype=np.float64),
        }
    )
    if _most(shares).to_numpy().sum() >= THIRD:
        return _capitalized(_phrase(_most(shares, n_more)))
    if "structure" in overlaps:
        shares = shares.assign(what=overlaps["structure"].to_numpy())
    return f"Widespread: {_phrase(_most(shares, n_more))}"


def _side_of(region: str) -> tuple[str, str]:
    """Split the name of a region into hemisphere and structure.

    Examples
    --------
    >>> _side_of("Left-Putamen"), _side_of("ctx-rh-cuneus"), _side_of("Lingual_R")
    (('left', 'Putamen'), ('right', 'ctx cuneus'), ('right', 'Lingual'))
    >>> _side_of("Brain-Stem")
    ('', 'Brain-Stem')
    """
    found = SIDE.search(region)
    if not found:
        return "", region
    before, after = region[: found.start()], region[found.end() :]
    what = f"{before.rstrip(SEPARATORS)} {after.lstrip(SEPARATORS)}".strip()
    side = "left" if found[1][0] in "lL" else "right"
    return (side, what) if what else ("", region)


def _most(shares: pd.DataFrame, n_more: int = 0) -> pd.DataFrame:
    """Return the per cent on each side (columns) of the structures (rows) that a name lists.

    ``n_more``: number of structures to add, as far as they are large enough to be named.
    """
    table = shares.pivot_table(
        index="what", columns="side", values="percent", aggfunc="sum", fill_value=0.0, sort=False
    )
    table = table.reindex(columns=["left", "right", ""], fill_value=0.0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    totals = table.sum(axis=1)
    enough = totals.cumsum().shift(fill_value=0) >= HALF
    large = table[totals >= SMALLEST_NAMED]
    n_listed = min(int((~enough).sum()), MOST_REGIONS) + n_more
    return large[:n_listed] if len(large) else table[:1]


def _phrase(listed: pd.DataFrame) -> str:
    """Return structures as text, those of the same side together."""
    by_side: dict[str, list[str]] = {}
    for what, left, right, _ in listed.itertuples(name=None):
        sided = left + right
        bilateral = sided > 0 and min(left, right) >= ONE_SIDED * sided
        side = "bilateral " if bilateral else "left " if left > right else "right "
        by_side.setdefault(side if sided else "", []).append(str(what))
    return "; ".join(side + ", ".join(names) for side, names in by_side.items())


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]
