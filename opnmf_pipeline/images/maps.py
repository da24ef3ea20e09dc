"""Components as parts: what they are called, and which one weighs most where."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["component_names", "winner_takes_all"]


def component_names(n_components: int) -> list[str]:
    """Name components by their number, with equal width.

    Examples
    --------
    >>> component_names(10)[-2:]
    ['component09', 'component10']
    """
    width = max(2, len(str(n_components)))
    return [f"component{number:0{width}d}" for number in range(1, n_components + 1)]


def winner_takes_all(W: NDArray[np.floating]) -> NDArray[np.int16]:
    """Give each row to the component that weighs most in it.

    Parameters
    ----------
    W : ndarray of shape (n_voxels, n_components), non-negative

    Returns
    -------
    ndarray of shape (n_voxels,), int16
        Number of the component, from 1; 0 where no component has weight.
    """
    weightless = ~W.any(axis=1)
    labels: NDArray[np.int16] = np.argmax(W, axis=1).astype(np.int16) + np.int16(1)
    labels[weightless] = 0
    return labels
