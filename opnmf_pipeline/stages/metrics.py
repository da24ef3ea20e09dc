"""Stage ``metrics``: one table that compares the numbers of components."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.decomposition.selection import hoyer_sparsity, largest_overlap
from opnmf_pipeline.images.maps import winner_takes_all
from opnmf_pipeline.images.volumes import open_image
from opnmf_pipeline.stages.decompose import read_factorization

__all__ = ["planted_agreement", "write_metrics"]

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
    fits: Mapping[int, Path],
    maps: Mapping[int, Path],
    out_file: Path,
    reproducibility: Mapping[int, Path],
    planted: Path | None = None,
) -> Path:
    """Write one row of indices per number of components.

    Parameters
    ----------
    fits : mapping of int to path
        Folders of :func:`opnmf_pipeline.stages.decompose.decompose`, by number of components.
    maps : mapping of int to path
        Folders of :func:`opnmf_pipeline.stages.maps.write_maps`.
    out_file : path
        TSV to write; a ``.json`` with the same name describes its columns.
    reproducibility : mapping of int to path
        Files of :func:`opnmf_pipeline.stages.select.split_half_reproducibility`; may be empty.
    planted : path, optional
        Label map of the truth, where it is known.

    Returns
    -------
    path
        ``out_file``.
    """
    rows = []
    for k, folder in fits.items():
        row = _indices(folder)
        if k in reproducibility:
            row |= _means(reproducibility[k])
        if planted is not None:
            row["planted_ari"] = planted_agreement(maps[k] / "dseg.nii.gz", planted)
        rows.append(row)
    table = pd.DataFrame(rows)
    table.to_csv(out_file, sep="\t", index=False, na_rep="n/a", float_format="%.8g")
    described = {name: {"Description": COLUMNS[str(name)]} for name in table}
    text = json.dumps(described, indent=1, ensure_ascii=False)
    out_file.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    return out_file


def planted_agreement(labels_file: Path, planted_file: Path) -> float:
    """Return the adjusted Rand index of labels on the voxels that belong to a planted part.

    Parameters
    ----------
    labels_file, planted_file : path
        3D label maps on one grid; 0 is no part.
    """
    labels = np.asarray(open_image(labels_file).dataobj)
    planted = np.asarray(open_image(planted_file).dataobj)
    return float(adjusted_rand_score(planted[planted > 0], labels[planted > 0]))


def _means(file: Path) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in json.loads(file.read_text()).items()}


def _indices(folder: Path) -> dict[str, Any]:
    W, _, info = read_factorization(folder)
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
