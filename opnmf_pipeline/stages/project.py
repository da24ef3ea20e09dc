"""Stage ``project``: loadings of new subjects on components that were learned before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.cohort import identifiers, write_cohort
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.matrix import bad_values, problem
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.volumes import Grid, check_grids, open_image, read_volume
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, read_factorization
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

__all__ = ["Model", "loadings_table", "project_images", "project_subjects"]

Loadings = NDArray[np.float32]


class Model(NamedTuple):
    """Components, and how images are prepared for them.

    Attributes
    ----------
    W : ndarray of shape (n_voxels, n_components)
        Components, one per column.
    preprocessing : MatrixConfig
        Preparation of the images that they were learned from.
    shift : float
        What was subtracted from every value of these.
    """

    W: NDArray[np.floating]
    preprocessing: MatrixConfig
    shift: float

    @classmethod
    def of_fit(cls, factorization_file: Path) -> Model:
        """Read a ``factorization.json`` and what stands beside it."""
        fit = read_factorization(factorization_file)
        return cls(fit.W, MatrixConfig(**fit.info["Preprocessing"]), fit.info["Shift"])

    @classmethod
    def of_maps(cls, components_file: Path, factorization_file: Path, mask_file: Path) -> Model:
        """Read the components from their maps, and the rest from ``factorization.json``."""
        info = json.loads(factorization_file.read_text(encoding="utf-8"))
        inside = np.asarray(open_image(mask_file).dataobj) != 0
        maps: Any = nb.load(components_file)
        W = np.asarray(maps.dataobj, dtype=np.float32)[inside]
        return cls(W, MatrixConfig(**info["Preprocessing"]), info["Shift"])


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
    """Write WᵀX of new subjects, prepared as the subjects were that the components come from.

    Parameters
    ----------
    images : sequence of path
        One 3D image per new subject.
    participants : sequence of str
        Identifier of each subject, in the order of the images.
    factorization_file : path
        ``factorization.json`` of :func:`opnmf_pipeline.stages.decompose.decompose`; it says how
        images were prepared.
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
        An image is damaged, on another grid, or has values that the matrix could not have.
    """
    models = [Model.of_fit(factorization_file)]
    found = project_images(images, participants, models, mask_file, n_procs=n_procs, track=track)
    write_cohort(loadings_table(participants, [loadings for _, (loadings,) in found]), out_file)
    return out_file


def project_images(
    images: Sequence[str | Path],
    names: Sequence[str],
    models: Sequence[Model],
    mask_file: Path,
    *,
    n_procs: int = 1,
    track: Track = silent,
    stop_at_first: bool = False,
) -> Iterator[tuple[int, list[Loadings]]]:
    """Yield the loadings of each image on several sets of components.

    Parameters
    ----------
    images, names : sequence
        One 3D image per row, and what messages call it.
    models : sequence of Model
        Of one run: they share mask and preparation.
    mask_file : path
        The mask that the rows of W belong to.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.
    stop_at_first : bool
        Whether an image that cannot be used stops the others.

    Yields
    ------
    number : int
        Which image.
    loadings : list of ndarray of shape (n_components,), float32
        One per model.

    Raises
    ------
    ImageError
        Images are on another grid (before the first is yielded); or some are damaged or have values
        that the matrix could not have (after the others were yielded).
    """
    options, shift = models[0].preprocessing, np.float32(models[0].shift)
    mask = open_image(mask_file)
    if options.resample is None and options.voxel_size is None:
        check_grids(images, mask_file)
    inside = np.asarray(mask.dataobj) != 0
    read = partial(_column, inside=inside, grid=Grid.of(mask), options=options)
    unread, bad = [], []
    columns = track(map_images(read, images, n_procs), "project", len(images))
    for number, (name, image, column) in enumerate(zip(names, images, columns, strict=True)):
        if isinstance(column, str):
            unread.append(column)
        elif found := problem(column, options):
            bad.append(f"  {name}: {image}: {found}")
        else:
            yield number, [(column - shift) @ model.W for model in models]
        if stop_at_first and (unread or bad):
            break
    messages = unread + ([bad_values(bad)] if bad else [])
    if messages:
        raise ImageError("\n".join(messages))


def loadings_table(rows: Sequence[str], loadings: Sequence[Loadings]) -> pd.DataFrame:
    """Return one row per image: its identifiers, and one column per component."""
    H = np.array(loadings)
    table = pd.DataFrame(H, columns=component_names(H.shape[1]))
    return pd.concat([identifiers(rows), table], axis=1)


def _column(
    path: str | Path, inside: NDArray[np.bool_], grid: Grid, options: MatrixConfig
) -> NDArray[np.float32] | str:
    """Return the values of an image in the mask, or why there are none."""
    try:
        return read_volume(path, grid, options)[inside]
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
    summary="Find the loadings of new subjects on components that were learned before.",
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
