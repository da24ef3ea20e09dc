"""Options of a stage as fields that both engines understand, read from the settings."""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import annotated_types
from pydantic.fields import FieldInfo

from opnmf_pipeline.config import SPLIT_SETTINGS, Section, SelectionConfig

__all__ = ["FIELDS", "NOT_OF_CHOICE", "NOT_OF_SPLITS", "Option", "options_of"]

SELECTION_SETTINGS = set(SelectionConfig.model_fields)
NOT_OF_SPLITS = (*(SELECTION_SETTINGS - SPLIT_SETTINGS), "stratify")
"""Settings of the selection that MakeSplits does not take, or takes as a list."""
NOT_OF_CHOICE = tuple(SELECTION_SETTINGS - {"rule"})
"""Settings of the selection that SelectRank does not take, or takes in another form."""


FIELDS = {
    "cohort_file": "table of the subjects: participant_id, image, covariates (TSV)",
    "images": "one 3D image per subject",
    "participants": "identifier of each subject, in the order of images",
    "mask_file": "binary mask, uint8, on the grid of the analysis",
    "matrix_dir": "folder with matrix.npy, (voxels, subjects), float32, and matrix.json",
    "n_components": "number of components",
    "num_threads": "largest number of threads and processes",
    "factorization_dir": "folder with W.npy (voxels, components), H.npy (components, subjects) and "
    "factorization.json",
    "factorization_dirs": "folders of Decompose, one per number of components",
    "covariates": "table of the subjects with the columns that are named (TSV)",
    "split_files": "subjects of both parts of each split (JSON), one file per split",
    "split_file": "subjects of both parts of one split (JSON), from MakeSplits",
    "halves_file": "errors and agreement of the fits of both parts (JSON)",
    "halves_files": "files of FitHalves, in any order",
    "seed": "seed of the shuffling",
    "permuted_file": "error of the fit (JSON)",
    "permuted_files": "files of FitPermuted, in any order",
    "rank_range": "smallest and largest number of components that may be chosen",
    "draw": "draw the curves",
    "selection_dir": "folder with all files of the task: tables, choice, pictures",
    "components_file": "4D image, one component per volume",
    "labels_file": "winner-takes-all labels, 3D",
    "labels_table": "size (mm^3) and peak (mm) of each part (TSV)",
    "labels_tables": "tables of WriteMaps, one per number of components",
    "loadings_file": "loadings of each subject on each component (TSV)",
    "sidecars": "JSON of components, labels and loadings",
    "maps_dir": "folder with all files of the task",
    "on_template": "draw on the MNI152 template, not on the mean of the subjects",
    "components_figure": "picture of every component at its peak (PNG)",
    "labels_figure": "picture of all parts (PNG)",
    "components_figures": "pictures of DrawFigures, one per number of components",
    "labels_figures": "pictures of DrawFigures, one per number of components",
    "figures_dir": "folder with all files of the task",
    "planted": "label map of the truth, if known",
    "metrics_file": "one row of indices per number of components (TSV)",
    "metrics_json": "description of these indices",
    "components_files": "maps of WriteMaps, one per number of components",
    "loadings_files": "loadings of WriteMaps, one per number of components",
    "quality_dir": "folder of AssessCohort",
    "settings": "YAML of the settings, shown at the end",
    "report_file": "HTML page that needs no other file",
}
"""What the inputs and outputs are that are no settings; the nodes of both engines say it so."""


@dataclass(frozen=True)
class Option:
    """One setting of a stage.

    Attributes
    ----------
    name, description : str
        As in the settings.
    kind : type
        str, int, float, bool, Path or dict.
    default : object
        None where the option may be left unset.
    choices : tuple
        Allowed values; empty where the kind or the range decides.
    low, high : number or None
        Range of a number.
    open_low : bool
        Whether ``low`` itself is excluded.
    """

    name: str
    kind: type
    default: Any
    description: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    open_low: bool = False


def options_of(section: type[Section], *, without: tuple[str, ...] = ()) -> list[Option]:
    """Return the settings of a section as options of a node.

    Parameters
    ----------
    section : type of Section
        Section of :class:`opnmf_pipeline.config.PipelineConfig`.
    without : tuple of str
        Settings that the node takes in another form.
    """
    fields = section.model_fields.items()
    return [_option(name, field) for name, field in fields if name not in without]


def _option(name: str, field: FieldInfo) -> Option:
    kind, choices = _kind(field.annotation)
    low, high, open_low = _range(field.metadata)
    return Option(
        name=name,
        kind=kind,
        default=field.get_default(call_default_factory=True, validated_data={}),
        description=str(field.description),
        choices=choices,
        low=low,
        high=high,
        open_low=open_low,
    )


def _kind(annotation: Any) -> tuple[type, tuple[Any, ...]]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        (annotation,) = [one for one in typing.get_args(annotation) if one is not type(None)]
    if typing.get_origin(annotation) is Literal:
        choices = typing.get_args(annotation)
        return type(choices[0]), choices
    origin = typing.get_origin(annotation) or annotation
    return (Path if origin is Path else origin), ()


def _range(metadata: list[Any]) -> tuple[float | None, float | None, bool]:
    low: Any = None
    high: Any = None
    open_low = False
    for constraint in metadata:
        match constraint:
            case annotated_types.Ge(ge=value):
                low = value
            case annotated_types.Gt(gt=value):
                low, open_low = value, True
            case annotated_types.Le(le=value):
                high = value
    return low, high, open_low
