"""Stage ``project``: loadings of new subjects on the components of an earlier fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.decomposition.missing import project
from opnmf_pipeline.exceptions import ConfigError, ImageError
from opnmf_pipeline.images.cohort import identifiers
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.matrix import bad_values, problem
from opnmf_pipeline.images.missing import NO_MASKS, Masks, read_image
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.space import Grid, Images
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, read_factorization
from opnmf_pipeline.stages.spaces import open_mask, space_of
from opnmf_pipeline.stages.stage import (
    FACTORIZATION_DIR,
    IMAGES,
    MASK_FILE,
    PARTICIPANTS,
    Call,
    Field,
    Kind,
    Stage,
)
from opnmf_pipeline.tables import write_table

__all__ = ["Model", "loadings_table", "project_images", "project_subjects"]

Loadings = NDArray[np.float32]

MODEL_MSG = (
    "inputs.masks: needs a model that was fitted with matrix.nan: masked, but it was fitted with "
    "matrix.nan: {nan}"
)


class Model(NamedTuple):
    """Components, and the preprocessing of images that belongs to them.

    Attributes
    ----------
    W : ndarray of shape (n_rows, n_components)
        Components, one per column.
    preprocessing : MatrixConfig
        Preprocessing of the images that the components were fitted to.
    shift : float
        Value that was subtracted from every value of these images.
    mean : ndarray of shape (n_components,) or None
        Mean loadings of these images, if values may be missing.
    """

    W: NDArray[np.floating]
    preprocessing: MatrixConfig
    shift: float
    mean: NDArray[np.float64] | None

    @classmethod
    def of_fit(cls, factorization_file: Path) -> Model:
        """Read ``factorization.json``, and ``W.npy`` from the same folder."""
        fit = read_factorization(factorization_file)
        return cls._of(fit.W, fit.info)

    @classmethod
    def of_maps(cls, components_file: Path, factorization_file: Path, mask_file: Path) -> Model:
        """Read the components from their maps, and the other fields from ``factorization.json``."""
        info = json.loads(factorization_file.read_text(encoding="utf-8"))
        W = open_mask(mask_file).masked(components_file).astype(np.float32, copy=False)
        return cls._of(W, info)

    @classmethod
    def _of(cls, W: NDArray[np.floating], info: Mapping[str, Any]) -> Model:
        mean = np.array(info["MeanLoadings"]) if "MeanLoadings" in info else None
        return cls(W, MatrixConfig(**info["Preprocessing"]), info["Shift"], mean)

    def loadings(self, column: NDArray[np.float32]) -> Loadings:
        """Return the loadings of one image from its values in the mask; NaN for a missing value."""
        if np.isnan(column).any():
            return project(column[:, np.newaxis], self.W, self.mean)[:, 0]
        return column @ self.W


def project_subjects(
    images: Sequence[str | Path],
    participants: Sequence[str],
    factorization_file: Path,
    mask_file: Path,
    out_file: Path,
    *,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the loadings WᵀX of new subjects, with the preprocessing of the original fit.

    Parameters
    ----------
    images : sequence of path
        One image per new subject.
    participants : sequence of str
        Identifier of each subject, in the order of the images.
    factorization_file : path
        ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`; it holds the
        preprocessing.
    mask_file : path
        The mask that the rows of W belong to.
    out_file : path
        TSV to write: ``participant_id`` (and ``session_id``) and one column per component.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.

    Returns
    -------
    path
        ``out_file``.

    Raises
    ------
    ImageError
        An image is damaged, is on a different grid, or has NaN or negative values that the
        preprocessing does not allow.
    """
    models = [Model.of_fit(factorization_file)]
    found = project_images(images, participants, models, mask_file, n_procs=n_procs, track=track)
    write_table(loadings_table(participants, [loadings for _, (loadings,) in found]), out_file)
    return out_file


