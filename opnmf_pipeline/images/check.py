"""A check of the images of a cohort: it refuses what a run would refuse, and keeps no values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.mask import group_mask
from opnmf_pipeline.images.matrix import bad_values, problem
from opnmf_pipeline.images.missing import NO_MASKS, Masks, read_image
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.space import Grid
from opnmf_pipeline.progress import Track, silent

__all__ = ["Checked", "check_images", "empty_images"]


class Checked(NamedTuple):
    """What the values of all images tell.

    Attributes
    ----------
    inside : ndarray of shape ``grid.shape``, bool
        The mask of the analysis.
    missing : ndarray of shape (n_images,)
        Share of the mask where the value of each image is missing.
    """

    inside: NDArray[np.bool_]
    missing: NDArray[np.float64]


def check_images(
    images: Sequence[str],
    names: Sequence[str],
    grid: Grid,
    mask: MaskConfig,
    options: MatrixConfig,
    *,
    masks: Masks = NO_MASKS,
    only_brain: bool = False,
    n_procs: int = 1,
    track: Track = silent,
) -> Checked:
    """Read all images, and require that their values in the mask can be factorized.

    Parameters
    ----------
    images, names : sequence of str
        Path of each image, and its name in messages.
    grid : Grid
        Grid of the analysis.
    mask : MaskConfig
        Which places are analysed.
    options : MatrixConfig
        Preprocessing of the images.
    masks : mapping of str to ImageMask
        Masks of missing voxels.
    only_brain : bool
        Exclude places outside the brain of the template.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.

    Returns
    -------
    Checked
        The mask of the analysis, and the missing values in it.

    Raises
    ------
    ImageError
        Images are damaged, have NaN or negative values in the mask, or are zero in it; or the mask
        is empty. The error names all of these images.
    """
    inside, doubtful = _read_all(images, grid, mask, options, masks, only_brain, n_procs, track)
    missing, bad = np.zeros(len(images)), []
    for n in doubtful:
        values = read_image(images[n], grid, options, masks)[inside]
        missing[n] = np.isnan(values).mean()
        if found := problem(values, grid.elements, options):
            bad.append(f"{names[n]}: {images[n]}: {found}")
    if bad:
        raise ImageError(bad_values(bad, grid.words))
    return Checked(inside, missing)


def empty_images(
    images: Sequence[str],
    grid: Grid,
    mask: MaskConfig,
    options: MatrixConfig,
    *,
    masks: Masks = NO_MASKS,
    only_brain: bool = False,
    n_procs: int = 1,
    track: Track = silent,
) -> list[int]:
    """Read all images, and return the indices of those that are zero everywhere in the mask.

    The arguments are those of :func:`check_images`.

    Raises
    ------
    ImageError
        Images are damaged, or the mask is empty.
    """
    inside, doubtful = _read_all(images, grid, mask, options, masks, only_brain, n_procs, track)
    return [
        n
        for n in doubtful
        if not np.nan_to_num(read_image(images[n], grid, options, masks)[inside]).any()
    ]


def _read_all(
    images: Sequence[str],
    grid: Grid,
    mask: MaskConfig,
    options: MatrixConfig,
    masks: Masks,
    only_brain: bool,
    n_procs: int,
    track: Track,
) -> tuple[NDArray[np.bool_], list[int]]:
    """Return the mask, and the indices of the images that may have a problem in it.

    The mask is known only after the last image, so doubtful images have to be read again.
    """
    peaks: list[int | None] = []
    read = partial(read_image, grid=grid, options=options, masks=masks)
    values = track(map_images(read, images, n_procs), "reading images", len(images))
    noted = _noted(values, options, peaks)
    inside = group_mask(noted, grid, mask, only_brain=only_brain, masked=options.masked)
    doubtful = [n for n, peak in enumerate(peaks) if peak is None or not inside.flat[peak]]
    return inside, doubtful


def _noted(
    values: Iterator[NDArray[np.float32]], options: MatrixConfig, peaks: list[int | None]
) -> Iterator[NDArray[np.float32]]:
    """Yield images unchanged; note where each is largest, or None if a value may be refused."""
    for image in values:
        peak = int(np.abs(np.nan_to_num(image)).argmax())
        refused = not np.isfinite(image).all() or image.flat[peak] == 0
        if options.negative == "error":
            refused = refused or image.min() < 0
        peaks.append(None if refused else peak)
        yield image
