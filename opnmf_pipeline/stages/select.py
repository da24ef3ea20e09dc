"""Stage ``select``: tables and pictures that compare the numbers of components, and a choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import CHOICE_SETTINGS, NULL_SETTINGS, SelectionConfig
from opnmf_pipeline.dataset.description import json_text
from opnmf_pipeline.exceptions import MissingColumnError, SelectionError
from opnmf_pipeline.selection.choice import choose_rank
from opnmf_pipeline.selection.rules import RULES
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, read_factorization
from opnmf_pipeline.stages.halves import SPLIT_COLUMNS
from opnmf_pipeline.stages.metrics import (
    HIERARCHY_COLUMNS,
    METRICS_COLUMNS,
    hierarchy_table,
    metrics_table,
    split_table,
)
from opnmf_pipeline.stages.spaces import mask_of
from opnmf_pipeline.stages.stage import MASK_FILE, Call, Field, Kind, Stage
from opnmf_pipeline.tables import write_table

__all__ = ["FACTORIZATION_DIRS", "SELECTION_DIR", "SELECTION_FILES", "SELECT_RANK", "select_rank"]

SELECTION_FILES = {
    "metrics": "metrics.tsv",
    "metrics_json": "metrics.json",
    "splits": "splits.tsv",
    "splits_json": "splits.json",
    "hierarchy": "hierarchy.tsv",
    "hierarchy_json": "hierarchy.json",
    "selection": "selection.json",
    "errors_figure": "errors.png",
    "reproducibility_figure": "reproducibility.png",
    "hierarchy_figure": "hierarchy.png",
}
"""Files of the stage, by the names of the outputs of a run in ``dataset/names.py``.

