"""The variance of the voxels that a column of the table of subjects explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import RANK, row_blocks
from opnmf_pipeline.adjustment.design import Design

__all__ = ["bases_of", "explained_by"]


def bases_of(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Return an orthonormal basis of the linear model of each column, (n_subjects, n_columns).

    Parameters
    ----------
    table : DataFrame
        One row per subject; columns of text are categories.
    columns : sequence of str
        Columns of the table.
    """
    return {name: _basis(table, name) for name in columns}


def explained_by(
    X: NDArray[np.floating], bases: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Return the R² of a linear model of each voxel with one column.

    Parameters
    ----------
    X : ndarray of shape (n_voxels, n_subjects)
        It is read once, in blocks of rows.
    bases : mapping of str to ndarray
        :func:`bases_of` the columns.

    Returns
    -------
    dict of str to ndarray
        By column. Voxels that do not vary are left out.
    """
    shares: dict[str, list[NDArray[np.float64]]] = {name: [] for name in bases}
    for block in _centered(X):
        total = np.square(block).sum(axis=1)
        varies = total > 0
        for name, basis in bases.items():
            explained = np.square(block[varies] @ basis).sum(axis=1)
            shares[name].append(explained / total[varies])
    return {name: np.concatenate(parts) for name, parts in shares.items()}


def _centered(X: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    for rows in row_blocks(*X.shape):
        block = X[rows].astype(np.float64)
        yield block - block.mean(axis=1, keepdims=True)


def _basis(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return an orthonormal basis of the centred columns of a model, (n_subjects, n_columns)."""
    design = Design.learn("matrix", f"`{column}`", table).matrix(table)
    sizes = design.std(axis=0)
    centered = (design - design.mean(axis=0))[:, sizes > 0] / sizes[sizes > 0]
    left, values, _ = np.linalg.svd(centered, full_matrices=False)
    basis: NDArray[np.float64] = left[:, values > RANK * values.max(initial=0)]
    return basis
