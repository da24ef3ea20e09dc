"""The adjustment of a run before its images are read: who is left out, and what is refused."""

from __future__ import annotations

import logging

import pandas as pd

from opnmf_pipeline.adjustment.adjustment import columns_used
from opnmf_pipeline.adjustment.design import shown
from opnmf_pipeline.adjustment.summary import Summary, summarized
from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.cohort import IDENTIFIERS, by_row, row_names
from opnmf_pipeline.runs.change import people_of_fits
from opnmf_pipeline.tables import as_typed

__all__ = ["check_adjustment", "with_values"]

logger = logging.getLogger(__name__)

LEFT_OUT_MSG = "left out %d subject(s) without a value in a column of the adjustment (%s): %s"
LEAVE_OUT_MSG = (
    "selection.leave_out: {column}: the subjects of a group that is left out cannot be adjusted "
    "with a model that never saw this group, but matrix uses {column} as a batch or a covariate; "
    "use random halves (selection.n_splits), or remove {column} from matrix"
)


def with_values(cohort: pd.DataFrame, config: PipelineConfig) -> pd.DataFrame:
    """Return the rows of a cohort that have a value in every column of the adjustment.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id`` and covariates, one row per image. With ``matrix.change``, the row of
        ``from_session`` decides about both sessions.
    config : PipelineConfig
        Settings of the adjustment. With ``on_missing_covariate: error``, the table is returned as
        it is.

    Raises
    ------
    ConfigError
        A formula is not allowed, or a column does not exist.
    """
    if not config.matrix.has_models or config.inputs.on_missing_covariate == "error":
        return cohort
    people = people_of_fits(cohort, config)
    table = _people(people)
    used = columns_used(config.matrix, list(map(str, table)))
    missing = people[table[used].isna().any(axis=1).to_numpy()]
    if not missing.empty:
        names = row_names(missing)
        logger.warning(LEFT_OUT_MSG, len(names), ", ".join(used), shown(names))
    keys = [name for name in IDENTIFIERS if name in people]
    gone = pd.MultiIndex.from_frame(cohort[keys]).isin(pd.MultiIndex.from_frame(missing[keys]))
    return cohort[~gone].reset_index(drop=True)


def check_adjustment(config: PipelineConfig, cohort: pd.DataFrame) -> Summary | None:
    """Require that the adjustment can be estimated from a cohort, and describe its models.

    Parameters
    ----------
    config : PipelineConfig
        Settings of the adjustment.
    cohort : DataFrame
        ``participant_id`` and covariates, one row per column of the matrix.

    Returns
    -------
    Summary or None
        None without an adjustment.

    Raises
    ------
    ConfigError
        See :func:`opnmf_pipeline.adjustment.summary.summarized`; or groups are left out that the
        adjustment has to know.
    CohortError
        A subject has no value in a column.
    """
    if not config.matrix.has_models:
        return None
    table = _people(cohort)
    used = columns_used(config.matrix, list(map(str, table)))
    if config.selection.leave_out in used:
        raise ConfigError(LEAVE_OUT_MSG.format(column=config.selection.leave_out))
    return summarized(config.matrix, table)


def _people(cohort: pd.DataFrame) -> pd.DataFrame:
    return as_typed(by_row(cohort).drop(columns="image", errors="ignore"))
