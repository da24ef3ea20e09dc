"""Products of new images with components; an image becomes a few numbers where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.matrix import problem
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.space import Grid, Mask

__all__ = ["Product", "products"]


class Product(NamedTuple):
    """What is known of a projected image x.

    Attributes
    ----------
    loadings : list of ndarray of shape (n_components,), float64
        Wᵀx for each set of components.
    norm : float
        ‖x‖, the Euclidean norm of the image in the mask.
    """

    loadings: list[NDArray[np.float64]]
    norm: float


def products(
    paths: Sequence[str | Path],
    mask: Mask,
    options: MatrixConfig,
    shift: float,
    weights: Sequence[NDArray[np.float64]],
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
    shift : float
        Value to subtract from all values.
    weights : sequence of ndarray of shape (n_rows, n_components), float64
        Components of each model.
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
        shift=shift,
        weights=weights,
    )
    return map_images(read, paths, n_procs)


def _product(
    path: str | Path,
    inside: NDArray[np.bool_],
    grid: Grid,
    options: MatrixConfig,
    shift: float,
    weights: Sequence[NDArray[np.float64]],
) -> Product | str:
    try:
        column = grid.read(path, options)[inside]
    except ImageError as error:
        return str(error)
    if found := problem(column, grid.elements, options):
        return f"{path}: {found}"
    # The matrix has this difference in float32
    x = (column - np.float32(shift)).astype(np.float64)
    return Product([x @ W for W in weights], float(np.linalg.norm(x)))
