"""Stage ``reliability``: which components, and which of their voxels, other subjects show too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import NULL_SETTINGS, SelectionConfig
from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.selection.reliability import (
    NO,
    STABLE,
    UNCLEAR,
    YES,
    assignment_shares,
    reproducibility,
    reproducibility_by_chance,
    stability,
)
from opnmf_pipeline.stages.spaces import named_files, open_mask
from opnmf_pipeline.stages.stage import MASK_FILE, Call, Field, Kind, Stage
from opnmf_pipeline.tables import as_typed, read_table, write_table

__all__ = ["MEASURE_RELIABILITY", "RELIABILITY_FILES", "measure_reliability"]

RELIABILITY_FILES = {
    "reliability": "reliability{image}",
    "reliability_tsv": "reliability.tsv",
    "reliability_json": "reliability.json",
}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``."""

BOOTSTRAPS, HALVES, OTHERS = (
    "bootstrap samples",
    "halves of the cohort",
    "cohorts without one group",
)
"""What a resample is."""
LOW, HIGH = "2.5th percentile", "97.5th percentile"
COLUMNS = {
    "index": "Number of the component",
    "name": "Name of the component",
    "reproduced": f"Whether both parts of the splits show the component: {YES} if dice_low is "
    f"above dice_null_high, {NO} if dice_low is not above dice_null, otherwise {UNCLEAR}; n/a with "
    "fewer than two splits or without null",
    "dice": "Dice coefficient of the part of the component between the fits of both parts of a "
    "split, which have different subjects; mean over the splits",
    "dice_low": f"{LOW} over the splits",
    "dice_high": f"{HIGH} over the splits",
    "dice_null": "The same mean for random parts of the same sizes (compact ones, if places are "
    "known), matched in the same way",
    "dice_null_low": f"{LOW} of this mean over random parts",
    "dice_null_high": f"{HIGH} of this mean over random parts",
    "stability": "Share of the resamples that assign a place to the component, mean over the part",
    "stable": f"Share of the part that at least {STABLE:.0%} of the resamples assign to the "
    "component",
    "size": "Size of the part in the fit of all subjects",
    "size_low": f"{LOW} of the size over the resamples",
    "size_high": f"{HIGH} of the size over the resamples",
}
MAP = (
    "Share of the resamples, fits of {resamples}, that assign each {element} to the component to "
    "which the fit of all subjects assigns it"
)


def measure_reliability(
    labels_file: Path,
    labels_table: Path,
    mask_file: Path,
    out_dir: Path,
    *,
    halves_labels: Sequence[Path] = (),
    bootstrap_labels: Sequence[Path] = (),
    leave_out: bool = False,
    n_null: int = 0,
) -> Path:
    """Compare the parts of the fit of all subjects with those of fits of other subjects.

    Parameters
    ----------
    labels_file, labels_table : path
        Label map and its table, of :func:`opnmf_pipeline.stages.maps.write_maps`.
    mask_file : path
        The mask of the analysis.
    out_dir : path
        Existing folder that gets

        * ``reliability.tsv``: one row per component, with the columns of ``COLUMNS``;
        * ``reliability``: map of the share of the resamples that assign each voxel to its
          component, float32, from 0 to 1;
        * ``reliability.json``: sidecar of both.

        The image has the suffix of the space, ``.nii.gz`` for volumes.
    halves_labels : sequence of path
        ``labels.npy`` of :func:`opnmf_pipeline.stages.halves.fit_halves`, in any order.
    bootstrap_labels : sequence of path
        ``labels.npy`` of :func:`opnmf_pipeline.stages.bootstrap.fit_bootstrap`, in any order. If
        there are any, they are the resamples. Otherwise, the halves are.
    leave_out : bool
        Whether the second part of each split is a group that is left out. Then only the first
        parts are resamples.
    n_null : int
        Number of random maps in place of ``labels_file``, for the agreement by chance. 0: off.

    Returns
    -------
    path
        ``out_dir``.
    """
    mask, files = open_mask(mask_file), named_files(RELIABILITY_FILES, mask_file)
    parts = as_typed(read_table(labels_table), ("name",))
    k, labels = len(parts), mask.masked(labels_file).astype(np.int16)
    pairs = [np.load(path) for path in halves_labels]
    resamples, kind = _resamples(pairs, [np.load(path) for path in bootstrap_labels], leave_out)
    shares, sizes = assignment_shares(labels, resamples, k)
    dice = reproducibility(labels, pairs, k).reshape(-1, k)
    by_chance = reproducibility_by_chance(labels, pairs, k, mask.positions(), n_null, [k, n_null])
    table = stability(labels, shares, sizes, dice, by_chance)
    names = pd.DataFrame({"index": range(1, k + 1), "name": component_names(k)})
    units = _scale_sizes(table, parts, mask)
    write_table(pd.concat([names, table.round(4)], axis=1), out_dir / files["reliability_tsv"])
    mask.write(shares.astype(np.float32), out_dir / files["reliability"])
    sidecar: dict[str, Any] = {
        "Description": MAP.format(resamples=kind, element=mask.grid.element),
        "NumberOfComponents": k,
        "Resamples": kind,
        "NumberOfResamples": len(resamples),
        "NumberOfSplits": len(pairs),
        **{name: {"Description": text} for name, text in COLUMNS.items()},
    }
    for name in ("size", "size_low", "size_high"):
        sidecar[name] = {**sidecar[name], "Units": units}
    (out_dir / files["reliability_json"]).write_text(json_text(sidecar), encoding="utf-8")
    return out_dir


