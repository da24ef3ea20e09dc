"""The spaces: every kind of image that can be analysed, one line each.

A new space needs three things:

* a module under ``images`` that defines what :class:`opnmf_pipeline.images.space.Images` lists;
* a module under ``reporting`` that defines what :class:`Pictures` lists;
* a line in :data:`SPACES`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import surfaces, tables, volumes
from opnmf_pipeline.images.matrix import rows_digest
from opnmf_pipeline.images.space import Images, Mask, StandardSpace
from opnmf_pipeline.images.stacks import Stacks, part_files
from opnmf_pipeline.reporting import features as feature_pictures
from opnmf_pipeline.reporting import surfaces as surface_pictures
from opnmf_pipeline.reporting import volumes as volume_pictures
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.stacks import StackPictures
from opnmf_pipeline.reporting.viewer import Embedded

__all__ = [
    "SPACES",
    "STACKS",
    "Pictures",
    "Space",
    "mask_has_null",
    "mask_of",
    "named_files",
    "open_mask",
    "space_of",
    "stated_space",
]

UNKNOWN_MSG = "{path}: is not an image that can be analysed; expected a file name such as {such}"
OTHER_MASK_MSG = (
    "{mask}: its {n} {elements} are not the rows of {source}; connect the mask that its matrix was "
    "built with (mask_file of MakeMask)"
)


class Pictures(Protocol):
    """What the module of a space under ``reporting`` defines.

    A background is an image of the kind that :meth:`Mask.unmasked` returns, or the paths of
    two meshes, left and right. Tables have none.
    """

    VIEWS: str
    """How :meth:`draw_components` shows each component, such as ``in three cuts``."""

    def template_image(self) -> Any:
        """Return the background that is the same in every study."""

    def draw_components(
        self, components_file: Path, titles: Sequence[str], background: Any, out_file: Path
    ) -> Path:
        """Draw every component at its largest weight, write a PNG, and return its path."""

    def draw_parts(
        self, labels_file: Path, titles: Sequence[str], background: Any, out_file: Path
    ) -> Path:
        """Draw the winner-takes-all label map with a legend, and return the path of the PNG."""

    def draw_cohort_maps(
        self, maps: Mapping[str, Path], mask_file: Path, background: Any = None
    ) -> Figure:
        """Draw maps of the cohort inside the mask; the keys of ``maps`` are their titles."""

    def embed(self, images: Sequence[Any], *, meshes: Sequence[Path] = ()) -> Embedded | None:
        """Return images as text for the viewer of the report, or None if it cannot show them.

        Each image is a path or an image that :meth:`Mask.unmasked` returned. ``meshes`` are the
        meshes of the left and of the right hemisphere, for surfaces.
        """


class Space(NamedTuple):
    """One kind of image.

    Attributes
    ----------
    images : Images
        Reads and writes them.
    pictures : Pictures
        Draws them.
    """

    images: Images
    pictures: Pictures


SPACES: dict[str, Space] = {
    "surfaces": Space(surfaces, surface_pictures),
    "tables": Space(tables, feature_pictures),
    "volumes": Space(volumes, volume_pictures),
}
"""A file belongs to the first space whose ``is_image`` accepts its name.

Surfaces come first: CIFTI files end in ``.nii``.
"""
STACKS = Space(
    Stacks([space.images for space in SPACES.values()]),
    StackPictures(lambda path: space_of(path).pictures, part_files),
)
"""The space of the maps of several measures; no image of a subject is in it."""


def space_of(path: str | Path) -> Space:
    """Return the space of an image, a mask or a map.

    Raises
    ------
    ImageError
        No space accepts the name of the file.
    """
    for space in (STACKS, *SPACES.values()):
        if space.images.is_image(path):
            return space
    such = ", ".join(f"image{space.images.ENDINGS['image']}" for space in SPACES.values())
    raise ImageError(UNKNOWN_MSG.format(path=path, such=such))


def stated_space(images: Images, standard: StandardSpace | None) -> str:
    """Return the text about the standard space of images; empty if they have no templates."""
    return str(standard or "unknown") if images.ATLAS else ""


def named_files(files: Mapping[str, str], path: str | Path) -> dict[str, str]:
    """Return file names with ``{image}`` and ``{labels}`` replaced by the endings of a space.

    Parameters
    ----------
    files : mapping of str to str
        Names of the files that a stage writes.
    path : path
        An image or a mask, which tells the space.

    Raises
    ------
    ImageError
        No space accepts this name.
    """
    endings = space_of(path).images.ENDINGS
    return {name: file.format(**endings) for name, file in files.items()}


def open_mask(path: Path) -> Mask:
    """Open a mask of any space.

    Raises
    ------
    ImageError
        The file is missing or is not a mask.
    """
    return space_of(path).images.open_mask(path)


def mask_of(mask_file: Path, *sources: Path) -> Mask:
    """Open the mask whose places are the rows of matrices or of factorizations.

    Parameters
    ----------
    mask_file : path
        Mask of any space.
    *sources : path
        ``matrix.json`` or ``factorization.json``. Of one without the digest of its rows, which
        version 0.1 wrote, only the number of rows is compared.

    Raises
    ------
    ImageError
        The file is missing or is not a mask, or the rows are other places.
    """
    mask = open_mask(mask_file)
    n, digest = int(np.count_nonzero(mask.inside)), rows_digest(mask)
    for source in sources:
        about = json.loads(source.read_text(encoding="utf-8"))
        if (about.get("RowsSHA256", digest), about.get("NumberOfVoxels", n)) != (digest, n):
            named = {"mask": mask_file, "n": n, "elements": mask.grid.elements, "source": source}
            raise ImageError(OTHER_MASK_MSG.format(**named))
    return mask


def mask_has_null(mask: Mask) -> bool:
    """Tell whether random parts can have the shape that parts in this mask have by chance.

    It is compact where places are in space. So their coordinates must be known, which they are not
    on some meshes. Features of tables have no neighbours, and any parts of them do.
    """
    return mask.grid.has_coordinates or not mask.grid.in_space
