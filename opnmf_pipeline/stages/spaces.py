"""The spaces: every kind of image that can be analysed, one line each.

A further space is a module under ``images`` that has what :class:`~opnmf_pipeline.images.space.
Images` lists, a module under ``reporting`` that has what :class:`Pictures` lists, and a line in
:data:`SPACES`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import volumes
from opnmf_pipeline.images.space import Images, Mask
from opnmf_pipeline.reporting import volumes as volume_pictures
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.viewer import Embedded

__all__ = ["SPACES", "Pictures", "Space", "named_files", "open_mask", "space_of"]

UNKNOWN_MSG = "{path}: is no image that can be analysed; expected the name of a file such as {such}"


class Pictures(Protocol):
    """The half of a space that draws; a background is what :meth:`Mask.unmasked` returns."""

    def template_image(self) -> Any:
        """Return the background that is the same in every study."""

    def draw_components(self, components_file: Path, background: Any, out_file: Path) -> Path:
        """Draw every component where it weighs most."""

    def draw_parts(self, labels_file: Path, background: Any, out_file: Path) -> Path:
        """Draw the winner-takes-all label map."""

    def draw_cohort_maps(self, maps: Mapping[str, Path], mask_file: Path) -> Figure:
        """Draw maps of the cohort, given by their titles, in the mask."""

    def embed(self, images: Sequence[Any]) -> Embedded:
        """Return maps, from paths or :meth:`Mask.unmasked`, as text for the viewer of a page."""


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
    "volumes": Space(volumes, volume_pictures),
}
"""A file belongs to the first space that takes its name."""


def space_of(path: str | Path) -> Space:
    """Return the space of an image, a mask or a map.

    Raises
    ------
    ImageError
        No space has images with such a name.
    """
    for space in SPACES.values():
        if space.images.is_image(path):
            return space
    such = ", ".join(f"image{space.images.SUFFIX}" for space in SPACES.values())
    raise ImageError(UNKNOWN_MSG.format(path=path, such=such))


def named_files(files: Mapping[str, str], mask_file: Path) -> dict[str, str]:
    """Return names of files with ``{image}`` replaced by the ending of the images of a space.

    Parameters
    ----------
    files : mapping
        Names of the files that a stage writes.
    mask_file : path
        Mask of the space.
    """
    suffix = space_of(mask_file).images.SUFFIX
    return {name: file.format(image=suffix) for name, file in files.items()}


def open_mask(path: Path) -> Mask:
    """Open a mask of any space.

    Raises
    ------
    ImageError
        The file is missing or is no mask.
    """
    return space_of(path).images.open_mask(path)
