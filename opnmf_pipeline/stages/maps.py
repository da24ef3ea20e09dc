"""Stage ``maps``: from a factorization to images and tables that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.images.cohort import identifiers, write_cohort
from opnmf_pipeline.images.maps import component_names, winner_takes_all
from opnmf_pipeline.stages.decompose import Factorization, read_factorization
from opnmf_pipeline.stages.spaces import open_mask, space_of

__all__ = ["describe_loadings", "write_maps"]

LOADING = "Loading on {name} (row of H = WᵀX)"


def write_maps(factorization_file: Path, mask_file: Path, out_dir: Path) -> Path:
    """Write component maps, winner-takes-all labels and loadings, with side-cars.

    Parameters
    ----------
    factorization_file : path
        ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`.
    mask_file : path
        The mask that the rows of the matrix came from.
    out_dir : path
        Existing folder that gets

        * ``components``: float32, one map per component (column of W);
        * ``dseg`` and ``dseg.tsv``: labels (int16) and their table;
        * ``loadings.tsv``: one row per subject, one column per component (row of H);
        * a ``.json`` for each of them.

        The names of images end as those of the space do, ``.nii.gz`` for volumes.

    Returns
    -------
    path
        ``out_dir``.
    """
    fit = read_factorization(factorization_file)
    mask, suffix = open_mask(mask_file), space_of(mask_file).images.SUFFIX
    labels = winner_takes_all(fit.W)
    mask.write(fit.W.astype(np.float32), out_dir / f"components{suffix}")
    mask.write(labels, out_dir / f"dseg{suffix}")
    mask.label_table(fit.W, labels).to_csv(out_dir / "dseg.tsv", sep="\t", index=False)
    loadings = _loadings(fit)
    write_cohort(loadings, out_dir / "loadings.tsv")
    _write_json(
        out_dir / "components.json",
        Description="Components of OPNMF (columns of W), one volume each, by decreasing share of "
        "the data",
        Units="arbitrary",
        **_summary(fit),
    )
    _write_json(
        out_dir / "dseg.json",
        Description=f"Component that weighs most in each {mask.grid.element}",
        **mask.label_columns,
    )
    _write_json(out_dir / "loadings.json", **describe_loadings(loadings))
    return out_dir


def describe_loadings(table: pd.DataFrame) -> dict[str, Any]:
    """Return the side-car of a table of loadings: what it is, and what its columns are."""
    known = {"participant_id": "Subject", "session_id": "Session of the subject"}
    columns = {
        str(name): {"Description": known.get(str(name)) or LOADING.format(name=name)}
        for name in table
    }
    return {"Description": "Loadings on the components", **columns}


def _loadings(fit: Factorization) -> pd.DataFrame:
    loadings = pd.DataFrame(fit.H.T, columns=component_names(fit.W.shape[1]))
    return pd.concat([identifiers(fit.info["Participants"]), loadings], axis=1)


def _summary(fit: Factorization) -> dict[str, Any]:
    return {name: value for name, value in fit.info.items() if name not in ("History",)}


def _write_json(path: Path, **content: Any) -> None:
    path.write_text(json_text(content), encoding="utf-8")
