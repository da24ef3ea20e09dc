"""The features of tables, and the values and masks read on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.cleaning import cleaned
from opnmf_pipeline.images.space import AtlasImage, ImageMask, StandardSpace, Words
from opnmf_pipeline.images.tables.files import is_image, read_features, write_features
from opnmf_pipeline.images.tables.regions import regions_of, shared_regions

if TYPE_CHECKING:
    from opnmf_pipeline.config import MatrixConfig

__all__ = ["Grid", "analysis_grid", "check_grids", "open_atlas", "standard_space"]

N_NAMED = 5
OTHER_MSG = "{path}: its features are not those of {reference}: {difference}"
NO_FILE_MSG = (
    "mask.image: {path} is not a table of features; give a file *.features.tsv with the columns "
    "name and mask, 0 for features that are left out"
)
ONE_COLUMN_MSG = "{path}: has {n} columns of values, expected one"
SPATIAL_MSG = "matrix.{setting}: features have no places; remove the setting"
SPATIAL = ("resample", "voxel_size", "smoothing_fwhm")
"""Settings of the matrix that change volumes only."""
TEMPLATE_MSG = "mask.method: template: tables have no template; use all, mean, coverage or image"
BRAIN_MSG = (
    "mask.within: features are not compared with the brain of a template; remove the setting, or "
    "set mask.within: none"
)
NO_REGION_MSG = (
    "report.atlas: {path} has no region with the name of a feature: the features are {features}, "
    "the regions {regions}; rename the columns of the table, or use the atlas that they come from"
)
SHARED_MSG = (
    "report.atlas: several features are one region of {path}: {features}; choose one measure with "
    "inputs.feature_names, such as '*_thickness', or remove report.atlas"
)
WORDS = Words(
    data="values",
    columns="columns of the matrix",
    changes="changes of values",
    cohort="{n} {what} of each of {people}",
    used="For each of {n} subjects, one value per feature was used",
    used_twice="For each of {n} subjects, two values per feature were used",
    mean="the mean of each feature",
    entry="row of a table",
    if_poor="Zeros may stand for missing values.",
    if_negative="z-scores and other standardized values cannot be used: replace them by the raw "
    "values; if the raw values are negative, set matrix.negative: clip (to 0)",
)
TABLE_MSG = "report.atlas: {path} is a table of features; give the label image of an atlas"


@dataclass(frozen=True)
class Grid:
    """Features, by their names.

    Parameters
    ----------
    names : tuple of str
        Names of the features, in the order of the rows of the matrix.
    """

    names: tuple[str, ...]

    element, elements = "feature", "features"
    words = WORDS
    in_space = False
    has_coordinates = False
    template = "the template"
    brain = "the brain of the template"

    @property
    def shape(self) -> tuple[int]:
        """Number of features."""
        return (len(self.names),)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Return an empty tuple, because features have no places."""
        return ()

    def __str__(self) -> str:
        shown = (
            self.names if len(self.names) <= N_NAMED else (*self.names[:2], "...", self.names[-1])
        )
        return f"{len(self.names)} features ({', '.join(shown)})"

    def describe(self) -> dict[str, Any]:
        """Return the description of the grid for the sidecar of a matrix."""
        digest = hashlib.sha256("\n".join(self.names).encode()).hexdigest()
        return {"GridShape": [len(self.names)], "FeaturesSHA256": digest}

    def order_of(self, path: str | Path, names: tuple[str, ...]) -> NDArray[np.int64]:
        """Return where each feature is among the names in a file.

        Raises
        ------
        ImageError
            The file has other features.
        """
        if names == self.names:
            return np.arange(len(names))
        if difference := self.difference(names):
            raise ImageError(
                OTHER_MSG.format(path=path, reference="the mask", difference=difference)
            )
        position = {name: number for number, name in enumerate(names)}
        return np.array([position[name] for name in self.names])

    def difference(self, names: tuple[str, ...]) -> str:
        """Return which features are missing or new among other names; empty if there are none."""
        here, there = set(self.names), set(names)
        missing = [name for name in self.names if name not in there]
        new = [name for name in names if name not in here]
        found = [
            f"{len(some)} {what} ({', '.join(some[:N_NAMED])}{', ...' * (len(some) > N_NAMED)})"
            for some, what in ((missing, "are missing"), (new, "are new"))
            if some
        ]
        return " and ".join(found)

    def read(
        self, path: str | Path, options: MatrixConfig, mask: ImageMask | None = None
    ) -> NDArray[np.float32]:
        """Return the values of one subject, in the order of the features of the grid.

        Parameters
        ----------
        path : path
            Table of the subject. The order of its rows does not matter.
        options : MatrixConfig
            ``nan`` is applied first, then ``negative: clip``.
        mask : None
            Not used: tables have no masks.

        Returns
        -------
        ndarray of shape ``shape``, float32

        Raises
        ------
        ImageError
            The file is damaged or has other features.
        """
        return cleaned(self._column(path).astype(np.float32), options)

    def _column(self, path: str | Path) -> NDArray[np.float64]:
        found = read_features(path)
        if len(found.columns) != 1:
            raise ImageError(ONE_COLUMN_MSG.format(path=path, n=len(found.columns)))
        column: NDArray[np.float64] = found.values[self.order_of(path, found.names), 0]
        return column

    def read_template(self) -> NDArray[np.floating]:
        """Raise an error: tables have no template."""
        raise ImageError(TEMPLATE_MSG)

    def read_brain(self) -> NDArray[np.bool_]:
        """Raise an error: tables have no template."""
        raise ImageError(BRAIN_MSG)

    def read_labels(self, path: Path, regions: pd.DataFrame) -> NDArray[np.int64]:
        """Return the region of an atlas that each feature is, by its name; 0 for none.

        Parameters
        ----------
        path : path
            Image of the atlas, for messages.
        regions : DataFrame
            ``name`` of each region by its index.

        Returns
        -------
        ndarray of shape ``shape``, int64
            See :func:`opnmf_pipeline.images.tables.regions.regions_of`.

        Raises
        ------
        ImageError
            No feature is a region of the atlas, or several features are one region.
        """
        found = regions_of(self.names, regions)
        if not found.any():
            names = _some(self.names), _some(regions["name"])
            raise ImageError(NO_REGION_MSG.format(path=path, features=names[0], regions=names[1]))
        if shared := shared_regions(self.names, found):
            raise ImageError(SHARED_MSG.format(path=path, features=_some(shared)))
        return found

    def read_mask(self, path: Path) -> NDArray[np.bool_]:
        """Return which features are not zero in a table of the user.

        Raises
        ------
        ImageError
            The file is not a table of these features.
        """
        if not is_image(path):
            raise ImageError(NO_FILE_MSG.format(path=path))
        inside: NDArray[np.bool_] = self._column(path) != 0
        return inside

    def write_mask(self, inside: NDArray[np.bool_], reference: str | Path, out_file: Path) -> None:
        """Write a mask as a table; the reference image is not used."""
        write_features(out_file, self.names, {"mask": inside.astype(np.uint8)})


