"""The mask of tables: features as rows of the matrix, and rows as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.hemispheres import hemispheres_of, mirror_pairs
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.space import Colour, Parts
from opnmf_pipeline.images.tables.files import read_features, write_features
from opnmf_pipeline.images.tables.grid import Grid

__all__ = ["Mask", "open_mask"]

N_STRONGEST = 5
LABEL_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "index": {"Description": "Number of the component; 0 in the label map means no component"},
    "name": {"Description": "Name of the component"},
    "n_features": {
        "Description": "Number of features in which the component has the largest weight"
    },
    "n_left": {"Description": "Number of these whose name says that they are on the left"},
    "n_right": {"Description": "Number of these whose name says that they are on the right"},
    "strongest_features": {
        "Description": f"The {N_STRONGEST} features of largest weight, by decreasing weight"
    },
}

ONE_PART_MSG = "{path}: has one column; a model needs one column of weights per component"
NEGATIVE_MSG = "{path}: has negative or missing weights, which components do not have"
OTHER_FEATURES_MSG = "the features of the models differ: {difference}"


@dataclass(frozen=True, eq=False)
class Mask:
    """The features of the analysis: rows of the matrix, in the order of the grid.

    Parameters
    ----------
    grid : Grid
        All features.
    inside : ndarray of shape (n_features,), bool
        Which of them are rows.
    """

    grid: Grid
    inside: NDArray[np.bool_]

    in_standard_space = False
    template_space = None
    resolution = ""

    @property
    def label_columns(self) -> Mapping[str, Mapping[str, str]]:
        """Description of each column of :meth:`label_table`."""
        return LABEL_COLUMNS

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """Name of the feature of each row."""
        return np.array(self.grid.names)[self.inside]

    @property
    def hemispheres(self) -> NDArray[np.int8]:
        """Hemisphere of each row, as its name says: −1 left, 1 right, 0 if it says none."""
        return hemispheres_of(self.names)

    def composition(self, weights: NDArray[np.floating]) -> pd.DataFrame | None:
        """Return None: tables have no tissues."""
        return None

    def positions(self) -> NDArray[np.float64] | None:
        """Return None: features have no places."""
        return None

    def masked(self, path: Path) -> NDArray[Any]:
        """Return the values of a table in the mask.

        Returns
        -------
        ndarray of shape (n_rows,) or, for several columns, (n_rows, n_maps), float32

        Raises
        ------
        ImageError
            The file is missing, is no table of features, or has other features.
        """
        found = read_features(path)
        whole = found.values[self.grid.order_of(path, found.names)]
        rows: NDArray[Any] = whole[self.inside].astype(np.float32)  # as it was written
        return rows[:, 0] if rows.shape[1] == 1 else rows

    def unmasked(self, values: NDArray[Any]) -> pd.DataFrame:
        """Return one map, (n_rows,), or several, (n_rows, n_maps), as a table; 0 outside."""
        whole = np.zeros((len(self.grid.names), *values.shape[1:]), dtype=values.dtype)
        whole[self.inside] = values
        return pd.DataFrame(whole, index=pd.Index(self.grid.names, name="name"))

    def moved_to(self, grid: Grid, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return columns, (n_rows, n_maps), in the order of the features of another grid.

        Raises
        ------
        ImageError
            The other grid has other features.
        """
        if difference := grid.difference(self.grid.names):
            raise ImageError(OTHER_FEATURES_MSG.format(difference=difference))
        table = self.unmasked(values).reindex(list(grid.names))
        return table.to_numpy(dtype=np.float32)

    def write(self, values: NDArray[Any], path: Path) -> None:
        """Write one map, (n_rows,), or several, (n_rows, n_maps), one column each."""
        table = self.unmasked(values).to_numpy()
        columns = component_names(table.shape[1]) if values.ndim == 2 else [_stem(path)]
        write_features(
            path, self.grid.names, dict(zip(columns, np.ascontiguousarray(table.T), strict=True))
        )

    def write_labels(
        self, labels: NDArray[np.int16], colours: Sequence[Colour], path: Path
    ) -> None:
        """Write the number of the component of each feature, 0 for none; tables have no colours."""
        whole = self.unmasked(labels).to_numpy()[:, 0]
        write_features(path, self.grid.names, {"component": whole})

    def label_table(self, W: NDArray[np.floating], labels: NDArray[np.int16]) -> pd.DataFrame:
        """Describe the part of each component in the winner-takes-all map.

        Parameters
        ----------
        W : ndarray of shape (n_rows, n_components)
        labels : ndarray of shape (n_rows,), int16

        Returns
        -------
        DataFrame
            One row per component, with the columns of :attr:`label_columns`.
        """
        k, sides = W.shape[1], self.hemispheres

        def count(where: NDArray[np.bool_]) -> NDArray[np.int64]:
            return np.bincount(labels[where], minlength=k + 1)[1:]

        return pd.DataFrame(
            {
                "index": np.arange(1, k + 1),
                "name": component_names(k),
                "n_features": count(np.ones(len(labels), dtype=bool)),
                "n_left": count(sides < 0),
                "n_right": count(sides > 0),
                "strongest_features": [self._strongest(weights) for weights in W.T],
            }
        )

    def _strongest(self, weights: NDArray[np.floating]) -> str:
        rows = np.argsort(-weights, kind="stable")[:N_STRONGEST]
        return ", ".join(str(self.names[row]) for row in rows if weights[row] > 0)

    def mirrored_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows whose feature exists in the other hemisphere, and those mirror rows."""
        pairs = mirror_pairs(self.names)
        return pairs[:, 0], pairs[:, 1]

    def n_pieces(self, labels: NDArray[np.integer]) -> NDArray[np.number]:
        """Return NaN for each part: the neighbours of a feature are not known."""
        return np.full(int(labels.max()), np.nan)


def _stem(path: Path) -> str:
    return path.name.partition(".")[0]


def read_parts(path: Path) -> Parts:
    """Read a table of features with one column of weights per part.

    Raises
    ------
    ImageError
        The file is missing, is no table of features, or has one column or negative weights.
    """
    found = read_features(path)
    if len(found.columns) < 2:
        raise ImageError(ONE_PART_MSG.format(path=path))
    if not (found.values >= 0).all():
        raise ImageError(NEGATIVE_MSG.format(path=path))
    inside = np.asarray(found.values.any(axis=1))
    names: list[str | None] = [str(name) for name in found.columns]
    return Parts(Mask(Grid(found.names), inside), found.values[inside].astype(np.float32), names)


def open_mask(path: Path) -> Mask:
    """Open a mask that :meth:`Grid.write_mask` wrote.

    Raises
    ------
    ImageError
        The file is missing or is no table of features with one column.
    """
    found = read_features(path)
    return Mask(Grid(found.names), found.values[:, 0] != 0)
