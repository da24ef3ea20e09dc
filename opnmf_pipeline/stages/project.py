"""Stage ``project``: loadings of new subjects on components that were learned before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.cohort import write_cohort
from opnmf_pipeline.images.maps import component_names
from opnmf_pipeline.images.matrix import bad_values, problem, subject_columns
from opnmf_pipeline.images.volumes import Grid, check_grids, open_image
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.decompose import read_factorization

__all__ = ["project_subjects"]


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
        TSV to write: ``participant_id`` and one column per component.
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
    W, _, info = read_factorization(factorization_file)
    options = MatrixConfig(**info["Preprocessing"])
    mask = open_image(mask_file)
    if options.resample is None and options.voxel_size is None:
        check_grids(images, mask_file)
    inside = np.asarray(mask.dataobj) != 0
    columns = subject_columns(images, inside, Grid.of(mask), options, n_procs)
    loadings, bad = [], []
    for name, image, column in zip(
        participants, images, track(columns, "project", len(images)), strict=True
    ):
        if found := problem(column, options):
            bad.append(f"  {name}: {image}: {found}")
        loadings.append((column - np.float32(info["Shift"])) @ W)
    if bad:
        raise ImageError(bad_values(bad))
    table = pd.DataFrame(np.array(loadings), columns=component_names(W.shape[1]))
    table.insert(0, "participant_id", list(participants))
    write_cohort(table, out_file)
    return out_file
