"""The covariates of the report: columns of the table of subjects with age, sex and site."""

from __future__ import annotations

import pandas as pd

from opnmf_pipeline.tables import typed

__all__ = ["find_covariates"]

NAMES = ("age", "sex", "gender", "site", "scanner")
"""Names of the covariates, in upper or lower case."""
MAX_LEVELS = 40
MIN_SUBJECTS = 10
MIN_PER_LEVEL = 3


def find_covariates(participants: pd.DataFrame) -> pd.DataFrame:
    """Return the columns with age, sex or site that vary and have values for enough subjects.

    Age stays numeric; the other columns become text, because their numbers are codes.

    Parameters
    ----------
    participants : DataFrame
        One row per subject.

    Returns
    -------
    DataFrame
        The same rows; there may be no column. Levels with few subjects are missing values.
    """
    found = {}
    for name in participants:
        if str(name).lower() not in NAMES:
            continue
        column = participants[name]
        if str(name).lower() == "age":
            column = pd.to_numeric(typed(column), errors="coerce")
            usable = column.notna().sum() >= MIN_SUBJECTS and column.std() > 0
        else:
            column = column.astype("string").where(column.astype("string").str.strip().ne(""))
            sizes = column.value_counts()
            column = column.where(column.isin(sizes.index[sizes >= MIN_PER_LEVEL]))
            usable = 2 <= column.nunique() <= MAX_LEVELS and column.notna().sum() >= MIN_SUBJECTS
        if usable:
            found[str(name)] = column
    return pd.DataFrame(found, index=participants.index)
