"""Requirements of a model on new images: what they show, their space, grid and values."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.bids import entities_of
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.images.projection import Product
from opnmf_pipeline.images.space import Images
from opnmf_pipeline.stages.spaces import SPACES, open_mask, space_of

__all__ = [
    "FAMILY",
    "doubt_about_units",
    "extent",
    "family",
    "other_units",
    "require_suitable",
    "usable_products",
]

logger = logging.getLogger(__name__)

SHOWN = ("label", "suffix")
"""Entities that say what an image shows."""
PREPARED = ("cohort", "desc")
"""Entities that say how an image was made."""
FAMILY = "MNI152"
"""Releases of this space differ by a few millimetres, and count as one space."""
OTHER_UNITS = 3.0
"""An image has other units if it is this many times larger than the largest image of the cohort, or
smaller than the smallest one."""

KIND_MSG = (
    "{n} of {total} images are {found}, but the images of the model are {wanted}:\n{named}\n"
    "project images of the same kind as those of the model"
)
ENTITY_MSG = (
    "{n} of {total} images do not show what the images of the model show ({entity}-{wanted}):\n"
    "{named}\nselect the images of the model's kind; in a BIDS dataset, filters do this"
)
SPACE_MSG = (
    "{n} of {total} images are not in the space of the model ({wanted}):\n{named}\n"
    "normalize these images to this space first; --resample changes the grid, not the space"
)
UNKNOWN = "space unknown"
OTHER_MSG = (
    "%d of %d images, such as %s, have %s-%s in their names, and those of the model %s-%s; they "
    "must have been made in the same way"
)
RELEASE_MSG = (
    "%d of %d images, such as %s, are in space-%s and the model is in space-%s: these releases of "
    "one template differ by a few millimetres"
)
NO_SPACE_MSG = (
    "nothing says in which space the model and the images are; resampled images have valid "
    "loadings only if they are in the space of the model"
)
GRID_REMEDY = (
    "pass --resample (in Python: resample=True) to resample these images to the grid of the model "
    "(linear interpolation, antialiased), or leave these subjects out"
)

UNITS_MSG = (
    "the values of {n} of {total} images are in other units than those of the cohort of the "
    "model ({factor:.3g} times as large for {name}): their loadings cannot be compared with those "
    "of the cohort"
)
UNUSABLE_MSG = "{n} of {total} subjects cannot be projected:\n{named}\n{remedy}"
REMEDY = (
    "the model defines the preprocessing; fix their {data}, or leave these subjects out of the call"
)
OUTSIDE_REMEDY = (
    "an image that is zero everywhere in the mask does not overlap with it: check that the image "
    "is in the space of the model"
)


def require_suitable(
    mask_file: Path,
    entities: Mapping[str, str],
    preprocessing: MatrixConfig,
    images: Sequence[str | Path],
    *,
    resample: bool = False,
) -> None:
    """Require that images can be projected on the components of a model; reads headers only.

    Images that cannot be opened are left out: :func:`project_images` reports them after the others
    were projected.

    Parameters
    ----------
    mask_file : path
        Mask of the model.
    entities : mapping of str to str
        BIDS entities that all images of the cohort of the model had.
    preprocessing : MatrixConfig
        Preprocessing of the model.
    images : sequence of path
        The new images.
    resample : bool
        Whether images on another grid are resampled.

    Raises
    ------
    ImageError
        Images are of another kind, show something else, are in another space or on another grid;
        names the first ones and their number.
    """
    kind = space_of(mask_file)
    wrong = [image for image in images if space_of(image) is not kind]
    if wrong:
        kinds = {id(space): name for name, space in SPACES.items()}
        raise ImageError(
            KIND_MSG.format(
                n=len(wrong),
                total=len(images),
                found=kinds[id(space_of(wrong[0]))],
                wanted=kinds[id(kind)],
                named=listed([str(image) for image in wrong]),
            )
        )
    named = {str(image): _entities(image) for image in images}
    _require_entities(entities, named)
    there = [image for image in images if _can_be_opened(image, kind.images)]
    if not there:
        return
    spaces = {
        str(image): named[str(image)].get("space") or _stored_space(image, kind.images)
        for image in there
    }
    _require_space(mask_file, entities, spaces, resample=resample)
    own = preprocessing.resample is not None or preprocessing.voxel_size is not None
    resampled = resample or own
    reference, name = (there[0], "") if resampled else (mask_file, "the model")
    kind.images.check_grids(there, reference, name=name, resampled=resampled, remedy=GRID_REMEDY)


def usable_products(
    found: Iterator[Product | str], names: Sequence[str], data: str, *, stop_at_first: bool
) -> Iterator[tuple[int, Product]]:
    """Yield the number and the product of each image that can be used.

    Parameters
    ----------
    found : iterator of Product or str
        The product of each image, or the reason why it cannot be used.
    names : sequence of str
        Name of each image in messages.
    data : str
        What messages call the images, such as ``values`` of tables.
    stop_at_first : bool
        Whether to stop at the first image that cannot be used.

    Raises
    ------
    ImageError
        Images cannot be used: raised after the others were yielded.
    """
    bad = []
    for number, one in enumerate(found):
        if isinstance(one, Product):
            yield number, one
            continue
        bad.append(f"{names[number]}: {one}")
        if stop_at_first:
            break
    if bad:
        outside = any("is zero everywhere" in line for line in bad)
        remedies = [OUTSIDE_REMEDY] * outside + [REMEDY.format(data=data)]
        raise ImageError(
            UNUSABLE_MSG.format(
                n=len(bad), total=len(names), named=listed(bad), remedy="; ".join(remedies)
            )
        )


def other_units(sizes: pd.Series[float], known: Sequence[float]) -> dict[str, float]:
    """Return the images whose values are on another scale than those of the cohort of a model.

    Parameters
    ----------
    sizes : Series of float
        Size of the values of each image, such as their norm, by the name of the image.
    known : sequence of float
        Smallest, median and largest of these sizes in the cohort, see :func:`extent`. Lesions
        differ in size by much more than other images.

    Returns
    -------
    dict of str to float
        Size of each such image, divided by the median.
    """
    least, median, largest = known
    other = (sizes >= OTHER_UNITS * largest) | (sizes <= least / OTHER_UNITS)
    return {str(name): float(size / median) for name, size in sizes[other].items()}


def extent(sizes: NDArray[np.floating]) -> list[float]:
    """Return the smallest, the median and the largest of the sizes of images."""
    return [float(size) for size in np.quantile(sizes, (0, 0.5, 1))]


def doubt_about_units(others: Mapping[str, float], total: int) -> str:
    """Return a sentence about the images that :func:`other_units` found; empty if there are none.

    Parameters
    ----------
    others : mapping of str to float
        These images.
    total : int
        Number of all images.
    """
    if not others:
        return ""
    name, factor = next(iter(others.items()))
    return UNITS_MSG.format(n=len(others), total=total, factor=factor, name=name)


def _can_be_opened(path: str | Path, space: Images) -> bool:
    try:
        space.image_files(path)
    except ImageError:
        return False
    return True


def _entities(image: str | Path) -> Mapping[str, Any]:
    name = Path(image).name
    return entities_of(name) if name.startswith("sub-") else {}


def _require_entities(entities: Mapping[str, str], named: Mapping[str, Mapping[str, Any]]) -> None:
    """Require that the names of images do not say that they show something else.

    Warn if the names say that they were made in another way.
    """
    for entity in (*SHOWN, *PREPARED):
        wanted = entities.get(entity)
        other = {
            image: str(found[entity])
            for image, found in named.items()
            if wanted and found.get(entity, wanted) not in (None, wanted)
        }
        if entity in SHOWN:
            problems = {image: f"{entity}-{value}" for image, value in other.items()}
            _refuse(problems, len(named), ENTITY_MSG, entity=entity, wanted=str(wanted))
        elif other:
            image, value = next(iter(other.items()))
            logger.warning(OTHER_MSG, len(other), len(named), image, entity, value, entity, wanted)


def _require_space(
    mask_file: Path,
    entities: Mapping[str, str],
    spaces: Mapping[str, str | None],
    *,
    resample: bool,
) -> None:
    """Require that images are in the space of the model; with ``resample``, that this is known."""
    wanted = entities.get("space")
    if wanted is None and open_mask(mask_file).in_standard_space:
        wanted = FAMILY
    other = {
        image: f"space-{name}" if name else UNKNOWN
        for image, name in spaces.items()
        if (family(name) != family(wanted) if name and wanted else resample and name != wanted)
    }
    _refuse(other, len(spaces), SPACE_MSG, wanted=wanted or UNKNOWN)
    release = [
        image
        for image, name in spaces.items()
        if name and wanted and name != wanted and FAMILY not in (name, wanted)
    ]
    if release:
        found = spaces[release[0]]
        logger.warning(RELEASE_MSG, len(release), len(spaces), release[0], found, wanted)
    if resample and wanted is None:
        logger.warning(NO_SPACE_MSG)


def _stored_space(image: str | Path, space: Images) -> str | None:
    standard = space.standard_space(image)
    return standard.name if standard else None


def family(name: str) -> str:
    """Return the name of a space; all releases of MNI152 have one name."""
    return FAMILY if name.startswith(FAMILY) else name


def _refuse(problems: Mapping[str, str], total: int, message: str, **fields: str) -> None:
    """Raise an error that names the images with a problem."""
    if problems:
        named = listed([f"{image}: {problem}" for image, problem in problems.items()])
        raise ImageError(message.format(n=len(problems), total=total, named=named, **fields))
