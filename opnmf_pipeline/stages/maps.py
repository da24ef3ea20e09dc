"""Stage ``maps``: from a factorization to images and tables that other tools read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.cohort import MEASURE, identifiers
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.reporting.figure import part_colours
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.adjust import explained_loadings
from opnmf_pipeline.stages.anatomy import (
    CENTRES,
    REGION_COLUMNS,
    atlas_of,
    describe_places,
    locate,
    open_atlas,
)
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import (
    FACTORIZATION_FILE,
    W_FILE,
    Factorization,
    read_factorization,
)
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.memory import BASE_BYTES
from opnmf_pipeline.stages.spaces import mask_of, named_files, open_mask
from opnmf_pipeline.stages.stage import FACTORIZATION_DIR, MASK_FILE, Call, Field, Kind, Stage
from opnmf_pipeline.tables import write_table

__all__ = [
    "COMPONENTS_FILE",
    "EXPLAINED",
    "LABELS_FILE",
    "LABELS_TABLE",
    "MAPS_FILES",
    "REGIONS_FILES",
    "WRITE_MAPS",
    "describe_loadings",
    "write_maps",
    "write_on_atlas",
]

MAPS_FILES = {
    "components": "components{image}",
    "components_json": "components.json",
    "dseg": "dseg{labels}",
    "dseg_tsv": "dseg.tsv",
    "dseg_json": "dseg.json",
    "loadings": "loadings.tsv",
    "loadings_json": "loadings.json",
}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``."""
REGIONS_FILES = {"regions": "regions.tsv", "regions_json": "regions.json"}
"""Further files; without an atlas the table has no rows."""
SIDECARS = ("components_json", "dseg_json", "loadings_json")

EXPLAINED = "ExplainedByColumns"
"""Key of the variance of the loadings that covariates explain, in the sidecar of the loadings."""
COPIES_OF_MAPS = 2
OF_THE_FIT = ("History", "RelativeErrors")
"""Parts of the description of a fit that the sidecar of its components does not repeat."""
LOADING = "Loading on {name} (row of H = WᵀX)"


def write_maps(
    factorization_file: Path,
    mask_file: Path,
    out_dir: Path,
    atlas_file: Path | None = None,
    atlas_labels: Path | None = None,
    matrix_file: Path | None = None,
    cohort_file: Path | None = None,
) -> Path:
    """Write component maps, winner-takes-all labels and loadings, with JSON sidecars.

    Parameters
    ----------
    factorization_file : path
        ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`.
    mask_file : path
        The mask that the rows of the matrix came from.
    out_dir : path
        Existing folder that gets

        * ``components``: float32, one map per component (column of W);
        * ``dseg`` and ``dseg.tsv``: labels (integers) and their table;
        * ``regions.tsv``: the regions of the atlas in each component, without rows if there is no
          atlas;
        * ``loadings.tsv``: one row per subject, one column per component (row of H);
        * a ``.json`` for each of them.

        Images have the endings of the space, ``.nii.gz`` for volumes. On surfaces, there is another
        copy of both images: one GIFTI file per hemisphere. Of tables with an atlas, there are
        images of both in the space of the atlas.
    atlas_file : path, optional
        Label image of an atlas in the space of the mask, or, for tables, whose regions have the
        names of the features; its regions name the components.
    atlas_labels : path, optional
        Names of its labels. Default: those in the image, or the file next to it with the same name.
    matrix_file, cohort_file : path, optional
        If the matrix was adjusted: ``matrix.json`` of the matrix before this, and the table of its
        subjects. With these, the sidecar of the loadings has the variance that each column of the
        adjustment explains before and after.

    Returns
    -------
    path
        ``out_dir``.

    Raises
    ------
    ImageError
        The mask is not that of the factorization.
    """
    fit = read_factorization(factorization_file)
    atlas = atlas_of(atlas_file, atlas_labels) if atlas_file else None
    mask, files = mask_of(mask_file, factorization_file), named_files(MAPS_FILES, mask_file)
    labels = winner_takes_all(fit.W)
    mask.write(fit.W.astype(np.float32), out_dir / files["components"])
    mask.write_labels(labels, part_colours(fit.W.shape[1]), out_dir / files["dseg"])
    places, regions = locate(mask, fit.W, labels, atlas)
    if atlas is not None and not mask.grid.in_space:
        centres = write_on_atlas(mask, fit.W, labels, atlas, out_dir)
        places = places.assign(**dict(zip(CENTRES, centres.T, strict=False)))
    parts = mask.label_table(fit.W, labels)
    table = pd.concat([parts, places], axis=1)
    first = [column for column in ("index", "name", "proposed_name") if column in table]
    table = table[first + [column for column in table if column not in first]]
    write_table(table, out_dir / files["dseg_tsv"])
    write_table(regions, out_dir / REGIONS_FILES["regions"])
    loadings = _loadings(fit)
    write_table(loadings, out_dir / files["loadings"])
    described = describe_loadings(loadings)
    if matrix_file is not None and cohort_file is not None:
        described[EXPLAINED] = explained_loadings(fit, matrix_file, cohort_file)
    _write_json(
        out_dir / files["components_json"],
        Description="Components of OPNMF (columns of W), one map each, by decreasing share of "
        "the explained data",
        Units="arbitrary",
        **_summary(fit),
    )
    _write_json(
        out_dir / files["dseg_json"],
        Description=f"Component with the largest weight in each {mask.grid.element}",
        **{str(name): mask.label_columns[str(name)] for name in parts},
        **describe_places(places),
    )
    _write_json(
        out_dir / REGIONS_FILES["regions_json"],
        Description="Overlap of the components with the regions of an atlas",
        **{name: REGION_COLUMNS[name] for name in map(str, regions)},
    )
    _write_json(out_dir / files["loadings_json"], **described)
    return out_dir


