"""Products of new images with components; an image becomes a few numbers where it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.matrix import problem
from opnmf_pipeline.images.missing import Masks, read_image
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.space import Grid, Mask

__all__ = ["Finish", "Product", "Shifted", "products"]

Column = NDArray[np.float32]
"""Values of an image in the mask, (n_rows,)."""
Incomplete = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From images with missing values, NaN, (n_rows, n), to their loadings, (n_components, n)."""
Weights = tuple[NDArray[np.float64], Incomplete]
"""W, (n_rows, n_components), and what gives the loadings of an incomplete image; picklable."""


class Finish(Protocol):
    """Makes values of the matrix from the values of an image in the mask; picklable."""

    @property
    def doubts(self) -> Sequence[str]:
        """Sentences about covariates of the subjects that readers should check."""

    def __call__(self, path: str | Path, column: Column) -> Column:
        """Return the values of the image at a path as the matrix would have them, float32."""

    def covariates_of(self, path: str | Path) -> dict[str, Any]:
        """Return the covariates of the subject that this used, by column."""


@dataclass(frozen=True)
class Shifted:
    """Subtracts the value that was subtracted from all images of the cohort."""

    shift: float

    @property
    def doubts(self) -> Sequence[str]:
        """Sentences about covariates: none."""
        return ()

    def __call__(self, path: str | Path, column: Column) -> Column:
        """Return the shifted values."""
        return column - np.float32(self.shift)  # the matrix has this difference in float32

    def covariates_of(self, path: str | Path) -> dict[str, Any]:
        """Return the covariates of the subject: none."""
        return {}


class Product(NamedTuple):
    """What is known of a projected image x.

    Attributes
    ----------
    loadings : list of ndarray of shape (n_components,), float64
        Wᵀx for each set of components.
    norm : float
        ‖x‖, the Euclidean norm of the image in the mask, over observed values.
    residuals : list of (float or None)
        ‖x − Wh‖ over observed values for each set of components; None if no value is missing.
    """

    loadings: list[NDArray[np.float64]]
    norm: float
    residuals: Sequence[float | None]


def products(
    paths: Sequence[str | Path],
    mask: Mask,
    options: MatrixConfig,
    finish: Finish,
    weights: Sequence[Weights],
    masks: Masks,
    n_procs: int,
) -> Iterator[Product | str]:
    """Yield the products of each image with several sets of components, in order.

    Each process holds one image at a time. Sums are float64, so that loadings agree with those of
    a fit within 1e-6.

    Parameters
    ----------
    paths : sequence of path
        Image files.
    mask : Mask
        The rows of the components, and the grid of the images.
    options : MatrixConfig
        Preprocessing of the images.
    finish : Finish
        From the values of an image in the mask to those of the matrix.
    weights : sequence of Weights
        Components of each model, and the function for images with missing values.
    masks : mapping of str to ImageMask
        Masks of missing voxels, by the path of the image.
    n_procs : int
        Largest number of processes.

    Yields
    ------
    Product or str
        The products, or the path of the image and the reason why it cannot be used.
    """
    read = partial(
        _product,
        inside=mask.inside,
        grid=mask.grid,
        options=options,
        finish=finish,
        weights=weights,
        masks=masks,
    )
    return map_images(read, paths, n_procs)


def _product(
    path: str | Path,
    inside: NDArray[np.bool_],
    grid: Grid,
    options: MatrixConfig,
    finish: Finish,
    weights: Sequence[Weights],
    masks: Masks,
) -> Product | str:
    try:
        column = read_image(path, grid, options, masks)[inside]
    except ImageError as error:
        return str(error)
    if found := problem(column, grid.elements, options):
        return f"{path}: {found}"
    x = finish(path, column).astype(np.float64)
    observed = ~np.isnan(x)
    norm = float(np.linalg.norm(x[observed]))
    if observed.all():
        return Product([x @ W for W, _ in weights], norm, [None] * len(weights))
    loadings = [incomplete(x[:, np.newaxis])[:, 0] for _, incomplete in weights]
    left = [(x - W @ h)[observed] for (W, _), h in zip(weights, loadings, strict=True)]
    return Product(loadings, norm, [float(np.linalg.norm(each)) for each in left])
