"""Compiled code where numba can make it; the caller has NumPy code for where it cannot."""

import logging
import os
from collections.abc import Callable
from functools import cache

import numpy as np

logger = logging.getLogger(__name__)

SWITCH = "OPNMF_COMPILED"
"""Environment variable: ``0`` keeps numba out, for a machine where it misbehaves."""

SWITCHED_OFF_MSG = "%s=0: NumPy solves the rows, which takes several times longer"
BROKEN_MSG = "numba is not usable (%s: %s): NumPy solves the rows, which takes several times longer"


@cache
def row_solver(dtype: np.dtype) -> Callable[..., float] | None:
    """Return `kernels.solve_rows`, compiled for a dtype, or None; the log says why.

    numba is imported here, at the first fit that needs it, since the import takes half a second.
    """
    if os.environ.get(SWITCH) == "0":
        logger.info(SWITCHED_OFF_MSG, SWITCH)
        return None
    try:
        from opnmf_pipeline.decomposition.kernels import solve_rows

        one, one64 = np.ones((1, 1), dtype), np.ones((1, 1))
        solve_rows(one, one, one.copy(), one64, one.copy(), one64.copy(), np.ones(1))
    except Exception as error:  # of many kinds: no numba, libraries that do not fit, no compiler
        logger.info(BROKEN_MSG, type(error).__name__, error)
        return None
    return solve_rows
