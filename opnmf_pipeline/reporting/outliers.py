"""Outliers: positive values that are far above the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["LIMIT", "RULE", "excess", "find_outliers"]

LIMIT = 3.5
"""A value is an outlier if :func:`excess` is above this."""
RULE = f"more than {LIMIT:g} scaled median absolute deviations above the median"
MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def excess(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the distance of the logarithm of each value from the median, in units of a spread.

    The spread is 1.4826 times the median absolute deviation, which a few outliers cannot inflate
    (Leys et al. 2013, https://doi.org/10.1016/j.jesp.2013.03.013). Logarithms are used because
    errors have a long tail, which would otherwise be flagged as a whole.

    Parameters
    ----------
    values : ndarray of shape (n,)
        Not negative.

    Returns
    -------
    ndarray of shape (n,), float64
        Positive above the median; all are zero if most values are equal.

    Examples
    --------
    >>> excess(np.exp([1.0, 2.0, 3.0, 4.0, 100.0])).round(1)
    array([-1.3, -0.7,  0. ,  0.7, 65.4])
    """
    logs = np.log(np.maximum(values, np.finfo(np.float64).tiny))
    deviations = logs - np.median(logs)
    spread = MAD_TO_SD * np.median(np.abs(deviations))
    return deviations / spread if spread > 0 else np.zeros_like(deviations)


def find_outliers(errors: pd.DataFrame) -> pd.DataFrame:
    """Return which values of each column are outliers, as a table of the same shape."""
    found = {k: excess(column.to_numpy()) > LIMIT for k, column in errors.items()}
    return pd.DataFrame(found, index=errors.index)
