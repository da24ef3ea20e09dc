"""Stage ``metrics``: one table that compares the numbers of components."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.decomposition.reproducibility import matched_inner_products
from opnmf_pipeline.decomposition.shape import hoyer_sparsity, largest_overlap
from opnmf_pipeline.images.maps import masked, winner_takes_all
from opnmf_pipeline.stages.decompose import Factorization, read_factorization

__all__ = ["write_metrics"]

COLUMNS = {
    "n_components": "Number of components, k",
    "reconstruction_error": "Frobenius norm of X - WH",
    "explained_variance": "1 - (norm of X - WH / norm of X) squared, about zero and not the mean",
    "lower_bound": "Error of the truncated SVD with k terms, which no factorization can beat",
    "largest_overlap": "Largest cosine between two components; 0 where WᵀW is diagonal",
    "sparsity": "Mean Hoyer sparsity of the components, from 0 (flat) to 1 (one voxel)",
    "smallest_part": "Voxels of the smallest part in the winner-takes-all map",
    "n_iter": "Iterations of the fit",
    "converged": "Whether the fit met its tolerance",
    "inner_product": "Split halves: mean cosine of matched components, mean over the splits",
    "label_ari": "Split halves: adjusted Rand index of the label maps, mean over the splits",
    "planted_ari": "Adjusted Rand index against the planted labels, on voxels that have one",
}


def write_metrics(
    fits: Sequence[Path],
    out_file: Path,
    *,
    half_fits: Iterable[Path] = (),
    planted: Path | None = None,
    mask_file: Path | None = None,
) -> Path:
    """Write one row of indices per number of components.

    Parameters
    ----------
    fits : sequence of path
        Files of :func:`opnmf_pipeline.stages.decompose.decompose`, one per number of components.
    out_file : path
        TSV to write; a ``.json`` with the same name describes its columns.
    half_fits : iterable of path
        Files of :func:`opnmf_pipeline.stages.select.fit_half`, in any order.
    planted : path, optional
        Label map of the truth, where it is known; needs ``mask_file``.
    mask_file : path, optional
        The mask that the rows of the matrix came from.

    Returns
    -------
    path
        ``out_file``.
    """
    found = [read_factorization(path) for path in fits]
    table = pd.DataFrame([_indices(fit) for fit in found])
    reproducibility = _reproducibility([read_factorization(path) for path in half_fits])
    if not reproducibility.empty:
        table = table.merge(reproducibility, how="left", on="n_components")
    if planted is not None and mask_file is not None:
        truth = masked(planted, mask_file)
        table["planted_ari"] = [_planted_agreement(fit, truth) for fit in found]
    table.to_csv(out_file, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
    described = {name: {"Description": COLUMNS[str(name)]} for name in table}
    text = json.dumps(described, indent=1, ensure_ascii=False)
    out_file.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return out_file


def _indices(fit: Factorization) -> dict[str, Any]:
    W, _, info = fit
    parts = np.bincount(winner_takes_all(W), minlength=W.shape[1] + 1)[1:]
    return {
        "n_components": info["NumberOfComponents"],
        "reconstruction_error": info["ReconstructionError"],
        "explained_variance": 1 - (info["ReconstructionError"] / info["Norm"]) ** 2,
        "lower_bound": info["LowerBound"],
        "largest_overlap": largest_overlap(W),
        "sparsity": hoyer_sparsity(W).mean(),
        "smallest_part": int(parts.min()),
        "n_iter": info["Iterations"],
        "converged": info["Converged"],
    }


def _reproducibility(fits: Iterable[Factorization]) -> pd.DataFrame:
    """Return the mean over halvings of the agreement between the two halves, for each k."""
    halvings: dict[tuple[int, int], list[Factorization]] = {}
    for fit in fits:
        halvings.setdefault((fit.info["NumberOfComponents"], fit.info["Split"]), []).append(fit)
    rows = [
        {
            "n_components": k,
            "inner_product": matched_inner_products(a.W, b.W).mean(),
            "label_ari": adjusted_rand_score(winner_takes_all(a.W), winner_takes_all(b.W)),
        }
        for (k, _), (a, b) in sorted(halvings.items())
    ]
    return (
        pd.DataFrame(rows).groupby("n_components", as_index=False).mean()
        if rows
        else pd.DataFrame()
    )


def _planted_agreement(fit: Factorization, truth: NDArray[Any]) -> float:
    """Return the adjusted Rand index on the voxels that belong to a planted part."""
    return float(adjusted_rand_score(truth[truth > 0], winner_takes_all(fit.W)[truth > 0]))
