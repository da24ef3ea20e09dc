"""A pattern that finds the subject in the paths that a glob matches, from the paths themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

__all__ = ["propose_pattern"]

WILDCARDS = re.compile(r"(\*\*/|(?:\*|\?|\[!?\]?[^\]]*\])+)")
"""Wildcards of a glob that follow each other match one part of a path."""
FOLDERS = "**/"
BOUNDARIES = "_-. "


def propose_pattern(glob_pattern: str, paths: Sequence[str]) -> str | None:
    r"""Return a regular expression whose group ``participant_id`` is different in all paths.

    The group is the last part of the paths that a wildcard matches and that is different in all
    paths, without the text that all of these parts have at their start (other than ``sub-``) and
    at their end.

    Parameters
    ----------
    glob_pattern : str
        The glob, such as ``/data/mri/mwp1*.nii``.
    paths : sequence of str
        The paths that it matches.

    Returns
    -------
    str or None
        The expression; None if no part of the paths is different in all of them.

    Examples
    --------
    >>> propose_pattern("mri/mwp1*.nii", ["mri/mwp1S1_T1w.nii", "mri/mwp1S2_T1w.nii"])
    '/mwp1(?P<participant_id>[^/]+)_T1w\\.nii$'
    >>> propose_pattern("*/mri/mwp1*.nii", ["S01/mri/mwp1T1.nii", "S02/mri/mwp1T1.nii"])
    '(?P<participant_id>[^/]+)/mri/mwp1[^/]*\\.nii$'
    """
    if len(paths) < 2:
        return None
    pieces = WILDCARDS.split(glob_pattern)
    whole = "".join(
        re.escape(piece) if n % 2 == 0 else "((?:.*/)?)" if piece == FOLDERS else "([^/]*)"
        for n, piece in enumerate(pieces)
    )
    matches = [re.fullmatch(whole, path) for path in paths]
    for number in reversed(range(1, len(pieces), 2)):
        parts = [match[(number + 1) // 2] if match else "" for match in matches]
        if pieces[number] == FOLDERS or len(set(parts)) < len(parts) or not all(parts):
            continue
        pattern = _pattern(pieces, number, parts)
        found = [re.search(pattern, path) for path in paths]
        if len({match["participant_id"] for match in found if match}) == len(paths):
            return pattern
    return None


def _pattern(pieces: Sequence[str], number: int, parts: Sequence[str]) -> str:
    """Return the expression from the name that contains the part to the end of the path."""
    start, end = _common(parts)
    before = pieces[number - 1]
    slash = before.rfind("/")
    after = [
        re.escape(piece) if n % 2 == number % 2 - 1 else ".*" if piece == FOLDERS else "[^/]*"
        for n, piece in enumerate(pieces[number + 1 :])
    ]
    name = before[slash:] if slash >= 0 else before
    return f"{re.escape(name + start)}(?P<participant_id>[^/]+){re.escape(end)}{''.join(after)}$"


def _common(parts: Sequence[str]) -> tuple[str, str]:
    """Return what all parts have at their start and at their end, up to a boundary of words."""
    start = _shared_start(parts)
    start = start[: max(start.rfind(mark) for mark in BOUNDARIES) + 1]
    if start.endswith("sub-"):
        start = start[:-4]
    rest = [part[len(start) :] for part in parts]
    end = _shared_start([part[::-1] for part in rest])[::-1]
    places = [place for mark in BOUNDARIES if (place := end.find(mark)) >= 0]
    return start, end[min(places) :] if places else ""


def _shared_start(texts: Sequence[str]) -> str:
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in columns)
