"""Interface of a space: how images of one kind become rows of a matrix, and rows become images.

A space is a module under ``images`` that defines what :class:`Images` lists, such as
:mod:`opnmf_pipeline.images.volumes`. ``opnmf_pipeline.stages.spaces`` lists all spaces.

In these docstrings a *place* is an element of the grid of a space: a voxel for volumes, a vertex
for surfaces, a feature for tables. An image is one or more files; the path of one of them stands
for the image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.images.atlas import Atlas

if TYPE_CHECKING:
    from opnmf_pipeline.config import MatrixConfig

__all__ = [
    "WORDS",
    "AtlasImage",
    "Colour",
    "Grid",
    "ImageMask",
    "Images",
    "Mask",
    "Parts",
    "StandardSpace",
    "Words",
    "WriteFormat",
]

Colour = tuple[float, float, float]
"""Red, green and blue, from 0 to 1."""


class StandardSpace(NamedTuple):
    """The standard space of images: coordinates in which a template and its tissues are known.

    Attributes
    ----------
    name : str
        Name of the space, such as ``MNI152``.
    evidence : str
        What says so, for messages.
    """

    name: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.name}, according to {self.evidence}"


class ImageMask(NamedTuple):
    """The mask of one image, which says which of its places are missing.

    Attributes
    ----------
    path : str
        Image with the places of the image that it belongs to.
    zero : bool
        Whether the places where it is zero are missing, and not those where it is not zero.
    """

    path: str
    zero: bool

    def missing(self, values: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which places are missing, from the values of the mask; NaN counts as zero."""
        inside: NDArray[np.bool_] = np.nan_to_num(values) != 0
        return ~inside if self.zero else inside


class Words(NamedTuple):
    """What texts call the data of the subjects.

    Attributes
    ----------
    data : str
        The data, plural: ``images``.
    columns : str
        The columns of the matrix, one for each subject or session: ``images``.
    changes : str
        What they are if the columns are changes between two sessions.
    cohort : str
        What was factorized. Fields: ``what`` (``data`` or ``changes``), ``n`` (number of rows),
        ``people``.
    used, used_twice : str
        Sentence without its end about what was used of ``n`` subjects, also for changes.
    mean : str
        The mean of the columns of the matrix.
    entry : str
        What is entered twice if the data of two subjects are equal.
    if_poor : str
        What poor coverage can come from.
    if_negative : str
        What to do about negative values.
    """

    data: str = "images"
    columns: str = "images"
    changes: str = "changes between two images"
    cohort: str = "{what} of {people}"
    used: str = "One image of each of {n} subjects was used"
    used_twice: str = "Two images of each of {n} subjects were used"
    mean: str = "the mean image"
    entry: str = "scan"
    if_poor: str = "The field of view may be truncated."
    if_negative: str = (
        "set matrix.negative: clip (to 0) or shift (subtract the smallest value), or fix the images"
    )


WORDS = Words()
"""Words for images."""


