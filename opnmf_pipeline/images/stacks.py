"""The space of stacks: several measures of each subject, whose rows are below each other.

A map of a stack is one map for each measure, in the format of its space, and a JSON file that lists
them and stands for all of them. The file ``NAME.stack.json`` lists ``measure-gm_NAME.nii.gz``, so
that all of these files can be copied or renamed together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import file_digest
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.space import (
    WORDS,
    AtlasImage,
    Colour,
    Grid,
    Images,
    Mask,
    Parts,
    Words,
    WriteFormat,
)

__all__ = ["STACK", "StackMask", "Stacks", "part_file", "part_files", "write_index"]

STACK = ".stack.json"
"""Ending of the file that stands for the maps of all measures."""
ONLY_MAPS_MSG = "{path}: stands for the maps of several measures; name the map of one measure"
DAMAGED_MSG = "{path}: is no list of the maps of several measures ({reason})"


def part_file(path: Path, name: str, ending: str) -> Path:
    """Return the path of the map of a measure, beside the file that stands for all of them."""
    return path.with_name(f"measure-{name}_{path.name.removesuffix(STACK)}{ending}")


def write_index(path: Path, endings: Mapping[str, str]) -> None:
    """Write the file that stands for the maps of all measures, which exist.

    Parameters
    ----------
    path : path
        File to write, with the ending :data:`STACK`. It has the SHA-256 of each map, so that
        different maps have different files.
    endings : mapping of str to str
        Ending of the map of each measure.
    """
    digests = {name: file_digest(part_file(path, name, end)) for name, end in endings.items()}
    content = {"Measures": dict(endings), "SHA256": digests}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def part_files(path: Path) -> dict[str, Path]:
    """Return the map of each measure that a file of :func:`write_index` stands for.

    Raises
    ------
    ImageError
        The file cannot be read.
    """
    try:
        measures = json.loads(path.read_text(encoding="utf-8"))["Measures"]
        return {name: part_file(path, name, ending) for name, ending in measures.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ImageError(DAMAGED_MSG.format(path=path, reason=error)) from None


@dataclass(frozen=True)
class StackGrid:
    """The places of all measures, in their order, as one list.

    Attributes
    ----------
    parts : mapping of str to Grid
        Grid of each measure.
    """

    parts: Mapping[str, Grid]

    def _shared(self, name: str, otherwise: Any) -> Any:
        """Return an attribute of the grids, if it is the same for all of them."""
        found = {getattr(grid, name) for grid in self.parts.values()}
        return found.pop() if len(found) == 1 else otherwise

    @property
    def element(self) -> str:
        """Name of a place, singular."""
        return str(self._shared("element", "place"))

    @property
    def elements(self) -> str:
        """Name of places, plural."""
        return str(self._shared("elements", "places"))

    @property
    def words(self) -> Words:
        """What texts call the data of the subjects."""
        found: Words = self._shared("words", WORDS)
        return found

    @property
    def template(self) -> str:
        """Name of the template."""
        return str(self._shared("template", "the template"))

    @property
    def brain(self) -> str:
        """Name of the mask of the brain."""
        return str(self._shared("brain", "the brain mask of the template"))

    @property
    def in_space(self) -> bool:
        """Whether the places of a measure are in space."""
        return any(grid.in_space for grid in self.parts.values())

    @property
    def has_coordinates(self) -> bool:
        """Whether the coordinates of the places of all measures are known."""
        return all(grid.has_coordinates for grid in self.parts.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of all places."""
        return (sum(int(np.prod(grid.shape)) for grid in self.parts.values()),)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours, if it is the same for all measures."""
        return tuple(self._shared("spacing", ()))

    def __str__(self) -> str:
        return "; ".join(f"{name}: {grid}" for name, grid in self.parts.items())

    def describe(self) -> dict[str, Any]:
        """Return the description of the grid of each measure."""
        return {"Grids": {name: grid.describe() for name, grid in self.parts.items()}}

    def read_labels(self, path: Path, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return the region of an atlas at the places of all measures."""
        found = [grid.read_labels(path, regions).ravel() for grid in self.parts.values()]
        return np.concatenate(found)