def check_grids(
    paths: Iterable[str | Path],
    reference: str | Path,
    *,
    name: str = "",
    resampled: bool = False,
    remedy: str = "",
) -> None:
    """Require that every table has the features of a reference table, in any order.

    Parameters
    ----------
    paths : iterable of path
        The tables.
    reference : path
        Table whose features are compared.
    name : str
        What the reference is called in messages. Default: its path.
    resampled : bool
        Not used: tables are not resampled.
    remedy : str
        Not used: the message says which features differ.

    Raises
    ------
    ImageError
        Tables are damaged or have other features; names the first one.
    """
    want = Grid(read_features(reference).names)
    for path in paths:
        if difference := want.difference(read_features(path).names):
            raise ImageError(
                OTHER_MSG.format(path=path, reference=name or reference, difference=difference)
            )


def analysis_grid(first: str | Path, mask_image: Path | None, options: MatrixConfig) -> Grid:
    """Return the features of the first table; a mask of the user does not change them.

    Raises
    ------
    ImageError
        A setting would resample or smooth the values.
    """
    for setting in SPATIAL:
        if getattr(options, setting) is not None:
            raise ImageError(SPATIAL_MSG.format(setting=setting))
    return Grid(read_features(first).names)


def open_atlas(path: Path) -> AtlasImage:
    """Raise an error: a table is not the label image of an atlas."""
    raise ImageError(TABLE_MSG.format(path=path))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:N_NAMED]) + ", ..." * (len(names) > N_NAMED)


def standard_space(path: str | Path) -> StandardSpace | None:
    """Return None: features have no places."""
    return None
