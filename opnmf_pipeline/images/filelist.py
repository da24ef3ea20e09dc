"""Names for a list of image files: the subject and session in each name, or the name itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.files import why_missing
from opnmf_pipeline.images.surfaces.names import first_file

__all__ = ["named_images"]

BIDS_ROW = re.compile(r"sub-[A-Za-z0-9+]+(_ses-[A-Za-z0-9+]+)?")
OTHER = re.compile(r"[^A-Za-z0-9+]+")
N_NAMED = 5
MISSING_MSG = "{n} of {total} images cannot be found:\n{named}"
COUNT_MSG = "got {n} names for {total} images; give one name for each image"
TWICE_MSG = (
    "two images have the same name {row!r}: {first} and {second}; give one image per subject and "
    "session, or a settings file with inputs.table, which names them"
)


def named_images(images: Sequence[str | Path], names: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the images of a list, each with a name.

    Parameters
    ----------
    images : sequence of path
        Image files; both hemispheres of an image count once.
    names : sequence of str, optional
        Name of each image. Default: subject and session in the file names, or, if they do not
        identify the images, the file names without their endings.

    Returns
    -------
    DataFrame
        ``row``, such as ``sub-01_ses-1``, and ``image``, an absolute path, in the given order.

    Raises
    ------
    CohortError
        A file is missing, or two images have the same name.
    """
    paths = list(dict.fromkeys(first_file(str(Path(path).absolute())) for path in images))
    missing = [f"  {path}: {why_missing(path)}" for path in paths if not Path(path).exists()]
    if missing or not paths:
        named = "\n".join(missing[:N_NAMED] + ["  ..."] * (len(missing) > N_NAMED))
        raise CohortError(MISSING_MSG.format(n=len(missing), total=len(paths), named=named))
    if names is not None and len(names) != len(paths):
        raise CohortError(COUNT_MSG.format(n=len(names), total=len(paths)))
    rows = list(names) if names is not None else _rows(paths)
    first: dict[str, str] = {}
    for row, path in zip(rows, paths, strict=True):
        if row in first:
            raise CohortError(TWICE_MSG.format(row=row, first=first[row], second=path))
        first[row] = path
    return pd.DataFrame({"row": rows, "image": paths})


def _rows(paths: Sequence[str]) -> list[str]:
    # The last match, because a file name is more specific than its folders
    found = [list(BIDS_ROW.finditer(path))[-1:] for path in paths]
    rows = [match[0] for matches in found for match in matches]
    if len(set(rows)) == len(paths):
        return rows
    # The label of a BIDS entity has letters, digits and plus signs only
    stems = [OTHER.sub("", Path(path).name.partition(".")[0]) for path in paths]
    return [f"sub-{stem}" for stem in stems]