@dataclass(frozen=True)
class StackMask:
    """The rows of all measures, in their order.

    Attributes
    ----------
    parts : mapping of str to Mask
        Mask of each measure.
    endings : mapping of str to mapping
        Endings of the maps and label maps of each measure, as in ``Images.ENDINGS``.
    """

    parts: Mapping[str, Mask]
    endings: Mapping[str, Mapping[str, str]]

    @cached_property
    def grid(self) -> Any:
        """Grids of all measures."""
        return StackGrid({name: mask.grid for name, mask in self.parts.items()})

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each place is a row."""
        return np.concatenate([mask.inside.ravel() for mask in self.parts.values()])

    @cached_property
    def rows(self) -> dict[str, slice]:
        """Rows of each measure."""
        sizes = [int(np.count_nonzero(mask.inside)) for mask in self.parts.values()]
        ends = np.cumsum([0, *sizes]).tolist()
        return {
            name: slice(first, stop)
            for name, first, stop in zip(self.parts, ends, ends[1:], strict=False)
        }

    @property
    def hemispheres(self) -> NDArray[np.int8]:
        """Hemisphere of each row."""
        return np.concatenate([mask.hemispheres for mask in self.parts.values()])

    @property
    def in_standard_space(self) -> bool:
        """Whether the masks of all measures are in the standard space."""
        return all(mask.in_standard_space for mask in self.parts.values())

    @property
    def template_space(self) -> str | None:
        """BIDS label of the space, if it is the same for all measures."""
        found = {mask.template_space for mask in self.parts.values()}
        return found.pop() if len(found) == 1 else None

    @property
    def resolution(self) -> str:
        """BIDS entity of the grid, if it is the same for all measures."""
        found = {mask.resolution for mask in self.parts.values()}
        return found.pop() if len(found) == 1 else ""

    @property
    def label_columns(self) -> Mapping[str, Mapping[str, str]]:
        """Description and units of each column of :meth:`label_table`."""
        number = self.grid.elements.capitalize()
        total = {"Description": f"{number} of the part in all measures"}
        described: dict[str, Mapping[str, str]] = {f"n_{self.grid.elements}": total}
        for name, mask in self.parts.items():
            for column, about in mask.label_columns.items():
                if column in ("index", "name"):
                    described[column] = about
                else:
                    text = f"{about['Description']} (in the measure {name})"
                    described[f"{column}_{name}"] = {**about, "Description": text}
        return described

    def masked(self, path: Path) -> NDArray[Any]:
        """Return the values of the maps that a file stands for, in the masks of the measures."""
        files = part_files(path)
        return np.concatenate([mask.masked(files[name]) for name, mask in self.parts.items()])

    def unmasked(self, values: NDArray[Any]) -> dict[str, Any]:
        """Return the image of each measure."""
        return {name: mask.unmasked(values[self.rows[name]]) for name, mask in self.parts.items()}

    def moved_to(self, grid: Any, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Refuse: maps of several measures are compared on their own grids only."""
        raise ImageError("maps of several measures cannot be moved to another grid")

    def write(self, values: NDArray[Any], path: Path) -> None:
        """Write the map of each measure, and the file that stands for them."""
        endings = {name: own["image"] for name, own in self.endings.items()}
        for name, mask in self.parts.items():
            mask.write(values[self.rows[name]], part_file(path, name, endings[name]))
        write_index(path, endings)

    def write_labels(
        self, labels: NDArray[np.int16], colours: Sequence[Colour], path: Path
    ) -> None:
        """Write the label map of each measure, and the file that stands for them."""
        endings = {name: own["labels"] for name, own in self.endings.items()}
        for name, mask in self.parts.items():
            file = part_file(path, name, endings[name])
            mask.write_labels(labels[self.rows[name]], colours, file)
        write_index(path, endings)

    def label_table(self, W: NDArray[np.floating], labels: NDArray[np.int16]) -> pd.DataFrame:
        """Return one row per component: its size in all measures, then its part in each of them."""
        found = {
            name: mask.label_table(W[self.rows[name]], labels[self.rows[name]])
            for name, mask in self.parts.items()
        }
        first = next(iter(found.values()))[["index", "name"]]
        sizes = np.bincount(labels, minlength=W.shape[1] + 1)[1:]
        table = first.assign(**{f"n_{self.grid.elements}": sizes})
        own = [
            part.drop(columns=["index", "name"]).add_suffix(f"_{name}")
            for name, part in found.items()
        ]
        return pd.concat([table, *own], axis=1)

    def composition(self, weights: NDArray[np.floating]) -> None:
        """Return None: the values of different measures are no amounts of one tissue."""
        return

    def positions(self) -> NDArray[np.float64] | None:
        """Return the coordinates of each row; None if those of one measure are not known."""
        found = [mask.positions() for mask in self.parts.values()]
        known = [positions for positions in found if positions is not None]
        return np.concatenate(known) if len(known) == len(found) else None

    def mirrored_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose mirror place is in the mask of the measure, and those rows."""
        pairs = [
            [rows + self.rows[name].start for rows in mask.mirrored_rows()]
            for name, mask in self.parts.items()
        ]
        first, second = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
        return first, second

    def n_pieces(self, labels: NDArray[np.integer]) -> NDArray[np.number]:
        """Return the number of connected pieces of each part, summed over the measures."""
        total: NDArray[np.float64] = np.zeros(int(labels.max()))
        for name, mask in self.parts.items():
            found = mask.n_pieces(labels[self.rows[name]]).astype(np.float64)
            total[: len(found)] += found
        return total


class Stacks:
    """What a module of a space under ``images`` defines, for stacks of maps of other spaces.

    Parameters
    ----------
    spaces : sequence of Images
        The other spaces; a file belongs to the first one that accepts its name.
    """

    ENDINGS: Mapping[str, str] = {"image": STACK, "labels": STACK}
    ATLAS: Atlas | None = None
    FORMATS: Mapping[str, WriteFormat] = {}

    def __init__(self, spaces: Sequence[Images]) -> None:
        self._spaces = spaces

    def space_of(self, path: Path) -> Images:
        """Return the space of the map of one measure."""
        return next(space for space in self._spaces if space.is_image(path))

    def is_image(self, path: str | Path) -> bool:
        """Tell by its name whether a file stands for maps of several measures."""
        return str(path).endswith(STACK)

    def image_files(self, path: str | Path) -> list[str]:
        """Return the file, and the maps that it stands for."""
        return [str(path), *map(str, part_files(Path(path)).values())]

    def copies(self, path: Path) -> Mapping[str, Path]:
        """Return the map of each measure."""
        return {f"measure-{name}_": file for name, file in part_files(path).items()}

    def open_mask(self, path: Path) -> Mask:
        """Open the masks of all measures."""
        files = part_files(path)
        spaces = {name: self.space_of(file) for name, file in files.items()}
        return StackMask(
            {name: spaces[name].open_mask(file) for name, file in files.items()},
            {name: space.ENDINGS for name, space in spaces.items()},
        )

    def standard_space(self, path: str | Path) -> None:
        """Refuse: see :meth:`open_atlas`."""
        raise ImageError(ONLY_MAPS_MSG.format(path=path))

    def open_atlas(self, path: Path) -> AtlasImage:
        """Refuse: no image of a subject, and no atlas, is a stack."""
        raise ImageError(ONLY_MAPS_MSG.format(path=path))

    def read_parts(self, path: Path) -> Parts:
        """Refuse: see :meth:`open_atlas`."""
        raise ImageError(ONLY_MAPS_MSG.format(path=path))

    def check_grids(self, paths: Iterable[str | Path], reference: str | Path, **_: Any) -> None:
        """Refuse: see :meth:`open_atlas`."""
        raise ImageError(ONLY_MAPS_MSG.format(path=reference))

    def analysis_grid(self, first: str | Path, mask_image: Path | None, options: Any) -> Grid:
        """Refuse: see :meth:`open_atlas`."""
        raise ImageError(ONLY_MAPS_MSG.format(path=first))
