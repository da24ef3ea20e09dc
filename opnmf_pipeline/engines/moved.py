"""Results of Pydra in a folder that was renamed or moved: their paths follow it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import attrs
import cloudpickle
from fileformats.core import FileSet

from opnmf_pipeline.engines.seals import seal
from opnmf_pipeline.files import written_whole

__all__ = ["follow_move"]

PLACE = "place.txt"
"""File in the folder of the results with the path of this folder when they were computed."""


def follow_move(root: Path) -> None:
    """Change the paths in all results of a folder, if the folder has moved.

    Parameters
    ----------
    root : path
        Folder of the results, absolute. All results in it are sealed.
    """
    place = root / PLACE
    old = Path(place.read_text(encoding="utf-8")) if place.exists() else root
    if old != root:
        for file in root.glob("*/_result.pklz"):
            result = cloudpickle.loads(file.read_bytes())
            result.cache_dir = file.parent
            values = attrs.asdict(result.outputs, recurse=False)
            try:
                for name, value in values.items():
                    setattr(result.outputs, name, _moved(value, old, root))
            except FileNotFoundError:  # a list with an output of a job that was removed
                shutil.rmtree(file.parent)
                continue
            file.write_bytes(cloudpickle.dumps(result))
            seal(file.parent)
    with written_whole(place) as partial:  # last: a killed run begins again
        partial.write_text(str(root), encoding="utf-8")


def _moved(value: Any, old: Path, new: Path) -> Any:
    if isinstance(value, list):
        return [_moved(item, old, new) for item in value]
    if not isinstance(value, FileSet):
        return value
    inside = [Path(path).relative_to(old) for path in value.fspaths if path.is_relative_to(old)]
    return type(value)(new / path for path in inside) if inside else value
