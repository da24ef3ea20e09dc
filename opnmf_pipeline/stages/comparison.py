"""Comparison of models on the places that all of them have."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.exceptions import ImageError, ModelError
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.selection.comparison import Comparison, compare_components
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.newimages import FAMILY, family
from opnmf_pipeline.stages.spaces import SPACES, open_mask, space_of

__all__ = ["Common", "NamedModel", "Pair", "common_rows", "compare_models"]

logger = logging.getLogger(__name__)

HALF = 0.5
"""A place is in a mask on another grid if at least this share of it is."""

KIND_MSG = (
    "{other} is a model of {found}, but {first} is a model of {wanted}; compare models of one kind "
    "of images"
)
SPACE_MSG = (
    "{other} is in the space {found}, but {first} is in {wanted}; components can be compared only "
    "in one space: normalize the images of one of the models to the space of the other"
)
UNKNOWN_MSG = (
    "nothing says in which space %s is; it was resampled, and the comparison is valid only if it "
    "is in the space of %s"
)
MOVED_MSG = "{other} and {first}: {reason}"
NOTHING_MSG = "the masks of {names} have no {elements} in common; check that they are in one space"
FEW_MSG = "%.0f%% of the %s of %s are in the masks of all models; the other ones are not compared"
MOST = 0.9
"""If a smaller share of a model is compared, a message says so."""


@dataclass(frozen=True)
class NamedModel:
    """A model, and its name in tables and pictures.

    Attributes
    ----------
    name : str
        Unique name, such as ``OUT, k = 10``.
    model : Model
        The model.
    """

    name: str
    model: Model


@dataclass(frozen=True)
class Common:
    """Models on the places that all of them have.

    Attributes
    ----------
    mask : Mask
        These places.
    mask_file : path
        File of the mask.
    weights : list of ndarray of shape (n_rows, n_components), float32
        Components of each model.
    kept : list of float
        Share of the places of each model, on the common grid, that are in this mask.
    resampled : list of bool
        Whether each model was on another grid.
    """

    mask: Mask
    mask_file: Path
    weights: list[NDArray[np.float32]]
    kept: list[float]
    resampled: list[bool]


@dataclass(frozen=True)
class Pair:
    """Two models and their comparison.

    Attributes
    ----------
    a, b : int
        Index of each model; A has no more components than B.
    found : Comparison
        How they agree.
    """

    a: int
    b: int
    found: Comparison


def common_rows(models: Sequence[NamedModel], folder: Path) -> Common:
    """Bring models to the grid of the model with the largest voxels, and to one mask.

    Maps on another grid are resampled (linear interpolation, antialiased). The mask contains the
    places that are in the masks of all models.

    Parameters
    ----------
    models : sequence of NamedModel
        The models, in one space.
    folder : path
        Existing folder for the mask.

    Raises
    ------
    ModelError
        The models are of different kinds of images or in different spaces, or have no places in
        common.
    """
    reference = max(models, key=lambda one: prod(one.model.mask.grid.spacing))
    for one in models:
        _require_comparable(reference, one)
    grid, there, inside = reference.model.mask.grid, [], []
    for one in models:
        mask, W = one.model.mask, np.asarray(one.model.W, dtype=np.float32)
        try:
            there.append(mask.moved_to(grid, np.ones((len(W), 1), dtype=np.float32))[..., 0])
        except ImageError as error:
            raise ModelError(
                MOVED_MSG.format(other=one.name, first=reference.name, reason=error)
            ) from None
        inside.append(there[-1] >= HALF)
    shared = np.logical_and.reduce(inside)
    if not shared.any():
        names = ", ".join(one.name for one in models)
        raise ModelError(NOTHING_MSG.format(names=names, elements=grid.elements))
    weights = []
    for one in models:  # one model in memory on the whole grid at a time
        moved = one.model.mask.moved_to(grid, np.asarray(one.model.W, dtype=np.float32))
        weights.append(moved[shared])
    kept = [float(shared.sum() / max(one.sum(), 1)) for one in inside]
    for one, share in zip(models, kept, strict=True):
        if share < MOST:
            logger.warning(FEW_MSG, 100 * share, grid.elements, one.name)
    mask_file = folder / f"mask{space_of(reference.model.mask_file).images.ENDINGS['image']}"
    grid.write_mask(shared, reference.model.mask_file, mask_file)
    return Common(
        mask=open_mask(mask_file),
        mask_file=mask_file,
        weights=weights,
        kept=kept,
        resampled=[not _is_on(grid, one.model.mask) for one in models],
    )


def _is_on(grid: object, mask: Mask) -> bool:
    return str(mask.grid) == str(grid)


def _require_comparable(first: NamedModel, other: NamedModel) -> None:
    """Require that two models are of one kind of images, and in one space as far as known."""
    kinds = {id(space): name for name, space in SPACES.items()}
    here, there = (kinds[id(space_of(one.model.mask_file))] for one in (first, other))
    if here != there:
        raise ModelError(
            KIND_MSG.format(other=other.name, found=there, first=first.name, wanted=here)
        )
    wanted, found = _space(first.model), _space(other.model)
    if wanted and found and family(wanted) != family(found):
        raise ModelError(
            SPACE_MSG.format(other=other.name, found=found, first=first.name, wanted=wanted)
        )
    if not (wanted and found) and not _is_on(first.model.mask.grid, other.model.mask):
        logger.warning(UNKNOWN_MSG, other.name, first.name)


def _space(model: Model) -> str | None:
    return model.entities.get("space") or (FAMILY if model.mask.in_standard_space else None)


def compare_models(
    common: Common, n_null: int, seed: int = 0, *, track: Track = silent
) -> list[Pair]:
    """Compare each pair of models.

    Parameters
    ----------
    common : Common
        The models on their common places.
    n_null : int
        Number of pairs of random models for the agreement by chance; 0 for none.
    seed : int
        Seed of the random models.
    track : callable
        Shows progress.

    Returns
    -------
    list of Pair
        All pairs. In each, the model with fewer components is A.
    """
    weights, positions = common.weights, common.mask.positions()
    pairs = [
        (one, other) if weights[one].shape[1] <= weights[other].shape[1] else (other, one)
        for one, other in combinations(range(len(weights)), 2)
    ]
    compared = (
        Pair(a, b, compare_components(weights[a], weights[b], positions, n_null, [seed, number]))
        for number, (a, b) in enumerate(pairs)
    )
    return list(track(compared, "compare", len(pairs)))
