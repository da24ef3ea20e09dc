"""Stage ``maps``: from a factorization to images and tables that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.images.cohort import identifiers, write_cohort
from opnmf_pipeline.images.maps import component_names, label_table, unmasked, winner_takes_all
from opnmf_pipeline.images.volumes import open_image
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, Factorization, read_factorization
from opnmf_pipeline.stages.stage import FACTORIZATION_DIR, MASK_FILE, Call, Field, Kind, Stage

__all__ = [
    "COMPONENTS_FILE",
    "LABELS_FILE",
    "MAPS_FILES",
    "WRITE_MAPS",
    "describe_loadings",
    "write_maps",
]

MAPS_FILES = {
    "components": "components.nii.gz",
    "components_json": "components.json",
    "dseg": "dseg.nii.gz",
    "dseg_tsv": "dseg.tsv",
    "dseg_json": "dseg.json",
    "loadings": "loadings.tsv",
    "loadings_json": "loadings.json",
}
"""What the stage writes, by the name of the output of a run that each file becomes."""
SIDECARS = ("components_json", "dseg_json", "loadings_json")

LOADING = "Loading on {name} (row of H = WᵀX)"
LABEL_COLUMNS = {
    "index": {"Description": "Value in the label map; 0 is no component"},
    "name": {"Description": "Name of the component"},
    "n_voxels": {"Description": "Voxels in which the component weighs most"},
    "volume": {"Description": "Volume of these voxels", "Units": "mm^3"},
    "peak_x": {"Description": "First coordinate of the largest weight", "Units": "mm"},
    "peak_y": {"Description": "Second coordinate of the largest weight", "Units": "mm"},
    "peak_z": {"Description": "Third coordinate of the largest weight", "Units": "mm"},
}


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

        * ``components.nii.gz``: 4D, float32, one volume per component (column of W);
        * ``dseg.nii.gz`` and ``dseg.tsv``: labels (int16) and their table;
        * ``loadings.tsv``: one row per subject, one column per component (row of H);
        * a ``.json`` for each of them.

    Returns
    -------
    path
        ``out_dir``.
    """
    fit = read_factorization(factorization_file)
    mask = open_image(mask_file)
    labels = winner_takes_all(fit.W)
    unmasked(fit.W.astype(np.float32), mask).to_filename(out_dir / MAPS_FILES["components"])
    unmasked(labels, mask).to_filename(out_dir / MAPS_FILES["dseg"])
    label_table(fit.W, labels, mask).to_csv(out_dir / MAPS_FILES["dseg_tsv"], sep="\t", index=False)
    loadings = _loadings(fit)
    write_cohort(loadings, out_dir / MAPS_FILES["loadings"])
    _write_json(
        out_dir / MAPS_FILES["components_json"],
        Description="Components of OPNMF (columns of W), one volume each, by decreasing share of "
        "the data",
        Units="arbitrary",
        **_summary(fit),
    )
    _write_json(
        out_dir / MAPS_FILES["dseg_json"],
        Description="Component that weighs most in each voxel",
        **LABEL_COLUMNS,
    )
    _write_json(out_dir / MAPS_FILES["loadings_json"], **describe_loadings(loadings))
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


def _run(call: Call) -> dict[str, Any]:
    factorization_file = call.path("factorization_dir") / FACTORIZATION_FILE
    maps_dir = write_maps(factorization_file, call.path("mask_file"), call.folder)
    return {
        "maps_dir": maps_dir,
        "components_file": maps_dir / MAPS_FILES["components"],
        "labels_file": maps_dir / MAPS_FILES["dseg"],
        "labels_table": maps_dir / MAPS_FILES["dseg_tsv"],
        "loadings_file": maps_dir / MAPS_FILES["loadings"],
        "sidecars": [maps_dir / MAPS_FILES[name] for name in SIDECARS],
    }


COMPONENTS_FILE = Field(Kind.IMAGE, "4D image, one component per volume")
LABELS_FILE = Field(Kind.IMAGE, "winner-takes-all labels, 3D")

WRITE_MAPS = Stage(
    name="WriteMaps",
    summary="Write component maps, labels and loadings.",
    run=_run,
    folder="maps",
    inputs={"factorization_dir": FACTORIZATION_DIR, "mask_file": MASK_FILE},
    outputs={
        "maps_dir": Field(Kind.FOLDER, "folder with all files of the task"),
        "components_file": COMPONENTS_FILE,
        "labels_file": LABELS_FILE,
        "labels_table": Field(Kind.TABLE, "size (mm^3) and peak (mm) of each part (TSV)"),
        "loadings_file": Field(Kind.TABLE, "loadings of each subject on each component (TSV)"),
        "sidecars": Field(Kind.JSON, "JSON of components, labels and loadings", many=True),
    },
)
