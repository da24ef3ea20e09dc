"""Stage ``matrix``: from the images in the mask to the voxel-by-subject matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.images.matrix import subject_columns, write_matrix, write_sidecar
from opnmf_pipeline.images.volumes import Grid, open_image
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.stage import (
    IMAGES,
    MASK_FILE,
    MATRIX_DIR,
    PARTICIPANTS,
    Call,
    Stage,
)

__all__ = ["BUILD_MATRIX", "MATRIX_FILE", "build_matrix"]

MATRIX_FILE = "matrix.json"
"""Name of the file that stands for the matrix."""


def build_matrix(
    images: Sequence[str | Path],
    participants: Sequence[str],
    mask_file: Path,
    out_dir: Path,
    options: MatrixConfig,
    *,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the voxel-by-subject matrix, memory-mapped and in batches of subjects.

    Parameters
    ----------
    images : sequence of path
        One 3D image per subject.
    participants : sequence of str
        Identifier of each subject, in the order of the images.
    mask_file : path
        Mask of :func:`opnmf_pipeline.stages.mask.make_mask`, on the grid of the analysis.
    out_dir : path
        Existing folder that gets ``matrix.npy``, (n_voxels, n_subjects), float32, C order, and
        ``matrix.json``: its grid, order of subjects, preprocessing and checksum.
    options : MatrixConfig
        Preprocessing of the images.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.

    Returns
    -------
    path
        ``matrix.json``, which stands for the matrix in the stages after this one.

    Raises
    ------
    ImageError
        An image is damaged, zero everywhere in the mask, or has NaN or negative values there.
    """
    mask = open_image(mask_file)
    inside = np.asarray(mask.dataobj) != 0
    columns = subject_columns(images, inside, Grid.of(mask), options, n_procs)
    columns = track(columns, "matrix", len(images))
    matrix_file, sidecar = out_dir / "matrix.npy", out_dir / MATRIX_FILE
    names = [f"{subject}: {path}" for subject, path in zip(participants, images, strict=True)]
    shift = write_matrix(matrix_file, columns, names, int(inside.sum()), options)
    write_sidecar(sidecar, matrix_file, mask_file, participants, shift, options)
    return sidecar


def _run(call: Call) -> dict[str, Path]:
    matrix_file = build_matrix(
        call["images"],
        call["participants"],
        call.path("mask_file"),
        call.folder,
        call.section(MatrixConfig),
        n_procs=call.n_procs,
        track=call.track,
    )
    return {"matrix_dir": matrix_file.parent}


BUILD_MATRIX = Stage(
    name="BuildMatrix",
    summary="Write the voxel-by-subject matrix.",
    run=_run,
    folder="matrix",
    inputs={"images": IMAGES, "participants": PARTICIPANTS, "mask_file": MASK_FILE},
    outputs={"matrix_dir": MATRIX_DIR},
    settings={MatrixConfig: ()},
    large=("matrix.npy",),
)
