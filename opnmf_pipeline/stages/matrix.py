"""Stage ``matrix``: from the images in the mask to the matrix, one column per subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opnmf_pipeline.config import AFTER_IMAGES, MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ImageError
from opnmf_pipeline.images.matrix import read_matrix, subject_columns, write_matrix, write_sidecar
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.images.values import image_paths, kept_columns, kept_rounding
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.mask import VALUES_DIR
from opnmf_pipeline.stages.memory import fit_bytes
from opnmf_pipeline.stages.spaces import open_mask, space_of
from opnmf_pipeline.stages.stage import (
    IMAGES,
    MASK_FILE,
    MATRIX_DIR,
    PARTICIPANTS,
    Call,
    Stage,
)

__all__ = ["BUILD_MATRIX", "MATRIX_FILE", "build_matrix", "fit_memory"]

MATRIX_FILE = "matrix.json"
"""Name of the file that describes the matrix; stages take its path as the path of the matrix."""

NUMBER_MSG = (
    "participants: has {n} names for {n_images} images; give one for each image, in the same order"
)
TWICE_MSG = (
    "participants: {n} name(s) occur more than once:\n{named}\n"
    "name each image once; sessions of a subject are sub-01_ses-1, sub-01_ses-2"
)
EMPTY_MSG = "{mask}: no {element} is in the mask; give the mask_file of MakeMask"


def build_matrix(
    images: Sequence[str | Path],
    participants: Sequence[str],
    mask_file: Path,
    out_dir: Path,
    options: MatrixConfig,
    *,
    values_dir: Path | None = None,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the matrix of the values in the mask, in batches of subjects.

    Parameters
    ----------
    images : sequence of path
        One image per subject.
    participants : sequence of str
        Identifier of each subject, in the order of the images.
    mask_file : path
        Mask of :func:`opnmf_pipeline.stages.mask.make_mask`, on the grid of the analysis.
    out_dir : path
        Existing folder that gets ``matrix.npy``, (n_rows, n_subjects), in ``dtype``, C order, and
        ``matrix.json``: its grid, order of subjects, preprocessing and checksum.
    options : MatrixConfig
        Preprocessing of the images.
    values_dir : path, optional
        Prepared values of the same images, written by
        :func:`opnmf_pipeline.stages.mask.make_mask`. If given, the images are not read, except to
        compare those whose paths have changed.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.

    Returns
    -------
    path
        ``matrix.json``, which later stages take as the path of the matrix.

    Raises
    ------
    CohortError
        There is not one identifier for each image, or two images have the same.
    ImageError
        The mask is empty. Or an image is damaged, is zero everywhere in the mask, or has NaN or
        negative values in it that the preprocessing does not allow; or it lacks most values in the
        mask; or ``dtype`` cannot hold the values; or the values in ``values_dir`` come from other
        images or from another preprocessing.
    """
    _require_names(participants, len(images))
    mask = open_mask(mask_file)
    if not mask.inside.any():
        raise ImageError(EMPTY_MSG.format(mask=mask_file, element=mask.grid.element))
    if values_dir is None:
        columns = subject_columns(images, mask, options, n_procs)
    else:
        files = space_of(mask_file).images.image_files
        columns = kept_columns(values_dir, images, mask, options, files)
    columns = track(columns, "matrix", len(images))
    matrix_file, sidecar = out_dir / "matrix.npy", out_dir / MATRIX_FILE
    names = [f"{subject}: {path}" for subject, path in zip(participants, images, strict=True)]
    shift, rounding = write_matrix(matrix_file, columns, names, mask, options)
    if values_dir is not None:
        rounding = kept_rounding(values_dir)  # the kept values were rounded before
    write_sidecar(sidecar, matrix_file, mask, participants, shift, options, rounding=rounding)
    return sidecar


def _require_names(participants: Sequence[str], n_images: int) -> None:
    if len(participants) != n_images:
        raise CohortError(NUMBER_MSG.format(n=len(participants), n_images=n_images))
    if twice := [name for name, n in Counter(participants).items() if n > 1]:
        raise CohortError(TWICE_MSG.format(n=len(twice), named=listed(twice)))


def fit_memory(inputs: Mapping[str, Any]) -> int:
    """Return the most memory that a stage needs to read the matrix, in bytes.

    Parameters
    ----------
    inputs : mapping
        Inputs of the stage by name; ``matrix_dir`` exists.
    """
    X, sidecar = read_matrix(Path(inputs["matrix_dir"]) / MATRIX_FILE)
    k, dtype = inputs.get("n_components", 1), inputs.get("dtype", "float32")
    masked = MatrixConfig(**sidecar["Preprocessing"]).masked
    return fit_bytes(len(X), X.shape[1], k, dtype, masked=masked)


def _run(call: Call) -> dict[str, Path]:
    matrix_file = build_matrix(
        call["images"] or image_paths(call.path("values_dir")),
        call["participants"],
        call.path("mask_file"),
        call.folder,
        call.section(MatrixConfig),
        values_dir=call.optional_path("values_dir"),
        n_procs=call.n_procs,
        track=call.track,
    )
    return {"matrix_dir": matrix_file.parent}


BUILD_MATRIX = Stage(
    name="BuildMatrix",
    summary="Write the voxel-by-subject matrix.",
    run=_run,
    folder="matrix",
    inputs={
        "images": replace(IMAGES, default=()),
        "participants": PARTICIPANTS,
        "mask_file": MASK_FILE,
        "values_dir": replace(VALUES_DIR, default=None),
    },
    outputs={"matrix_dir": MATRIX_DIR},
    settings={MatrixConfig: AFTER_IMAGES},
    large=("matrix.npy",),
)
