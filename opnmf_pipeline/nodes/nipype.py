"""The stages as Nipype interfaces, for ``Node``, ``MapNode`` and ``JoinNode``.

Each interface is made from the declaration of its stage (:mod:`opnmf_pipeline.stages.stage`). The
ranges, choices, defaults and descriptions of settings come from :mod:`opnmf_pipeline.config`.

The name of the folder that a node writes ends in a digest of its content. Nipype identifies a
folder by its name. So later nodes run again only if the content has changed, and no node has to
read a large matrix to find out.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import joblib
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Directory,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    Undefined,
    isdefined,
    traits,
)
from threadpoolctl import threadpool_limits

from opnmf_pipeline.files import folder_digest
from opnmf_pipeline.images.surfaces import other_file
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

THREADS = "largest number of threads and processes"
FILES = (Kind.FILE, Kind.IMAGE, Kind.TABLE, Kind.JSON, Kind.PICTURE)
FOLDERS = (Kind.FOLDER, Kind.PLACE)
NAMED_BY_CONTENT = re.compile(r"/[a-z]+-[0-9a-f]{16}(/|$).*")
"""End of the paths of folders that :func:`_named_by_content` returns, and of folders in them."""


class _Inputs(BaseInterfaceInputSpec):  # type: ignore[misc]
    """Inputs that identify the folder of another node by its name, so that it can be moved.

    An image in two files, one for each hemisphere, is identified by both.
    """

    def _get_sorteddict(
        self,
        objekt: Any,
        dictwithhash: bool = False,
        hash_method: str | None = None,
        hash_files: bool = True,
    ) -> Any:
        if isinstance(objekt, str):
            named = NAMED_BY_CONTENT.search(objekt)
            if named and Path(objekt).is_dir():
                return named[0]
        found = super()._get_sorteddict(objekt, dictwithhash, hash_method, hash_files)
        if isinstance(objekt, str) and (other := other_file(objekt)) and Path(other).is_file():
            rest = super()._get_sorteddict(other, dictwithhash, hash_method, hash_files)
            return [found, rest]
        return found


class _Interface(SimpleInterface):  # type: ignore[misc]
    """Runs a stage in the folder of the node."""

    stage: ClassVar[Stage]

    def _run_interface(self, runtime: Any) -> Any:
        inputs = {name: value for name, value in self.inputs.get().items() if isdefined(value)}
        threads = inputs.pop("num_threads")
        folder = Path(runtime.cwd) / self.stage.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        # Threads, because a Nipype worker that has started processes of its own never ends
        with threadpool_limits(threads), joblib.parallel_config(backend="threading"):
            outputs = self.stage(Call(inputs, folder, n_procs=threads))
        final = _named_by_content(folder, self.stage.large)
        self._results.update(
            {name: _moved(value, folder, final) for name, value in outputs.items()}
        )
        return runtime


def _named_by_content(folder: Path, large: tuple[str, ...]) -> Path:
    """Add a digest of the content to the name of a folder; large files are not read.

    The checksums of the large files are in small files of the same folder.
    """
    final = folder.with_name(f"{folder.name}-{folder_digest(folder, large)[:16]}")
    shutil.rmtree(final, ignore_errors=True)
    return folder.rename(final)


def _moved(value: Any, folder: Path, final: Path) -> Any:
    """Return an output with str paths in the renamed folder, as Nipype requires."""
    if isinstance(value, list):
        return [_moved(item, folder, final) for item in value]
    if isinstance(value, Path):
        return str(final / value.relative_to(folder))
    return value


def _interface(stage: Stage) -> type[_Interface]:
    """Return the interface of a stage; assign it to a global with the name of the stage."""
    return type(
        stage.name,
        (_Interface,),
        {
            "__doc__": stage.summary,
            "__module__": __name__,
            "stage": stage,
            "input_spec": _spec(f"_{stage.name}Inputs", _Inputs, _inputs(stage)),
            "output_spec": _spec(f"_{stage.name}Outputs", TraitedSpec, _outputs(stage)),
            "_always_run": not stage.cached,
        },
    )


def _spec(name: str, base: type, fields: Mapping[str, Any]) -> type:
    """Return a specification, and add it to this module, because pickle looks it up by name."""
    globals()[name] = spec = type(name, (base,), {"__module__": __name__, **fields})
    return spec


def _inputs(stage: Stage) -> dict[str, Any]:
    fields = {name: _input(field) for name, field in stage.inputs.items()}
    for section, without in stage.settings.items():
        for option in options_of(section, without=without):
            metadata: dict[str, Any] = {}
            if option.name in stage.exclusive:
                metadata["xor"] = [name for name in stage.exclusive if name != option.name]
            if option.name in stage.requires:
                metadata["requires"] = [stage.requires[option.name]]
            fields[option.name] = _setting(option, stage.kinds.get(option.name), metadata)
    # not hashed, because the result does not depend on it
    fields["num_threads"] = traits.Range(1, None, 1, usedefault=True, nohash=True, desc=THREADS)
    return fields


def _outputs(stage: Stage) -> dict[str, Any]:
    return {
        name: OutputMultiObject(_trait(field.kind), desc=field.description)
        if field.many
        else _trait(field.kind, desc=field.description)
        for name, field in stage.outputs.items()
    }


def _input(field: Field) -> Any:
    metadata: dict[str, Any] = {"desc": field.description}
    if field.required:
        metadata["mandatory"] = True
    elif field.default not in (None, ()):
        metadata |= {"usedefault": True, "default": field.default}
    if field.many:
        metadata.pop("default", None)
        several = InputMultiObject if field.kind in (*FILES, *FOLDERS) else traits.List
        return several(_trait(field.kind), **metadata)
    return _trait(field.kind, low=field.low, **metadata)


def _trait(kind: Kind, *, low: int = 0, default: Any = Undefined, **metadata: Any) -> Any:
    if kind in FILES:
        return File(exists=True, **metadata)
    if kind in FOLDERS:
        return Directory(exists=True, **metadata)
    match kind:
        case Kind.NUMBER:
            return traits.Range(low, None, low, **metadata)
        case Kind.RANGE:
            return traits.Tuple(traits.Int, traits.Int, **metadata)
        case Kind.FLAG:
            return traits.Bool(default, **metadata)
    return traits.Str("" if default is Undefined else default, **metadata)


def _setting(option: Option, kind: Kind | None, metadata: dict[str, Any]) -> Any:
    metadata["desc"] = option.description
    default = option.default
    if kind is not None:
        return _trait(kind, **metadata)
    if option.kind is Path:
        return File(exists=True, **metadata)
    if option.kind is dict:
        return traits.Dict(**metadata)
    if option.many:
        return traits.List(traits.Str, default, usedefault=True, **metadata)
    if default is not None:
        metadata["usedefault"] = True
    if option.choices:
        choices = option.choices if default is None else (default, *option.choices)
        return traits.Enum(*dict.fromkeys(choices), **metadata)
    if option.low is not None or option.high is not None:
        low, high = (None if end is None else option.kind(end) for end in (option.low, option.high))
        value = low if default is None else default
        return traits.Range(low, high, value, exclude_low=option.open_low, **metadata)
    kinds = {str: traits.Str, int: traits.Int, float: traits.Float, bool: traits.Bool}
    return kinds[option.kind](Undefined if default is None else default, **metadata)


AdjustMatrix = _interface(ADJUST_MATRIX)
AssessCohort = _interface(ASSESS_COHORT)
BuildMatrix = _interface(BUILD_MATRIX)
ChangeMatrix = _interface(CHANGE_MATRIX)
CollectCohort = _interface(COLLECT_COHORT)
Decompose = _interface(DECOMPOSE)
DrawFigures = _interface(DRAW_FIGURES)
FitBootstrap = _interface(FIT_BOOTSTRAP)
FitHalves = _interface(FIT_HALVES)
FitPermuted = _interface(FIT_PERMUTED)
MakeMask = _interface(MAKE_MASK)
MakeReport = _interface(MAKE_REPORT)
MakeSplits = _interface(MAKE_SPLITS)
MeasureAssociations = _interface(MEASURE_ASSOCIATIONS)
MeasureReliability = _interface(MEASURE_RELIABILITY)
ProjectSubjects = _interface(PROJECT_SUBJECTS)
SelectRank = _interface(SELECT_RANK)
SplitTable = _interface(SPLIT_TABLE)
StackMeasures = _interface(STACK_MEASURES)
WriteMaps = _interface(WRITE_MAPS)