def write_on_atlas(
    mask: Mask, W: NDArray[np.floating], labels: NDArray[np.int16], atlas: Atlas, out_dir: Path
) -> NDArray[np.float64]:
    """Write the components and the labels of features on the regions of an atlas.

    Parameters
    ----------
    mask : Mask
        Features of the rows.
    W : ndarray of shape (n_rows, n_components)
    labels : ndarray of shape (n_rows,), int16
        Winner-takes-all labels.
    atlas : Atlas
        Every place of a region gets the weights of the feature with its name; places without such a
        feature get 0.
    out_dir : path
        Existing folder that gets the images ``components`` and ``dseg`` of the space of the atlas.

    Returns
    -------
    ndarray of shape (n_components, 0 or 3), float64
        Place of the region with the largest weight that is nearest to its centre, in mm; without
        columns if the places of the atlas are not known.
    """
    image, regions = open_atlas(atlas)
    region_of_row = mask.grid.read_labels(atlas.image, regions)[mask.inside]
    row_of_region = np.full(regions.index.max() + 1, len(W))
    row_of_region[region_of_row] = np.arange(len(W))
    row_of_region[0] = len(W)  # no feature
    rows = row_of_region[image.labels]
    files = named_files(MAPS_FILES, atlas.image)
    weights = np.pad(W.astype(np.float32), ((0, 1), (0, 0)))[rows]
    image.mask.write(weights, out_dir / files["components"])
    colours = part_colours(W.shape[1])
    image.mask.write_labels(np.pad(labels, (0, 1))[rows], colours, out_dir / files["dseg"])
    positions = image.mask.positions()
    if positions is None:
        return np.empty((W.shape[1], 0))
    peaks = image.labels[weights.argmax(axis=0)]
    return np.array([_central(positions[image.labels == region]) for region in peaks])


