"""Hemispheres in the names of features, such as those of FreeSurfer, ENIGMA and parcellations."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["hemispheres_of", "is_marked", "mirror_pairs", "without_hemisphere"]

WORDS = {"left": "right", "lh": "rh", "l": "r"}
MARK = re.compile(r"(?<![A-Za-z0-9])(left|right|lh|rh|l|r)(?![A-Za-z0-9])", re.IGNORECASE)
"""A mark between other characters than letters and digits: ``lh_insula``, ``Left-Amygdala``."""
GLUED = re.compile(r"^(?:(?:Left|Right|lh|rh)(?=[A-Z])|[LR](?=[A-Za-z]))")
"""A mark that begins a word, such as in ``Lthal``; it counts if the other hemisphere exists."""
WITHOUT_TWINS = re.compile(r"\d+Networks_")
"""Parcels of Schaefer with equal numbers do not correspond between the hemispheres."""


def is_marked(name: str) -> bool:
    """Tell whether a name says a hemisphere with a mark of its own.

    Examples
    --------
    >>> [is_marked(name) for name in ("lh_insula", "Left-Amygdala", "V1_R", "Lthal", "Age")]
    [True, True, True, False, False]
    """
    return MARK.search(name) is not None


def hemispheres_of(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int8]:
    """Return the hemisphere of each feature: −1 left, 1 right, 0 if its name says none.

    Examples
    --------
    >>> hemispheres_of(["Lthal", "Rthal", "Length", "R_V1_ROI", "Brain-Stem"]).tolist()
    [-1, 1, 0, 1, 0]
    """
    known = set(names)
    sides = np.zeros(len(names), dtype=np.int8)
    for number, name in enumerate(map(str, names)):
        if (mark := _mark(name, known)) is not None:
            sides[number] = -1 if mark[0][0] in "lL" else 1
    return sides


def without_hemisphere(names: Sequence[str] | NDArray[np.str_]) -> list[str]:
    """Return each name without the marks of its hemisphere.

    Examples
    --------
    >>> without_hemisphere(["lh_insula", "Lthal", "Rthal", "lh_L_V1_ROI", "CSF"])
    ['_insula', 'thal', 'thal', '__V1_ROI', 'CSF']
    """
    known, plain = set(names), []
    for name in map(str, names):
        mark = _mark(name, known)
        if mark is not None and mark.re is GLUED:
            plain.append(name[mark.end() :])
        else:
            plain.append(MARK.sub("", name))
    return plain


def mirror_pairs(names: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
    """Return each feature that also exists in the other hemisphere, and that other feature.

    Returns
    -------
    ndarray of shape (n_pairs, 2), int64
        Numbers of both features; each pair occurs in both directions.

    Examples
    --------
    >>> mirror_pairs(["lh_insula", "CSF", "rh_insula"]).tolist()
    [[0, 2], [2, 0]]
    """
    place = {str(name): number for number, name in enumerate(names)}
    known = set(place)
    pairs = [
        (number, place[other])
        for name, number in place.items()
        if (mark := _mark(name, known)) is not None
        and (other := _swapped(name, mark)) in place
        and not WITHOUT_TWINS.search(name)
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _mark(name: str, known: set[str]) -> re.Match[str] | None:
    if found := MARK.search(name):
        return found
    glued = GLUED.search(name)
    return glued if glued and _swapped(name, glued) in known else None


def _swapped(name: str, mark: re.Match[str]) -> str:
    """Return a name with the other hemisphere, in the same spelling."""
    word = mark[0]
    both = WORDS | {right: left for left, right in WORDS.items()}
    other = both[word.lower()]
    spelled = (
        other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
    )
    return name[: mark.start()] + spelled + name[mark.end() :]
