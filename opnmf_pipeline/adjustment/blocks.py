"""The rows of a matrix in blocks, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "RANK", "Block", "Blocks", "row_blocks"]

BLOCK_BYTES = 32 * 2**20
"""A block of rows takes at most this much memory in float64."""
RANK = 1e-10
"""Singular values below this share of the largest one count as zero."""

Block = NDArray[np.float64]
Blocks = Callable[[], Iterator[tuple[slice, Block]]]
"""Starts a pass over the rows of a matrix: where each block is, and its values."""


def row_blocks(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Yield the blocks of rows of a matrix, in order."""
    step = max(1, BLOCK_BYTES // (8 * max(n_columns, 1)))
    yield from (slice(first, min(first + step, n_rows)) for first in range(0, n_rows, step))
