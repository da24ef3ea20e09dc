"""Small arrays with known parts."""

import numpy as np


def overlapping_parts(rng, n_rows=90, n_columns=24, k=3):
    """Voxels × subjects of parts that overlap a little, and noise."""
    W = 0.1 * rng.random((n_rows, k))
    W[np.arange(n_rows), np.arange(n_rows) * k // n_rows] += 1
    return W @ rng.random((k, n_columns)) + 0.05 * rng.random((n_rows, n_columns))
