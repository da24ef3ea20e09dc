"""What a run refuses or warns of between its stages: ranks, memory, and units of the images."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.cohort import by_row, read_measures
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.measures import without_images
from opnmf_pipeline.reporting.attention import find_other_units
from opnmf_pipeline.reporting.covariates import require_columns
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.memory import GB, fit_bytes
from opnmf_pipeline.stages.quality import QUALITY_FILES
from opnmf_pipeline.stages.splits import Split

__all__ = ["check_covariates", "check_memory", "check_rank", "check_splits", "check_units"]

logger = logging.getLogger(__name__)

MEMORY_MSG = (
    "a fit with %d components may need %.3g GB, more than execution.memory_gb: %.3g; the part of "
    "the matrix that does not fit into memory is read from disk in every pass, which is slow"
)
UNITS_MSG = (
    "the values of %d image(s) are in other units than those of the other images: %s times the "
    "median; give all images the same units, such as a scale from 0 to 1"
)
TOO_FEW_MSG = (
    "{key}: of {total} subjects, {part} has only one, which is too few to compare numbers of "
    "components; add subjects, or compare with shuffled data (remove {key}, set "
    "selection.n_permutations: 5)"
)
TOO_MANY_MSG = "{key}: {k} is more than {n}, the number of {what}; lower it to at most {n}"


def check_rank(config: PipelineConfig, ks: Iterable[int], n: int, what: str) -> None:
    """Require that no number of components is larger than a limit.

    Parameters
    ----------
    config : PipelineConfig
        Settings with the numbers of components.
    ks : iterable of int
        Those of them that the limit applies to.
    n : int
        The limit.
    what : str
        What ``n`` counts, for the message, such as ``subjects``.

    Raises
    ------
    ConfigError
        A number of components is larger than ``n``.
    """
    k = max(ks)
    if k > n:
        keys = ["decomposition.n_components", "selection.candidates"]
        if mapped := config.decomposition.n_components:  # if not, both are among the candidates
            keys = keys[:1] if k in mapped else keys[1:]
        raise ConfigError(TOO_MANY_MSG.format(key=" or ".join(keys), k=k, n=n, what=what))


def check_splits(config: PipelineConfig, splits: Sequence[Split]) -> None:
    """Require that each part of the splits has enough subjects.

    Raises
    ------
    ConfigError
        A part has fewer subjects than components in a fit.
    """
    if not splits:
        return
    split = min(splits, key=_smaller)
    n, left_out = _smaller(split), config.selection.leave_out
    key, part = "selection.n_splits", "a half"
    if left_out is not None:
        key = "selection.leave_out"
        part = f"the smaller part when {left_out} {split.left_out} is left out"
    if n < 2 <= max(config.compared):
        total = sum(map(len, split.halves))
        raise ConfigError(TOO_FEW_MSG.format(key=key, part=part, total=total))
    check_rank(config, config.compared, n, f"subjects of {part}")


def _smaller(split: Split) -> int:
    return min(map(len, split.halves))


def check_covariates(config: PipelineConfig, cohort: pd.DataFrame) -> None:
    """Require that the cohort has the covariates of the report.

    Parameters
    ----------
    config : PipelineConfig
        Settings with ``report.covariates``.
    cohort : DataFrame
        ``participant_id`` and covariates, one row per subject.

    Raises
    ------
    ConfigError
        A covariate is not a column of the cohort.
    """
    columns = without_images(by_row(cohort), config.inputs.names)
    require_columns(config.report.covariates or (), columns)


def check_memory(config: PipelineConfig, matrix_dir: Path) -> None:
    """Warn if the largest fit may not fit into memory.

    Parameters
    ----------
    config : PipelineConfig
        Settings with the numbers of components and ``execution.memory_gb``.
    matrix_dir : path
        Folder with the matrix.
    """
    n_voxels, n_subjects = read_matrix(matrix_dir / MATRIX_FILE)[0].shape
    k, allowed = max(config.ranks), config.execution.memory_gb
    needed = fit_bytes(n_voxels, n_subjects, k, config.decomposition.dtype) / GB
    if allowed is not None and needed > allowed:
        logger.warning(MEMORY_MSG, k, needed, allowed)


def check_units(quality_dir: Path) -> None:
    """Warn of images whose values are many times larger or smaller than those of the others.

    Parameters
    ----------
    quality_dir : path
        Folder of :func:`opnmf_pipeline.stages.quality.assess_cohort`.
    """
    others = find_other_units(by_row(read_measures(quality_dir / QUALITY_FILES["subjects"])))
    if others:
        named = ", ".join(f"{name} {factor:.3g}" for name, factor in others.items())
        logger.warning(UNITS_MSG, len(others), named)
