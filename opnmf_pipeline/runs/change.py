"""The change of each subject in a run, before its images are read: who has both sessions."""

from __future__ import annotations

import logging

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.pairs import Pairs, find_pairs

__all__ = ["people_of_fits", "with_pairs"]

logger = logging.getLogger(__name__)

OTHERS_MSG = "left out %d image(s) of other sessions than %s and %s"


def with_pairs(cohort: pd.DataFrame, config: PipelineConfig) -> pd.DataFrame:
    """Return the rows of a cohort that a run reads: with ``matrix.change``, those of its sessions.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id``, ``session_id`` and covariates, one row per image.
    config : PipelineConfig
        Settings of the change. Without it, the table is returned as it is.

    Raises
    ------
    CohortError
        See :func:`opnmf_pipeline.images.pairs.find_pairs`.
    """
    change = config.matrix.change
    if change is None:
        return cohort
    pairs = _pairs(cohort, config)
    used = cohort["session_id"].isin([change.from_session, change.to_session])
    if n_others := int((~used).sum()):
        logger.info(OTHERS_MSG, n_others, change.from_session, change.to_session)
    return cohort.iloc[sorted([*pairs.start, *pairs.end])].reset_index(drop=True)


def people_of_fits(cohort: pd.DataFrame, config: PipelineConfig) -> pd.DataFrame:
    """Return one row per column of the matrix that is factorized.

    Parameters
    ----------
    cohort : DataFrame
        One row per image.
    config : PipelineConfig
        With ``matrix.change``, the rows are subjects, with the columns of ``from_session``.
    """
    return cohort if config.matrix.change is None else _pairs(cohort, config).people(cohort)


def _pairs(cohort: pd.DataFrame, config: PipelineConfig) -> Pairs:
    assert config.matrix.change is not None
    try:
        return find_pairs(cohort, config.matrix.change)
    except CohortError as error:
        raise CohortError(f"matrix.change: {error}") from None
