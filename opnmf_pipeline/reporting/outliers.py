"""Which of many values lies far from the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIMIT", "robust_z"]

LIMIT = 3.5
"""A value is an outlier where :func:`robust_z` is above this."""
MAD_TO_SD = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def robust_z(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the distance of each value from the median, in units of the spread of the others.

    The spread is 1.4826 times the median absolute deviation, which a few wild values cannot
    inflate (Leys et al. 2013, https://doi.org/10.1016/j.jesp.2013.03.013).

    Parameters
    ----------
    values : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n,), float64
        Signed; zero for all where most values are equal.

    Examples
    --------
    >>> robust_z(np.array([1.0, 2.0, 3.0, 4.0, 100.0])).round(1)
    array([-1.3, -0.7,  0. ,  0.7, 65.4])
    """
    deviations = np.asarray(values, dtype=np.float64) - np.median(values)
    spread = MAD_TO_SD * np.median(np.abs(deviations))
    return deviations / spread if spread > 0 else np.zeros_like(deviations)