def _resamples(
    pairs: Sequence[NDArray[np.int16]], bootstraps: Sequence[NDArray[np.int16]], leave_out: bool
) -> tuple[list[NDArray[np.int16]], str]:
    """Return the labels of each resample, and what a resample is."""
    if bootstraps:
        return list(bootstraps), BOOTSTRAPS
    if leave_out:
        return [first for first, _ in pairs], OTHERS
    return [half for pair in pairs for half in pair], HALVES


def _scale_sizes(table: pd.DataFrame, parts: pd.DataFrame, mask: Mask) -> str:
    """Give sizes the units of the label table: mm³ if it has volumes, else the number of places."""
    if "volume" not in parts:
        return mask.grid.elements
    of_one = parts["volume"].sum() / table["size"].sum()
    for name in ("size", "size_low", "size_high"):
        table[name] = table[name] * of_one
    return "mm^3"


def _run(call: Call) -> dict[str, Any]:
    folder = measure_reliability(
        call.path("labels_file"),
        call.path("labels_table"),
        call.path("mask_file"),
        call.folder,
        halves_labels=call.paths("halves_labels"),
        bootstrap_labels=call.paths("bootstrap_labels"),
        leave_out=call["leave_out"],
        n_null=call["n_null"] or 0,
    )
    files = named_files(RELIABILITY_FILES, call.path("mask_file"))
    return {
        "reliability_dir": folder,
        "reliability_file": folder / files["reliability"],
        "reliability_table": folder / files["reliability_tsv"],
    }


MEASURE_RELIABILITY = Stage(
    name="MeasureReliability",
    summary="Compare the parts of a fit with those of fits of halves or bootstrap samples.",
    run=_run,
    folder="reliability",
    inputs={
        "labels_file": Field(Kind.FILE, "winner-takes-all labels of WriteMaps"),
        "labels_table": Field(Kind.TABLE, "table of these labels (TSV)"),
        "mask_file": MASK_FILE,
        "halves_labels": Field(
            Kind.FILE, "labels of FitHalves, one file per split", many=True, default=()
        ),
        "bootstrap_labels": Field(
            Kind.FILE,
            "labels of FitBootstrap, one file per sample; if there are any, stability and sizes "
            "come from them",
            many=True,
            default=(),
        ),
        "leave_out": Field(
            Kind.FLAG, "the second part of each split is a group that is left out", default=False
        ),
    },
    outputs={
        "reliability_dir": Field(Kind.FOLDER, "folder with all files of MeasureReliability"),
        "reliability_file": Field(
            Kind.FILE, "share of the resamples that assign each place to its component, 3D"
        ),
        "reliability_table": Field(
            Kind.TABLE, "reproducibility by component, by chance, stability and sizes (TSV)"
        ),
    },
    settings={SelectionConfig: tuple(set(SelectionConfig.model_fields) - NULL_SETTINGS)},
)
