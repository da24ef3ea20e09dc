"""Signs that a matrix has subjects as rows, where the estimators expect voxels."""

from typing import Any

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

MANY_COLUMNS = 5000
"""Images have more voxels or vertices than this; fewer columns may be subjects, or pixels."""

SAMPLE_ROWS = 1000
"""So many rows are enough to compare the means: X may be a file that is larger than the memory."""

NAMED_SIGN = "the rows are named as subjects in BIDS ({name!r}), and the columns are not"
SIZE_SIGN = (
    "there are more columns than rows, and the means of the columns vary more than the means of "
    "the rows"
)

PARTICIPANT, SUBJECT = "participant_id", "sub-"
"""How BIDS calls the column of subjects, and how their names start."""


def axis_names(X: Any) -> tuple[str, str]:
    """Return the name of the rows and of the columns of a table if they are names of subjects.

    Parameters
    ----------
    X : array-like
        Only tables of pandas have such names.

    Returns
    -------
    tuple of str
        Empty where the rows or columns are not named as subjects are in BIDS.
    """
    return _subject_name(getattr(X, "index", None)), _subject_name(getattr(X, "columns", None))


def _subject_name(axis: Any) -> str:
    names = getattr(axis, "names", None)  # a list has a method `index`, and no names
    if not names:
        return ""
    if PARTICIPANT in names:
        return PARTICIPANT
    named = len(axis) > 0 and all(str(name).startswith(SUBJECT) for name in axis)
    return str(axis[0]) if named else ""


def transposed(X: Array, names: tuple[str, str]) -> str:
    """Return the sign that rows are subjects, in words; an empty text where there is none.

    The maps of all subjects are similar, so that the mean of a voxel depends on the voxel, and the
    mean of a subject depends on the subject only a little. So the rows are subjects if the means
    of the columns vary more. This alone would also warn for other data, such as photographs: it
    counts only where X has more columns than rows, and more than 5000, as images of the brain have.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        The data.
    names : tuple of str
        Result of `axis_names`.
    """
    of_rows, of_columns = names
    if of_rows and not of_columns:
        return NAMED_SIGN.format(name=of_rows)
    n_rows, n_columns = X.shape
    if of_columns or n_columns <= max(n_rows, MANY_COLUMNS):
        return ""
    sample = np.asarray(X[:: max(1, n_rows // SAMPLE_ROWS)])
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
        spread = [sample.mean(axis=axis, dtype=np.float64).var() for axis in (0, 1)]
    return SIZE_SIGN if spread[0] > spread[1] else ""