def _central(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the position that is nearest to the mean of all of them, rounded to 0.001 mm."""
    distances = ((positions - positions.mean(axis=0)) ** 2).sum(axis=1)
    central: NDArray[np.float64] = np.round(positions[np.argmin(distances)], 3)
    return central


def describe_loadings(table: pd.DataFrame) -> dict[str, Any]:
    """Return the sidecar of a table of loadings: its description, and one for each column."""
    known = {
        "participant_id": "Subject",
        "session_id": "Session of the subject",
        MEASURE: "Measure of the subject, which has its own loadings",
    }
    columns = {
        str(name): {"Description": known.get(str(name)) or LOADING.format(name=name)}
        for name in table
    }
    return {"Description": "Loadings on the components", **columns}


def _loadings(fit: Factorization) -> pd.DataFrame:
    loadings = pd.DataFrame(fit.H.T, columns=component_names(fit.W.shape[1]))
    return pd.concat([identifiers(fit.info["Participants"]), loadings], axis=1)


def _summary(fit: Factorization) -> dict[str, Any]:
    return {name: value for name, value in fit.info.items() if name not in OF_THE_FIT}


def _write_json(path: Path, **content: Any) -> None:
    path.write_text(json_text(content), encoding="utf-8")


def maps_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory that the maps of a factorization need, in bytes.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``factorization_dir`` and ``mask_file`` exist.
    """
    W = np.load(Path(inputs["factorization_dir"]) / W_FILE, mmap_mode="r")
    n_grid = math.prod(open_mask(Path(inputs["mask_file"])).grid.shape)
    return BASE_BYTES + COPIES_OF_MAPS * int(W.itemsize * n_grid * W.shape[1])


def _run(call: Call) -> dict[str, Any]:
    factorization_file = call.path("factorization_dir") / FACTORIZATION_FILE
    matrix_dir = call.optional_path("matrix_dir")
    maps_dir = write_maps(
        factorization_file,
        call.path("mask_file"),
        call.folder,
        call.optional_path("atlas_file"),
        call.optional_path("atlas_labels"),
        None if matrix_dir is None else matrix_dir / MATRIX_FILE,
        call.optional_path("cohort_file"),
    )
    files = named_files(MAPS_FILES, call.path("mask_file"))
    atlas_file = call.optional_path("atlas_file")
    on_atlas = atlas_file is not None and not open_mask(call.path("mask_file")).grid.in_space
    shown = named_files(MAPS_FILES, atlas_file) if atlas_file and on_atlas else files
    return {
        "maps_dir": maps_dir,
        "components_file": maps_dir / files["components"],
        "labels_file": maps_dir / files["dseg"],
        "shown_components": maps_dir / shown["components"],
        "shown_labels": maps_dir / shown["dseg"],
        "labels_table": maps_dir / files["dseg_tsv"],
        "regions_table": maps_dir / REGIONS_FILES["regions"],
        "loadings_file": maps_dir / files["loadings"],
        "sidecars": [maps_dir / files[name] for name in SIDECARS],
    }


COMPONENTS_FILE = Field(Kind.FILE, "image of several maps, one component each")
LABELS_FILE = Field(Kind.FILE, "winner-takes-all label map")
LABELS_TABLE = Field(Kind.TABLE, "size and peaks of each part, and its name with an atlas (TSV)")

WRITE_MAPS = Stage(
    name="WriteMaps",
    summary="Write component maps, labels and loadings.",
    run=_run,
    folder="maps",
    inputs={
        "factorization_dir": FACTORIZATION_DIR,
        "mask_file": MASK_FILE,
        "atlas_file": Field(
            Kind.FILE,
            "label image of an atlas in the space of the mask, or whose regions have the names of "
            "the features",
            default=None,
        ),
        "atlas_labels": Field(
            Kind.FILE,
            "names of the labels of the atlas; default: the file next to it with the same name",
            default=None,
        ),
        "matrix_dir": Field(
            Kind.FOLDER,
            "folder of BuildMatrix, if the matrix was adjusted; the sidecar of the loadings gets "
            "the variance that covariates explain before and after",
            default=None,
        ),
        "cohort_file": replace(COHORT_FILE, default=None),
    },
    requires={"matrix_dir": "cohort_file"},
    outputs={
        "maps_dir": Field(Kind.FOLDER, "folder with all files of WriteMaps"),
        "components_file": COMPONENTS_FILE,
        "labels_file": LABELS_FILE,
        "shown_components": Field(
            Kind.FILE,
            "components for pictures: components_file, or for tables with an atlas the components "
            "on its regions",
        ),
        "shown_labels": Field(Kind.FILE, "labels for pictures: labels_file, or those on the atlas"),
        "labels_table": LABELS_TABLE,
        "regions_table": Field(
            Kind.TABLE, "regions of the atlas in each component (TSV); no rows without an atlas"
        ),
        "loadings_file": Field(Kind.TABLE, "loadings of each subject on each component (TSV)"),
        "sidecars": Field(Kind.JSON, "sidecars of components, labels and loadings", many=True),
    },
    memory=maps_memory,
)
