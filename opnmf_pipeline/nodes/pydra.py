"""The stages as Pydra tasks.

Each task is made from the declaration of its stage (:mod:`opnmf_pipeline.stages.stage`). The
choices, defaults and descriptions of settings come from :mod:`opnmf_pipeline.config`.

The environment (``OMP_NUM_THREADS``) sets the number of BLAS threads of a task. It is not an input,
because Pydra would compute the result again when an input changes.
"""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import attrs
from fileformats.application import Json
from fileformats.core import FileSet, validated_property
from fileformats.generic import Directory, File
from fileformats.image import Png
from fileformats.text import Tsv
from pydra.compose import python

from opnmf_pipeline.images.surfaces import first_file, other_file
from opnmf_pipeline.nodes.options import Option, options_of
from opnmf_pipeline.stages.adjust import ADJUST_MATRIX
from opnmf_pipeline.stages.associations import MEASURE_ASSOCIATIONS
from opnmf_pipeline.stages.bootstrap import FIT_BOOTSTRAP
from opnmf_pipeline.stages.change import CHANGE_MATRIX
from opnmf_pipeline.stages.collect import COLLECT_COHORT
from opnmf_pipeline.stages.decompose import DECOMPOSE
from opnmf_pipeline.stages.features import SPLIT_TABLE
from opnmf_pipeline.stages.figures import DRAW_FIGURES
from opnmf_pipeline.stages.halves import FIT_HALVES
from opnmf_pipeline.stages.maps import WRITE_MAPS
from opnmf_pipeline.stages.mask import MAKE_MASK
from opnmf_pipeline.stages.matrix import BUILD_MATRIX
from opnmf_pipeline.stages.permuted import FIT_PERMUTED
from opnmf_pipeline.stages.project import PROJECT_SUBJECTS
from opnmf_pipeline.stages.quality import ASSESS_COHORT
from opnmf_pipeline.stages.reliability import MEASURE_RELIABILITY
from opnmf_pipeline.stages.report import MAKE_REPORT
from opnmf_pipeline.stages.select import SELECT_RANK
from opnmf_pipeline.stages.splits import MAKE_SPLITS
from opnmf_pipeline.stages.stack import STACK_MEASURES
from opnmf_pipeline.stages.stage import Call, Field, Kind, Stage

__all__ = [
    "AdjustMatrix",
    "AssessCohort",
    "BuildMatrix",
    "ChangeMatrix",
    "CollectCohort",
    "Decompose",
    "DrawFigures",
    "FitBootstrap",
    "FitHalves",
    "FitPermuted",
    "MakeMask",
    "MakeReport",
    "MakeSplits",
    "MeasureAssociations",
    "MeasureReliability",
    "ProjectSubjects",
    "SelectRank",
    "SplitTable",
    "StackMeasures",
    "WriteMaps",
]


class Image(File):  # type: ignore[misc]
    """A file, and that of the other hemisphere if it exists; Pydra identifies it by both."""

    _valid_class = True  # fileformats requires this of classes that are not in its namespace

    def _additional_fspaths(self) -> None:
        other = other_file(min(self.fspaths))
        if other is not None and Path(other).is_file():
            self.fspaths |= {Path(other)}

    @validated_property
    def fspath(self) -> Path:
        """Path of the left hemisphere, or of the only file."""
        return Path(first_file(str(min(self.fspaths))))


TYPES: dict[Kind, Any] = {
    Kind.FILE: File,
    Kind.IMAGE: Image,
    Kind.TABLE: Tsv,
    Kind.JSON: Json,
    Kind.PICTURE: Png,
    Kind.FOLDER: Directory,
    Kind.PLACE: str,  # Pydra would read all files of a Directory to hash it
    Kind.TEXT: str,
    Kind.NUMBER: int,
    Kind.RANGE: list[int],
    Kind.FLAG: bool,
}


STAGES: dict[str, Stage] = {}
"""The stage of each task, by the name of the task."""


def _task(stage: Stage) -> Any:
    """Return the task of a stage; assign it to a global with the name of the stage."""

    def task(**inputs: Any) -> Any:
        folder = Path.cwd() / stage.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        outputs = stage(Call({name: _plain(value) for name, value in inputs.items()}, folder))
        values = [outputs[name] for name in stage.outputs]
        return tuple(values) if len(values) > 1 else values[0]

    STAGES[stage.name] = stage
    task.__name__ = task.__qualname__ = stage.name
    task.__doc__ = stage.summary
    fields = {name: _input(field) for name, field in stage.inputs.items()}
    for section, without in stage.settings.items():
        for option in options_of(section, without=without):
            fields[option.name] = _setting(option, stage.kinds.get(option.name))
    outputs = {
        name: python.out(type=_type(field), help=field.description)
        for name, field in stage.outputs.items()
    }
    return python.define(inputs=fields, outputs=outputs, xor=list(stage.exclusive) or None)(task)


def _plain(value: Any) -> Any:
    """Return an input with ``Path`` in place of the file types of Pydra."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return Path(value) if isinstance(value, FileSet) else value


def _type(field: Field) -> Any:
    kind = TYPES[field.kind]
    return _list_of(kind) if field.many else kind


def _list_of(kind: Any) -> Any:
    return types.GenericAlias(list, (kind,))


def _input(field: Field) -> Any:
    kind: Any = _type(field)
    if field.required:
        return python.arg(type=kind, help=field.description)
    default = field.default
    if default is None:
        kind = kind | None
    if default == ():
        default = attrs.Factory(list)
    return python.arg(type=kind, default=default, help=field.description)


def _setting(option: Option, declared: Kind | None) -> Any:
    kind: Any = Image if option.kind is Path else option.kind
    default = option.default
    if declared is not None:
        kind = TYPES[declared]
    if option.many:
        kind, default = _list_of(kind), attrs.Factory(lambda: list(option.default))
    elif default is None:
        kind = kind | None
    return python.arg(
        type=kind, default=default, allowed_values=option.choices, help=option.description
    )


AdjustMatrix = _task(ADJUST_MATRIX)
AssessCohort = _task(ASSESS_COHORT)
BuildMatrix = _task(BUILD_MATRIX)
ChangeMatrix = _task(CHANGE_MATRIX)
CollectCohort = _task(COLLECT_COHORT)
Decompose = _task(DECOMPOSE)
DrawFigures = _task(DRAW_FIGURES)
FitBootstrap = _task(FIT_BOOTSTRAP)
FitHalves = _task(FIT_HALVES)
FitPermuted = _task(FIT_PERMUTED)
MakeMask = _task(MAKE_MASK)
MakeReport = _task(MAKE_REPORT)
MakeSplits = _task(MAKE_SPLITS)
MeasureAssociations = _task(MEASURE_ASSOCIATIONS)
MeasureReliability = _task(MEASURE_RELIABILITY)
ProjectSubjects = _task(PROJECT_SUBJECTS)
SelectRank = _task(SELECT_RANK)
SplitTable = _task(SPLIT_TABLE)
StackMeasures = _task(STACK_MEASURES)
WriteMaps = _task(WRITE_MAPS)
