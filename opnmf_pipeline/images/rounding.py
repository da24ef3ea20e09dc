"""Values that are stored with fewer digits than they have, and how much that changes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError

__all__ = ["MOST", "Rounding"]

MOST = 2.0**-11
"""Rounding to float16 changes no value by a larger share, unless the value is below 6e-5."""
TOO_LARGE_MSG = (
    "{name}: has the value {value:g}, and matrix.dtype: float16 stores values up to {largest:g}; "
    "set matrix.dtype: float32"
)
TOO_SMALL_MSG = (
    "matrix.dtype: float16 would change the values by {error:.2g} of their norm, since they are "
    "too small for it; set matrix.dtype: float32, or store the images in a larger unit"
)


class Rounding:
    """Rounds the values of images to a dtype, and sums up what that changes.

    Parameters
    ----------
    dtype : {'float32', 'float16'}
        With float32, nothing is rounded.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self._changed = self._total = 0.0

    def rounded(self, values: NDArray[np.float32], name: str) -> NDArray[np.floating]:
        """Return values in the dtype.

        Raises
        ------
        ImageError
            A value is too large for the dtype; names the image.
        """
        if values.dtype == self.dtype:
            return values
        largest = float(np.finfo(self.dtype).max)
        finite = np.where(np.isfinite(values), values, 0)
        most = float(np.abs(finite).max(initial=0))
        if most > largest:
            raise ImageError(TOO_LARGE_MSG.format(name=name, value=most, largest=largest))
        stored = values.astype(self.dtype)
        change = finite - np.where(np.isfinite(values), stored, 0)
        self._changed += float(np.einsum("i,i", change, change, dtype=np.float64))
        self._total += float(np.einsum("i,i", finite, finite, dtype=np.float64))
        return stored

    @property
    def error(self) -> float:
        """The norm of all changes, as a share of the norm of all values."""
        return float(np.sqrt(self._changed / self._total)) if self._total else 0.0

    def require_small(self) -> None:
        """Refuse values that lose too many digits.

        Raises
        ------
        ImageError
            The error is larger than that of values in the range of the dtype.
        """
        if self.error > MOST:
            raise ImageError(TOO_SMALL_MSG.format(error=self.error))
