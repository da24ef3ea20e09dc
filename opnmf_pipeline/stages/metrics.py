"""Tables that compare numbers of components."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.images.shape import symmetry
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.selection.agreement import (
    AGREEMENT_COLUMNS,
    NULL_COLUMNS,
    START_COLUMNS,
    agreement_by_chance,
    agreement_of_starts,
)
from opnmf_pipeline.selection.errors import explained_variance
from opnmf_pipeline.selection.ranks import gains, hierarchy
from opnmf_pipeline.selection.shape import hoyer_sparsity, largest_overlap, winner_takes_all
from opnmf_pipeline.stages.decompose import Factorization
from opnmf_pipeline.stages.halves import ERROR_COLUMNS, SHARED_COLUMNS, SPLIT_COLUMNS
from opnmf_pipeline.stages.spaces import mask_has_null

__all__ = [
    "HIERARCHY_COLUMNS",
    "METRICS_COLUMNS",
    "hierarchy_table",
    "metrics_table",
    "split_table",
]

OVER_SPLITS = [*ERROR_COLUMNS, *AGREEMENT_COLUMNS, *SHARED_COLUMNS]
"""Columns of the table of splits whose mean over the splits is in the table of metrics."""

METRICS_COLUMNS = {
    "n_components": "Number of components, k",
    "reconstruction_error": "Frobenius norm of X - WH",
    "explained_variance": "R² about the mean: 1 - (norm of X - WH / norm of X - x̄1ᵀ) "
    "squared, where x̄ is the mean over the subjects",
    "explained_variance_about_zero": "1 - (norm of X - WH / norm of X) squared; most of it is the "
    "mean over the subjects",
    "lower_bound": "Error of the truncated SVD with k terms, the smallest possible error",
    "error_gradient": "Decrease of the error from the previous k, per added component",
    "null_error": "Error with the values shuffled within each subject, mean over permutations",
    "null_error_sd": "Error with the values shuffled within each subject, standard deviation over "
    "permutations",
    "null_gradient": "Decrease of the null error from the previous k, per added component",
    **{
        name + suffix: f"{SPLIT_COLUMNS[name]}: {what} over the splits"
        for name in OVER_SPLITS
        for suffix, what in (("", "mean"), ("_sd", "standard deviation"))
    },
    **{name: f"{description}; mean over the splits" for name, description in NULL_COLUMNS.items()},
    "n_splits": "Number of splits",
    **START_COLUMNS,
    **{f"start_{name}": f"{NULL_COLUMNS[name]}; all pairs of starts" for name in NULL_COLUMNS},
    "n_starts": "Number of random starts that were compared",
    "sparsity": "Mean Hoyer sparsity of the components, from 0 (flat) to 1 (a single weight)",
    "largest_overlap": "Largest cosine between two components; 0 where WᵀW is diagonal",
    "symmetry": "Mean over components of the largest correlation between the mirror image of a "
    "component and any component; 1 if left and right are equal",
    "smallest_part": "Size of the smallest part in the winner-takes-all map: its number of rows "
    "of W",
    "n_pieces": "Mean number of connected pieces of a part; in volumes, voxels that share a face, "
    "an edge or a corner are connected",
    "n_iter": "Iterations of the fit",
    "converged": "Whether the fit converged",
    "planted_ari": "Adjusted Rand index with the planted labels, where there is a planted label",
}

HIERARCHY_COLUMNS = {
    "n_components": "Number of components, k",
    "part": "Part of the winner-takes-all map of k",
    "next_n_components": "The next larger number of components",
    "next_part": "Part of the winner-takes-all map of the next larger number",
    "n_voxels": "Number of rows of W that both parts share",
}


def metrics_table(
    fits: Sequence[Factorization],
    splits: pd.DataFrame,
    permuted: Iterable[Path],
    starts: Iterable[Factorization],
    mask: Mask,
    planted: Path | None = None,
    n_null: int = 0,
) -> pd.DataFrame:
    """Return one row of measures per number of components.

    Parameters
    ----------
    fits : sequence of Factorization
        Fits of the whole cohort, by increasing number of components.
    splits : DataFrame
        Result of :func:`split_table`; may be empty.
    permuted : iterable of path
        Files of :func:`opnmf_pipeline.stages.permuted.fit_permuted`, in any order.
    starts : iterable of Factorization
        Fits of the whole cohort from random starts, in any order.
    mask : Mask
        The rows of the fits.
    planted : path, optional
        Label map of the true components, if known.
    n_null : int
        Number of random pairs for each pair of starts, for the agreement by chance. 0: off.

    Returns
    -------
    DataFrame
        Those columns of ``METRICS_COLUMNS`` that have data.
    """
    table = pd.DataFrame([_indices(fit, mask) for fit in fits])
    ks = table["n_components"].tolist()
    for part in (_null(permuted), _over_splits(splits), _over_starts(starts, mask, n_null)):
        if not part.empty:
            table = table.merge(part, how="left", on="n_components")
    for gradient, error in (
        ("error_gradient", "reconstruction_error"),
        ("null_gradient", "null_error"),
    ):
        if error in table and len(ks) > 1:
            table[gradient] = gains(table[error], ks)
    if planted is not None:
        truth = mask.masked(planted)
        table["planted_ari"] = [_planted_agreement(fit, truth) for fit in fits]
    return table[[name for name in METRICS_COLUMNS if name in table]]


def split_table(halves: Iterable[Path], shared: Iterable[Path] = ()) -> pd.DataFrame:
    """Return one row per number of components and split, sorted by both.

    Parameters
    ----------
    halves : iterable of path
        Files of :func:`opnmf_pipeline.stages.halves.fit_halves`, in any order.
    shared : iterable of path
        Files of the same function with ``shared_start``, in any order.
    """
    which = ["n_components", "split"]
    rows = [
        pd.DataFrame(map(_read, files), columns=list(SPLIT_COLUMNS)).set_index(which)
        for files in (halves, shared)
    ]
    for name in SHARED_COLUMNS:
        rows[0][name] = rows[1][name.removeprefix("shared_start_")]
    table = rows[0].sort_index().reset_index()
    optional = ["left_out", "n_unseen", *NULL_COLUMNS, *SHARED_COLUMNS]
    return table.drop(columns=[name for name in optional if table[name].isna().all()])


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def hierarchy_table(fits: Sequence[Factorization]) -> pd.DataFrame:
    """Return how many voxels the parts at each k share with the parts at the next larger k.

    Parameters
    ----------
    fits : sequence of Factorization
        Fits of the whole cohort, by increasing number of components.

    Returns
    -------
    DataFrame
        The columns of ``HIERARCHY_COLUMNS``, one row for each pair of parts that overlap.
    """
    tables = []
    for coarse, fine in pairwise(fits):
        shared = hierarchy(coarse.W, fine.W)
        part, next_part = np.nonzero(shared)
        found = (
            coarse.info["NumberOfComponents"],
            part + 1,
            fine.info["NumberOfComponents"],
            next_part + 1,
            shared[part, next_part],
        )
        tables.append(pd.DataFrame(dict(zip(HIERARCHY_COLUMNS, found, strict=True))))
    return pd.concat(tables, ignore_index=True)


def _indices(fit: Factorization, mask: Mask) -> dict[str, Any]:
    W, _, info = fit
    error = info["ReconstructionError"]
    labels = winner_takes_all(W)
    parts = np.bincount(labels, minlength=W.shape[1] + 1)[1:]
    return {
        "n_components": info["NumberOfComponents"],
        "reconstruction_error": error,
        "explained_variance": explained_variance(error, info["NormAboutMean"]),
        "explained_variance_about_zero": explained_variance(error, info["Norm"]),
        "lower_bound": info["LowerBound"],
        "largest_overlap": largest_overlap(W),
        "sparsity": hoyer_sparsity(W).mean(),
        "symmetry": pd.Series(symmetry(W, mask)).mean(),
        "smallest_part": int(parts.min()),
        "n_pieces": mask.n_pieces(labels).sum() / np.count_nonzero(parts),
        "n_iter": info["Iterations"],
        "converged": info["Converged"],
    }


def _null(permuted: Iterable[Path]) -> pd.DataFrame:
    rows = [_read(path) for path in permuted]
    if not rows:
        return pd.DataFrame()
    errors = pd.DataFrame(rows).sort_values(["n_components", "seed"]).groupby("n_components")
    found = errors["error"].agg(["mean", "std"]).reset_index()
    return found.set_axis(["n_components", "null_error", "null_error_sd"], axis=1)


def _over_splits(splits: pd.DataFrame) -> pd.DataFrame:
    if splits.empty:
        return pd.DataFrame()
    by_rank = splits.groupby("n_components")
    measured = [name for name in OVER_SPLITS if name in splits]
    nulls = [name for name in NULL_COLUMNS if name in splits]
    means = by_rank[[*measured, *nulls]].mean()
    sds = by_rank[measured].std().add_suffix("_sd")
    return means.join(sds).join(by_rank.size().rename("n_splits")).reset_index()


def _over_starts(starts: Iterable[Factorization], mask: Mask, n_null: int) -> pd.DataFrame:
    """Return the agreement of the fits of each k; a k with a single fit has no row."""
    rows = []
    by_seed = sorted(starts, key=lambda fit: fit.info["Settings"]["random_state"])
    for k, fits in groupby(sorted(by_seed, key=_rank), key=_rank):
        weights = [fit.W for fit in fits]
        if len(weights) > 1:
            found = agreement_of_starts(weights)
            if mask_has_null(mask):
                null = agreement_by_chance(weights, mask.positions(), n_null, [k, 0])
                found |= {f"start_{name}": value for name, value in null.items()}
            rows.append({"n_components": k, **found, "n_starts": len(weights)})
    return pd.DataFrame(rows)


def _rank(fit: Factorization) -> int:
    return int(fit.W.shape[1])


def _planted_agreement(fit: Factorization, truth: NDArray[Any]) -> float:
    """Return the adjusted Rand index on the voxels that belong to a planted part."""
    return float(adjusted_rand_score(truth[truth > 0], winner_takes_all(fit.W)[truth > 0]))