A file is written only if there are data for it.
"""

ERROR_SETTINGS = {
    "reconstruction_error": "selection.candidates to the numbers to fit",
    "null_error": "selection.n_permutations to 1 or more",
}
"""Settings that fill the columns that do not come from splits."""


def select_rank(
    fits: Sequence[Path],
    out_dir: Path,
    mask_file: Path,
    *,
    halves: Iterable[Path] = (),
    shared: Iterable[Path] = (),
    starts: Iterable[Path] = (),
    permuted: Iterable[Path] = (),
    planted: Path | None = None,
    rule: str | None = None,
    rank_range: Sequence[int] | None = None,
    n_null: int = 0,
    draw: bool = True,
) -> Path:
    """Compare numbers of components, and choose one where the data allow it.

    Parameters
    ----------
    fits : sequence of path
        Files of :func:`opnmf_pipeline.stages.decompose.decompose` of the whole cohort, one per
        number of components.
    out_dir : path
        Existing folder that gets

        * ``metrics.tsv``: one row per number of components;
        * ``splits.tsv``: one row per split and number of components, if there are splits;
        * ``hierarchy.tsv``: how parts split, if there are two or more numbers of components;
        * a ``.json`` for each of these tables that describes the columns;
        * ``selection.json``: the choice and its reason, if a number was to be chosen;
        * ``errors.png``, ``reproducibility.png``, ``hierarchy.png``.
    mask_file : path
        The mask that the rows of the matrix came from.
    halves : iterable of path
        Files of :func:`opnmf_pipeline.stages.halves.fit_halves`, in any order.
    shared : iterable of path
        Files of the same function with ``shared_start``, in any order.
    starts : iterable of path
        Files of :func:`opnmf_pipeline.stages.decompose.decompose` of the whole cohort from random
        starts, several for each number of components, in any order.
    permuted : iterable of path
        Files of :func:`opnmf_pipeline.stages.permuted.fit_permuted`, in any order.
    planted : path, optional
        Label map of the true components, if known.
    rule : str, optional
        Rule of the choice, see :func:`opnmf_pipeline.selection.choice.choose_rank`. Default: no
        choice.
    rank_range : (int, int), optional
        Smallest and largest number of components that may be chosen. Default: all.
    n_null : int
        Number of random pairs for each pair of starts, for the agreement by chance. 0: off.
    draw : bool
        Whether to draw the curves.

    Returns
    -------
    path
        ``out_dir``.

    Raises
    ------
    ImageError
        The mask is not that of a fit.
    SelectionError
        The rule needs a column that has no values; names the setting that fills it.
    """
    found = sorted(map(read_factorization, fits), key=lambda fit: fit.W.shape[1])
    splits, starts = split_table(halves, shared), list(starts)
    mask, from_starts = mask_of(mask_file, *fits, *starts), map(read_factorization, starts)
    with threadpool_limits(1):  # sums in BLAS depend on the number of its threads
        metrics = metrics_table(found, splits, permuted, from_starts, mask, planted, n_null)
        hierarchy = hierarchy_table(found) if len(found) > 1 else pd.DataFrame()
    choice = _choice(metrics, rule, rank_range)
    _write(metrics, out_dir / SELECTION_FILES["metrics"], METRICS_COLUMNS)
    for table, name, columns in (
        (splits, "splits", SPLIT_COLUMNS),
        (hierarchy, "hierarchy", HIERARCHY_COLUMNS),
    ):
        if len(table):
            _write(table, out_dir / SELECTION_FILES[name], columns)
    if choice is not None:
        _write_json(out_dir / SELECTION_FILES["selection"], choice)
    if draw and len(found) > 1:
        _draw(metrics, splits, hierarchy, choice, out_dir)
    return out_dir


def _choice(
    metrics: pd.DataFrame, rule: str | None, rank_range: Sequence[int] | None
) -> dict[str, Any] | None:
    ks = metrics["n_components"]
    low, high = rank_range or (int(ks.min()), int(ks.max()))
    candidates = ks[ks.between(low, high)].tolist()
    if rule is None or len(ks) == 1 or not candidates:
        return None
    try:
        choice = choose_rank(metrics, rule, candidates)
    except MissingColumnError as error:
        raise SelectionError(f"{error}; set {_setting_of(error.column)}") from error
    return {
        "k": choice.k,
        "good": choice.good,
        "flat": choice.flat,
        "reason": choice.reason,
        "rule": rule,
        "criterion": RULES[rule].summary,
        "range": [low, high],
    }


def _setting_of(column: str) -> str:
    """Return the setting that fills a column of the table of metrics, and its value."""
    if column in ERROR_SETTINGS:
        return ERROR_SETTINGS[column]
    return f"selection.n_splits to {2 if column.endswith('_sd') else 1} or more"


def _rounded(value: Any) -> Any:
    return f"{value:.8g}" if isinstance(value, float) else value


def _write(table: pd.DataFrame, path: Path, columns: Mapping[str, str]) -> None:
    """Write a table, and a JSON file that describes its columns."""
    write_table(table.map(_rounded, na_action="ignore"), path)
    described = {str(name): {"Description": columns[str(name)]} for name in table}
    _write_json(path.with_suffix(".json"), described)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json_text(content), encoding="utf-8")


def _draw(
    metrics: pd.DataFrame,
    splits: pd.DataFrame,
    hierarchy: pd.DataFrame,
    choice: Mapping[str, Any] | None,
    out_dir: Path,
) -> None:
    from opnmf_pipeline.reporting.curves import draw_errors, draw_reproducibility
    from opnmf_pipeline.reporting.hierarchy import draw_hierarchy

    draw_errors(metrics, out_dir / SELECTION_FILES["errors_figure"], choice)
    draw_hierarchy(hierarchy, out_dir / SELECTION_FILES["hierarchy_figure"])
    if len(splits):
        draw_reproducibility(
            metrics, splits, out_dir / SELECTION_FILES["reproducibility_figure"], choice
        )


def _run(call: Call) -> dict[str, Path]:
    selection_dir = select_rank(
        [folder / FACTORIZATION_FILE for folder in call.paths("factorization_dirs")],
        call.folder,
        call.path("mask_file"),
        halves=call.paths("halves_files"),
        shared=call.paths("shared_files"),
        starts=[folder / FACTORIZATION_FILE for folder in call.paths("start_dirs")],
        permuted=call.paths("permuted_files"),
        planted=call.optional_path("planted"),
        rule=call["rule"],
        rank_range=call["rank_range"],
        n_null=call["n_null"] or 0,
        draw=call["draw"],
    )
    return {
        "selection_dir": selection_dir,
        "metrics_file": selection_dir / SELECTION_FILES["metrics"],
        "metrics_json": selection_dir / SELECTION_FILES["metrics_json"],
    }


FACTORIZATION_DIRS = Field(
    Kind.FOLDER, "folders of Decompose, one per number of components", many=True
)
SELECTION_DIR = Field(Kind.FOLDER, "folder with all files of SelectRank: tables, choice, pictures")

SELECT_RANK = Stage(
    name="SelectRank",
    summary="Compare numbers of components, and choose one where the data allow it.",
    run=_run,
    folder="selection",
    inputs={
        "factorization_dirs": FACTORIZATION_DIRS,
        "mask_file": MASK_FILE,
        "halves_files": Field(Kind.JSON, "files of FitHalves, in any order", many=True, default=()),
        "shared_files": Field(
            Kind.JSON, "files of FitHalves with shared_start, in any order", many=True, default=()
        ),
        "start_dirs": Field(
            Kind.FOLDER,
            "folders of Decompose with random starts, several per number of components",
            many=True,
            default=(),
        ),
        "permuted_files": Field(
            Kind.JSON, "files of FitPermuted, in any order", many=True, default=()
        ),
        "planted": Field(Kind.FILE, "label map of the true components, if known", default=None),
        "rank_range": Field(
            Kind.RANGE,
            "smallest and largest number of components that may be chosen",
            default=None,
        ),
        "draw": Field(Kind.FLAG, "draw the curves", default=True),
    },
    outputs={
        "selection_dir": SELECTION_DIR,
        "metrics_file": Field(Kind.TABLE, "measures, one row per number of components (TSV)"),
        "metrics_json": Field(Kind.JSON, "description of the columns of metrics_file"),
    },
    settings={
        SelectionConfig: tuple(set(SelectionConfig.model_fields) - CHOICE_SETTINGS - NULL_SETTINGS)
    },
)
