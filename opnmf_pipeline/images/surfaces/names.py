"""File names of surfaces: which files are surfaces, and which two files are one image.

An image is one CIFTI file, one GIFTI file with the values of both hemispheres (CAT12), or two
files, one per hemisphere. Two files are named by the left one; the names of the right one differs
only in the mark of the hemisphere.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = [
    "ending",
    "first_file",
    "hemisphere",
    "is_cifti",
    "is_image",
    "other_file",
    "without_mark",
]

MARK = re.compile(
    r"(?<![^._-])(?:lh|rh)(?=[._])|(?<![^_])hemi-(?:L|R)(?![^._])|(?<=\.)(?:L|R)(?=\.)"
)
"""Mark of the hemisphere: of FreeSurfer and CAT12, of BIDS, of the Human Connectome Project."""
WHOLE_MARK = re.compile(f"(?:{MARK.pattern})[._]?")
SWAPPED = str.maketrans("lrLR", "rlRL")
CIFTI = re.compile(r"\.[dp](?:scalar|series|tseries|label|conn)\.nii$")
GIFTI = (".gii", ".gii.gz")
MGH = (".mgh", ".mgz")
LABELS = ".annot"
OTHERS = (".nii", ".gz", ".img", ".hdr", ".tsv", ".csv", ".txt", ".json")
"""Endings of files that are not surfaces, even if their names begin with ``lh.``."""


def is_cifti(path: str | Path) -> bool:
    """Tell whether a file name has the ending of a CIFTI-2 file."""
    return CIFTI.search(Path(path).name) is not None


def is_image(path: str | Path) -> bool:
    """Tell by its name whether a file is a surface.

    FreeSurfer names morphometry files without an ending. Files of FreeSurfer's format ``.mgh`` are
    surfaces if their name has the mark of a hemisphere, otherwise volumes.

    Examples
    --------
    >>> [is_image(name) for name in ("a_hemi-L_b.shape.gii", "a.dscalar.nii", "lh.thickness")]
    [True, True, True]
    >>> [is_image(name) for name in ("lh.area.mgh", "aseg.mgz", "lh.roi.nii.gz", "a.nii")]
    [True, False, False, False]
    >>> [is_image(name) for name in ("lh.aparc.annot", "fsa5_rh_aparc.annot", "aparc.annot")]
    [True, True, False]
    """
    name = Path(path).name
    if is_cifti(name) or name.endswith(GIFTI):
        return True
    marked = hemisphere(name) is not None
    if name.endswith((*MGH, LABELS)):
        return marked
    return marked and name[1:3] == "h." and not name.endswith(OTHERS)


def ending(path: str | Path) -> str:
    """Return the ending that tells the format of a file: ``.gii``, ``.mgh``, or another suffix."""
    suffix = Path(Path(path).name.removesuffix(".gz")).suffix
    return MGH[0] if suffix in MGH else suffix


def hemisphere(path: str | Path) -> str | None:
    """Return the hemisphere in a file name, ``L`` or ``R``; None if the name has no hemisphere.

    Examples
    --------
    >>> [hemisphere(name) for name in ("rh.area.mgh", "s12.lh.thickness.resampled.sub01.gii")]
    ['R', 'L']
    >>> [hemisphere(name) for name in ("a_hemi-R_b.shape.gii", "1.L.c.32k_fs_LR.gii", "a.gii")]
    ['R', 'L', None]
    """
    found = None if is_cifti(path) else MARK.search(Path(path).name)
    return None if found is None else found[0].removesuffix("h")[-1].upper()


def without_mark(path: str | Path) -> str:
    """Return a file name without the mark of its hemisphere, if it has one.

    Examples
    --------
    >>> [without_mark(name) for name in ("a/lh.aparc.annot", "a_hemi-R_dseg.label.gii", "a.nii")]
    ['aparc.annot', 'a_dseg.label.gii', 'a.nii']
    """
    name = Path(path).name
    return name if hemisphere(name) is None else WHOLE_MARK.sub("", name, count=1)


def other_file(path: str | Path) -> str | None:
    """Return the path of the other hemisphere; None if the name has no hemisphere.

    Examples
    --------
    >>> other_file("/s1/surf/lh.thickness.fwhm10.fsaverage.mgh")
    '/s1/surf/rh.thickness.fwhm10.fsaverage.mgh'
    """
    if hemisphere(path) is None:
        return None
    name = MARK.sub(lambda mark: _swapped(mark[0]), Path(path).name, count=1)
    return str(Path(path).with_name(name))


def _swapped(mark: str) -> str:
    return mark[:-1] + mark[-1].translate(SWAPPED) if mark[-1] in "LR" else mark.translate(SWAPPED)


def first_file(path: str) -> str:
    """Return the file that names the image of a file: the left one of two hemispheres.

    If the left file does not exist, this is the right file.
    """
    other = other_file(path)
    return other if hemisphere(path) == "R" and other and Path(other).exists() else path
