"""What can be said about an adjustment before any image is read, and what is refused then."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.adjustment import columns_used, designs_of
from opnmf_pipeline.adjustment.blocks import RANK
from opnmf_pipeline.adjustment.design import as_text, require_values
from opnmf_pipeline.adjustment.scaling import Scaling
from opnmf_pipeline.config import GLOBAL, AdjustmentConfig
from opnmf_pipeline.exceptions import ConfigError

__all__ = ["Summary", "summarized"]

CONSTANT_MSG = (
    "matrix: the column {column!r}, which the adjustment uses, has the same value ({value}) for "
    "all subjects; remove it from the settings"
)
ALONE_MSG = (
    "matrix.harmonize: batches of {column!r} with one subject: {names}; their scale cannot be "
    "estimated; leave these subjects out, or merge these batches with others in the table"
)
CONFOUNDED_MSG = (
    "matrix.harmonize: the batches of {column!r} and the columns {names} of the design matrix "
    "cannot be told apart; remove these effects from matrix.harmonize.covariates and matrix.keep"
)
KEEP_MSG = (
    "matrix.keep: the columns {names} of the design matrix cannot be told apart from those of "
    "matrix.covariates; remove one of these effects"
)
FEW_MSG = (
    "matrix: the model has {n_columns} columns, which is too many for {n_subjects} subjects; use "
    "fewer covariates"
)


class Summary(NamedTuple):
    """The models of an adjustment.

    Attributes
    ----------
    columns : tuple of str
        Columns of the design matrix of ``covariates`` and ``keep``, after the intercept.
    rank : int
        Rank of this matrix, with the intercept.
    collinear : tuple of str
        Columns that are a combination of earlier ones. The effects of all columns together are
        removed either way.
    batches : dict of str to int
        Number of subjects of each batch.
    """

    columns: tuple[str, ...]
    rank: int
    collinear: tuple[str, ...]
    batches: dict[str, int]


def summarized(options: AdjustmentConfig, table: pd.DataFrame) -> Summary:
    """Describe the models of an adjustment, and refuse those that cannot be estimated.

    Parameters
    ----------
    options : AdjustmentConfig
        Settings of the adjustment.
    table : DataFrame
        One row per subject.

    Raises
    ------
    ConfigError
        A formula is not allowed, a column does not exist or is constant, a batch has one subject,
        or effects cannot be told apart.
    CohortError
        A subject has no value in a column.
    """
    used = columns_used(options, list(map(str, table)))
    require_values(table, used)
    for column in used:
        if table[column].nunique() < 2:
            value = as_text(table[column])[0]
            raise ConfigError(CONSTANT_MSG.format(column=column, value=value))
    if options.scale is not None and options.scale.by != GLOBAL:
        Scaling.learn(options.scale.by, table)
    stand_in = np.random.default_rng(0).uniform(1, 2, len(table))  # the means are not known yet
    table = table.assign(**{GLOBAL: stand_in})
    designs = designs_of(options, table)
    matrices = {name: design.matrix(table) for name, design in designs.items()}
    names = {name: design.names for name, design in designs.items()}
    batches = _require_batches(options, table, matrices.get("harmonize"), names.get("harmonize"))
    ones = np.ones((len(table), 1))
    removed = [matrices["covariates"]] if "covariates" in matrices else []
    kept = [matrices["keep"]] if "keep" in matrices else []
    columns = (*names.get("covariates", ()), *names.get("keep", ()))
    before = np.hstack([ones, *removed])
    model = np.hstack([before, *kept])
    if len(columns) + len(batches) + 2 > len(table):
        n_columns = len(columns) + len(batches) + 1
        raise ConfigError(FEW_MSG.format(n_columns=n_columns, n_subjects=len(table)))
    if removed and kept and (lost := dependent(before, kept[0], names["keep"])):
        raise ConfigError(KEEP_MSG.format(names=", ".join(lost)))
    collinear = dependent(ones, model[:, 1:], columns)
    return Summary(columns, 1 + len(columns) - len(collinear), tuple(collinear), batches)


def dependent(
    first: NDArray[np.float64], more: NDArray[np.float64], names: tuple[str, ...]
) -> list[str]:
    """Return the names of the columns that are a linear combination of all those before them."""
    found, matrix = [], first
    for name, column in zip(names, more.T, strict=True):
        fitted = matrix @ np.linalg.lstsq(matrix, column, rcond=None)[0]
        if np.linalg.norm(column - fitted) <= np.sqrt(RANK) * np.linalg.norm(column):
            found.append(name)
        else:
            matrix = np.column_stack([matrix, column])
    return found


def _require_batches(
    options: AdjustmentConfig,
    table: pd.DataFrame,
    matrix: NDArray[np.float64] | None,
    names: tuple[str, ...] | None,
) -> dict[str, int]:
    """Return the number of subjects of each batch, and refuse those that cannot be harmonized."""
    if options.harmonize is None:
        return {}
    column = options.harmonize.batch
    labels = pd.Series(as_text(table[column]))
    counts = {str(name): int(n) for name, n in labels.value_counts().sort_index().items()}
    if alone := [name for name, n in counts.items() if n < 2]:
        raise ConfigError(ALONE_MSG.format(column=column, names=", ".join(alone)))
    member = pd.get_dummies(labels).to_numpy(dtype=np.float64)
    if matrix is None or names is None:
        return counts
    collinear = dependent(np.ones((len(table), 1)), matrix, names)
    lost = [name for name in dependent(member, matrix, names) if name not in collinear]
    if lost:
        raise ConfigError(CONFOUNDED_MSG.format(column=column, names=", ".join(lost)))
    return counts
