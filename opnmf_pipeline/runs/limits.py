"""What a cohort and a machine allow: numbers of components, and memory."""

from __future__ import annotations

import logging
from pathlib import Path

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.memory import GB, fit_bytes

__all__ = ["check_matrix", "check_rank"]

logger = logging.getLogger(__name__)

MEMORY_MSG = (
    "a fit with %d components may take %.3g GB, more than execution.memory_gb: %.3g; the part of "
    "the matrix that does not fit is read from disk in every pass, which is slow"
)
TOO_MANY_MSG = "{key}: {k} is more than the {n} {what}; lower it to at most {n}"


def check_rank(config: PipelineConfig, n: int, what: str) -> None:
    """Require that no number of components is above ``n``, the number of ``what``.

    Raises
    ------
    ConfigError
        One is.
    """
    k = max(config.ranks)
    if k > n:
        mapped = k in config.decomposition.n_components
        key = "decomposition.n_components" if mapped else "selection.candidates"
        raise ConfigError(TOO_MANY_MSG.format(key=key, k=k, n=n, what=what))


def check_matrix(config: PipelineConfig, matrix_dir: Path) -> None:
    """Require enough rows for the largest fit; warn where it may not fit into memory.

    Raises
    ------
    ConfigError
        A number of components is above the number of voxels.
    """
    n_voxels, n_subjects = read_matrix(matrix_dir / MATRIX_FILE)[0].shape
    check_rank(config, n_voxels, "voxels")
    k, allowed = max(config.ranks), config.execution.memory_gb
    needed = fit_bytes(n_voxels, n_subjects, k, config.decomposition.dtype) / GB
    if allowed is not None and needed > allowed:
        logger.warning(MEMORY_MSG, k, needed, allowed)
