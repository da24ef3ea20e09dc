"""Compiled code where numba can make it; the caller has NumPy code for where it cannot."""

import logging
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from opnmf_pipeline.decomposition.passes import Array

logger = logging.getLogger(__name__)

SWITCH = "OPNMF_COMPILED"
"""Environment variable: ``0`` keeps numba out, for a machine where it misbehaves."""

SWITCHED_OFF_MSG = "%s=0: NumPy solves the rows, which takes several times longer"
BROKEN_MSG = "numba is not usable (%s: %s): NumPy solves the rows, which takes several times longer"


@cache
def row_solver(dtype: np.dtype) -> Callable[..., float] | None:
    """Return `kernels.solve_rows`, compiled for a dtype, or None; the log says why."""
    one, one64 = np.ones((1, 1), dtype), np.ones((1, 1))
    return _tried("solve_rows", one, one, one.copy(), one64, one.copy(), one64.copy(), np.ones(1))


@cache
def row_assigner(dtype: np.dtype) -> Callable[..., float] | None:
    """Return `kernels.assign_rows`, compiled for a dtype, or None; the log says why."""
    one, one64 = np.ones((1, 1), dtype), np.ones((1, 1))
    return _tried("assign_rows", one, one, one.copy(), 1.0, one.copy(), one64.copy())


def rows_to_read(X_b: Any) -> Array:
    """Return a block of X as the kernels take it, which add up WᵀX from its values.

    A block on a device is without columns for them: the device makes WᵀX.
    """
    X_b = X_b if isinstance(X_b, np.ndarray) else np.empty((len(X_b), 0), X_b.dtype)
    return np.require(X_b, requirements=["C", "W"])  # one kind of array is compiled for


def _tried(name: str, *arguments: object) -> Callable[..., float] | None:
    """Return a kernel after a first call, which compiles it; None where that fails.

    numba is imported here, at the first fit that needs it, since the import takes half a second.
    """
    if os.environ.get(SWITCH) == "0":
        logger.info(SWITCHED_OFF_MSG, SWITCH)
        return None
    try:
        kernels = import_module("opnmf_pipeline.decomposition.kernels")
        kernel: Callable[..., float] = getattr(kernels, name)
        kernel(*arguments)
    except Exception as error:  # of many kinds: no numba, libraries that do not fit, no compiler
        logger.info(BROKEN_MSG, type(error).__name__, error)
        return None
    return kernel