class Grid(Protocol):
    """The places for which every image has a value. ``str`` describes the grid in one line.

    Attributes
    ----------
    element, elements : str
        Name of a place in messages, singular and plural: ``voxel``, ``voxels``.
    words : Words
        What texts call the data of the subjects.
    template : str
        Name of the template of the mask ``method: template``, for messages.
    brain : str
        Name of the mask of :meth:`read_brain`, for messages.
    in_space : bool
        Whether the places are in space, and have neighbours. The maps of others, such as tables,
        are shown on the regions of an atlas.
    has_coordinates : bool
        Whether the coordinates of the places are known.
    """

    @property
    def element(self) -> str:
        """Name of a place, singular."""

    @property
    def elements(self) -> str:
        """Name of places, plural."""

    @property
    def words(self) -> Words:
        """What texts call the data of the subjects."""

    @property
    def template(self) -> str:
        """Name of the template."""

    @property
    def brain(self) -> str:
        """Name of the mask of the brain."""

    @property
    def in_space(self) -> bool:
        """Whether the places are in space."""

    @property
    def has_coordinates(self) -> bool:
        """Whether the coordinates of the places are known."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array of values; the rows of the matrix are in its C order."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours along each axis, in mm, rounded to 0.001 mm; may be empty."""

    def describe(self) -> dict[str, Any]:
        """Return the description of the grid for the sidecar of a matrix, convertible to JSON."""

    def read(
        self, path: str | Path, options: MatrixConfig, mask: ImageMask | None = None
    ) -> NDArray[np.float32]:
        """Return the preprocessed values of one image on this grid, an array of ``shape``.

        NaN is a missing value if ``options.nan`` is ``masked``; ``mask`` makes more values missing.

        Raises
        ------
        ImageError
            The image is damaged, it has NaN that the preprocessing would spread, or its mask has
            other places.
        """

    def read_template(self) -> NDArray[np.floating]:
        """Return the values of the template on this grid, an array of ``shape``."""

    def read_brain(self) -> NDArray[np.bool_]:
        """Return which places are in the brain of the template, an array of ``shape``."""

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """Return where an image is not zero on this grid, an array of ``shape``."""

    def read_labels(self, path: Path, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return the region of an atlas at each place, an array of ``shape``; 0 for no region.

        Parameters
        ----------
        path : path
            Image of the atlas.
        regions : DataFrame
            ``name`` of each region by its index, for grids whose places have names.

        Raises
        ------
        ImageError
            The image has other dimensions or another mesh, or it has values that are no labels.
        """

    def write_mask(self, inside: NDArray[np.bool_], reference: str | Path, out_file: Path) -> None:
        """Write a mask of ``shape``, in the coordinate system of a reference image."""


class Mask(Protocol):
    """The places that are rows of the matrix, in C order of the grid."""

    @property
    def label_columns(self) -> Mapping[str, Mapping[str, str]]:
        """Description and units of each column of :meth:`label_table`."""

    @property
    def grid(self) -> Grid:
        """Grid of the mask."""

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each place is a row, an array of ``grid.shape``."""

    @property
    def hemispheres(self) -> NDArray[np.int8]:
        """Hemisphere of each row: −1 left, 1 right, 0 between them."""

    @property
    def in_standard_space(self) -> bool:
        """Whether the mask is in the standard space, so that templates can be compared with it."""

    @property
    def template_space(self) -> str | None:
        """BIDS label of the space of the mask, such as ``fsLR``; None if it is not known."""

    @property
    def resolution(self) -> str:
        """BIDS entity of the grid, such as ``res-3mm`` or ``den-32k``; may be empty."""

    def masked(self, path: Path) -> NDArray[Any]:
        """Return the values of a map in the mask: (n_rows,), or (n_rows, n_maps) for several."""

    def unmasked(self, values: NDArray[Any]) -> Any:
        """Return an image of one map, (n_rows,), or several, (n_rows, n_maps), for pictures."""

    def moved_to(self, grid: Any, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return maps, (n_rows, n_maps), on another grid of this space, in the same coordinates.

        Parameters
        ----------
        grid : Grid
            The other grid.
        values : ndarray of shape (n_rows, n_maps)

        Returns
        -------
        ndarray of shape (*grid.shape, n_maps), float32
            0 where the maps have no value.

        Raises
        ------
        ImageError
            Maps of this space cannot be moved to this grid.
        """

    def write(self, values: NDArray[Any], path: Path) -> None:
        """Write an image of one map, (n_rows,), or several, (n_rows, n_maps), and its copies."""

    def write_labels(
        self, labels: NDArray[np.int16], colours: Sequence[Colour], path: Path
    ) -> None:
        """Write a label map, (n_rows,), and its copies; ``colours`` are those of labels from 1."""

    def label_table(self, W: NDArray[np.floating], labels: NDArray[np.int16]) -> pd.DataFrame:
        """Return one row per component that describes its part.

        The first columns are ``index``, ``name`` and the number of places, such as ``n_voxels``.
        """

    def composition(self, weights: NDArray[np.floating]) -> pd.DataFrame | None:
        """Return how maps are divided among tissues of the template.

        Parameters
        ----------
        weights : ndarray of shape (n_rows, n_maps)
            Non-negative.

        Returns
        -------
        DataFrame or None
            One row per map, one share of its sum per column; NaN for a map of zeros. None if the
            mask is not in the standard space, or if this space has no tissues.
        """

    def positions(self) -> NDArray[np.float64] | None:
        """Return the coordinates of each row in mm, (n_rows, 3); None if rows have no place."""

    def mirrored_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose mirror place is in the mask, and those mirror rows."""

    def n_pieces(self, labels: NDArray[np.integer]) -> NDArray[np.number]:
        """Return the number of connected pieces of each part, shape (labels.max(),).

        NaN if the neighbours of a place are not known.
        """


class Parts(NamedTuple):
    """The parts of an atlas, or the maps of another program.

    Attributes
    ----------
    mask : Mask
        Where any part has weight.
    weights : ndarray of shape (n_rows, n_parts), float32
        One column per part: 1 in it and 0 elsewhere, or its probability.
    names : list of (str or None)
        Name of each part, if it is known.
    """

    mask: Mask
    weights: NDArray[np.float32]
    names: list[str | None]


class AtlasImage(NamedTuple):
    """The regions of an atlas, in the space of its image.

    Attributes
    ----------
    mask : Mask
        Where any region is.
    labels : ndarray of shape (n_rows,), int64
        Index of the region of each row of the mask.
    names : DataFrame or None
        ``name`` by the index of the region, if the image contains the names.
    """

    mask: Mask
    labels: NDArray[np.int64]
    names: pd.DataFrame | None


class WriteFormat(Protocol):
    """Writes components in another format."""

    def __call__(
        self,
        mask: Any,
        weights: NDArray[np.floating],
        labels: NDArray[np.int16],
        colours: Sequence[Colour],
        folder: Path,
        stem: str,
    ) -> None:
        """Write maps, (n_rows, n_maps), and a label map, (n_rows,), into a folder.

        ``stem`` begins the names of the files.
        """


class Images(Protocol):
    """What the module of a space under ``images`` defines."""

    ENDINGS: Mapping[str, str]
    """Endings of the files that the space writes: of maps (``image``) and of label maps
    (``labels``)."""

    ATLAS: Atlas | None
    """Atlas for maps in MNI152 space, if the package includes one."""

    FORMATS: Mapping[str, WriteFormat]
    """Other formats of the programs of the field, by their names."""

    def is_image(self, path: str | Path) -> bool:
        """Tell by its name whether a file is an image of this space."""

    def open_atlas(self, path: Path) -> AtlasImage:
        """Open the label image of an atlas.

        Raises
        ------
        ImageError
            The file is not a label image of this space.
        """

    def read_parts(self, path: Path) -> Parts:
        """Read a label image, or an image of several maps of probabilities or weights.

        Raises
        ------
        ImageError
            The file has negative values, or is neither of these.
        """

    def image_files(self, path: str | Path) -> list[str]:
        """Return the files of an image, such as header and values, or both hemispheres."""

    def copies(self, path: Path) -> Mapping[str, Path]:
        """Return the files that show a written map again, by the beginning of their names.

        It is ``hemi-L_`` or ``hemi-R_`` for files of one hemisphere, ``measure-NAME_`` for files of
        one of several measures, and empty for other files.
        """

    def standard_space(self, path: str | Path) -> StandardSpace | None:
        """Return the standard space of an image, or None if nothing says that it is in one."""

    def check_grids(
        self,
        paths: Iterable[str | Path],
        reference: str | Path,
        *,
        name: str = "",
        resampled: bool = False,
        remedy: str = ...,
    ) -> None:
        """Require that every image is on the grid of a reference image, or can be resampled to it.

        ``name`` is what the message calls the reference, instead of its path; ``remedy`` replaces
        what it says about images on other grids.

        Raises
        ------
        ImageError
            Images are on a different grid; names the first ones and their number.
        """

    def analysis_grid(
        self, first: str | Path, mask_image: Path | None, options: MatrixConfig
    ) -> Grid:
        """Return the grid that every image is resampled to."""

    def open_mask(self, path: Path) -> Mask:
        """Open a mask that :meth:`Grid.write_mask` wrote."""
