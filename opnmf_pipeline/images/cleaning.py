"""What the settings do with NaN and with negative values of images that are not resampled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig

__all__ = ["cleaned"]


def cleaned(values: NDArray[np.float32], options: MatrixConfig) -> NDArray[np.float32]:
    """Apply ``matrix.nan``, then ``matrix.negative: clip``, to the values of one image.

    NaN stays NaN where it is an error: ``write_matrix`` refuses it and names the subject.

    Parameters
    ----------
    values : ndarray, float32
    options : MatrixConfig
        Preprocessing.

    Returns
    -------
    ndarray of the same shape, float32
    """
    if options.masked:
        values = np.where(np.isfinite(values), values, np.float32(np.nan))
    elif options.nan == "zero":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return np.maximum(values, 0) if options.negative == "clip" else values
