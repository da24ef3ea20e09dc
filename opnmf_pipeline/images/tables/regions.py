"""Which region of an atlas each feature is, by their names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.images.hemispheres import hemispheres_of, without_hemisphere

__all__ = ["regions_of", "shared_regions"]

WORD = re.compile(r"[a-z0-9]+")
FILLERS = ("ctx", "roi")
"""Words of atlases that other programs leave out."""

Key = tuple[int, tuple[str, ...]]
"""Hemisphere of a name, and its words."""


def regions_of(features: Sequence[str], regions: pd.DataFrame) -> NDArray[np.int64]:
    """Return the region of each feature.

    A feature is a region if both are in the same hemisphere and the words of the region are
    consecutive words of the feature, without ``ctx`` and ``ROI``. Of several such regions, it is
    the one with most words. Upper and lower case are the same.

    Parameters
    ----------
    features : sequence of str
        Names of the features, such as ``lh_bankssts_thickness``.
    regions : DataFrame
        ``name`` of each region, such as ``ctx-lh-bankssts``, by its index.

    Returns
    -------
    ndarray of shape (n_features,), int64
        Index of the region; 0 if none has this name, or if it could be one of several.

    Examples
    --------
    >>> names = ["ctx-lh-insula", "ctx-rh-insula", "Left-Hippocampus"]
    >>> regions = pd.DataFrame({"name": names}, index=[1, 2, 3])
    >>> regions_of(["rh_insula_thickness", "L_insula", "hippocampus"], regions).tolist()
    [2, 1, 0]
    """
    known: dict[Key, list[int]] = defaultdict(list)
    for index, key in zip(regions.index, _keys(regions["name"].astype(str).tolist()), strict=True):
        known[key].append(int(index))
    return np.array([_region(key, known) for key in _keys(features)], dtype=np.int64)


def shared_regions(features: Sequence[str], found: NDArray[np.int64]) -> list[str]:
    """Return the features whose region is that of another feature, too.

    Parameters
    ----------
    features : sequence of str
        Names of the features.
    found : ndarray of shape (n_features,), int64
        Result of :func:`regions_of`.
    """
    count = Counter(found[found > 0].tolist())
    by_feature = zip(features, found.tolist(), strict=True)
    return [name for name, region in by_feature if count[region] > 1]


def _keys(names: Sequence[str]) -> list[Key]:
    """Return the hemisphere and the words of each name."""
    sides = hemispheres_of(names).tolist()
    words = (WORD.findall(name.lower()) for name in without_hemisphere(names))
    return [
        (side, tuple(word for word in found if word not in FILLERS))
        for side, found in zip(sides, words, strict=True)
    ]


def _region(key: Key, known: dict[Key, list[int]]) -> int:
    side, words = key
    for n_words in range(len(words), 0, -1):
        starts = range(len(words) - n_words + 1)
        runs = {words[start : start + n_words] for start in starts}
        if found := [index for run in runs for index in known.get((side, run), ())]:
            return found[0] if len(found) == 1 else 0
    return 0