def project_images(
    images: Sequence[str | Path],
    names: Sequence[str],
    models: Sequence[Model],
    mask_file: Path,
    *,
    masks: Masks = NO_MASKS,
    n_procs: int = 1,
    track: Track = silent,
    stop_at_first: bool = False,
) -> Iterator[tuple[int, list[Loadings]]]:
    """Yield the loadings of each image on several sets of components.

    Parameters
    ----------
    images, names : sequence
        Path of each image, and its name in messages.
    models : sequence of Model
        Models of one run: they share the mask and the preprocessing.
    mask_file : path
        The mask that the rows of W belong to.
    masks : mapping of str to ImageMask, optional
        Masks of missing voxels, for models whose preprocessing allows missing values.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.
    stop_at_first : bool
        Whether to stop at the first image that cannot be used.

    Yields
    ------
    number : int
        Index of the image, from 0.
    loadings : list of ndarray of shape (n_components,), float32
        One per model.

    Raises
    ------
    ImageError
        Images are on a different grid: raised before any result is yielded. Or images are damaged
        or have NaN or negative values that the preprocessing does not allow: raised after the
        results of the other images were yielded.
    """
    options, shift = models[0].preprocessing, np.float32(models[0].shift)
    mask = open_mask(mask_file)
    resampled = options.resample is not None or options.voxel_size is not None
    space = space_of(mask_file).images
    if readable := [image for image in images if _can_be_opened(image, space)]:
        reference = readable[0] if resampled else mask_file
        space.check_grids(readable, reference, resampled=resampled)
    if masks and not options.masked:
        raise ConfigError(MODEL_MSG.format(nan=options.nan))
    read = partial(_column, inside=mask.inside, grid=mask.grid, options=options, masks=masks)
    unread, bad = [], []
    columns = track(map_images(read, images, n_procs), "project", len(images))
    for number, (name, image, column) in enumerate(zip(names, images, columns, strict=True)):
        if isinstance(column, str):
            unread.append(f"{name}: {column}")
        elif found := problem(column, mask.grid.elements, options):
            bad.append(f"{name}: {image}: {found}")
        else:
            yield number, [model.loadings(column - shift) for model in models]
        if stop_at_first and (unread or bad):
            break
    messages = unread + ([bad_values(bad)] if bad else [])
    if messages:
        raise ImageError("\n".join(messages))


def loadings_table(rows: Sequence[str], loadings: Sequence[Loadings]) -> pd.DataFrame:
    """Return a table with one row per image: its identifiers, and its loading on each component."""
    H = np.array(loadings)
    table = pd.DataFrame(H, columns=component_names(H.shape[1]))
    return pd.concat([identifiers(rows), table], axis=1)


def _can_be_opened(path: str | Path, space: Images) -> bool:
    try:
        space.image_files(path)
    except ImageError:  # raised again when the image is read, after the others were projected
        return False
    return True


def _column(
    path: str | Path, inside: NDArray[np.bool_], grid: Grid, options: MatrixConfig, masks: Masks
) -> NDArray[np.float32] | str:
    """Return the values of an image in the mask, or the message why it cannot be read."""
    try:
        return read_image(path, grid, options, masks)[inside]
    except ImageError as error:
        return str(error)


def _run(call: Call) -> dict[str, Path]:
    loadings_file = project_subjects(
        call["images"],
        call["participants"],
        call.path("factorization_dir") / FACTORIZATION_FILE,
        call.path("mask_file"),
        call.folder / "loadings.tsv",
        n_procs=call.n_procs,
        track=call.track,
    )
    return {"loadings_file": loadings_file}


PROJECT_SUBJECTS = Stage(
    name="ProjectSubjects",
    summary="Compute the loadings of new subjects on the components of an earlier fit.",
    run=_run,
    folder="loadings",
    inputs={
        "images": IMAGES,
        "participants": PARTICIPANTS,
        "factorization_dir": FACTORIZATION_DIR,
        "mask_file": MASK_FILE,
    },
    outputs={
        "loadings_file": Field(Kind.TABLE, "loadings of each subject on each component (TSV)")
    },
)
