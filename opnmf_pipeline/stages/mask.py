"""Stage ``mask``: from one image per subject to one binary mask."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.images.mask import group_mask, mask_image
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.volumes import analysis_grid, check_grids, read_volume
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.stage import IMAGES, MASK_FILE, Call, Stage

__all__ = ["MAKE_MASK", "make_mask"]


def make_mask(
    images: Sequence[str | Path],
    out_file: Path,
    options: MaskConfig,
    matrix: MatrixConfig,
    *,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the mask of the analysis.

    Parameters
    ----------
    images : sequence of path
        One 3D image per subject.
    out_file : path
        NIfTI to write: uint8, on the grid of the analysis.
    options : MaskConfig
        Which voxels are analysed.
    matrix : MatrixConfig
        Preprocessing of the images and the grid that they are brought to.
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
        An image is damaged or on another grid, or the mask is empty.
    """
    if matrix.resample is None:
        check_grids(images, images[0])
    grid = analysis_grid(images[0], options.image, matrix)
    read = partial(read_volume, grid=grid, options=matrix)
    volumes = track(map_images(read, images, n_procs), "mask", len(images))
    mask = group_mask(volumes, grid, options)
    mask_image(mask, images[0], grid).to_filename(out_file)
    return out_file


def _run(call: Call) -> dict[str, Path]:
    mask_file = make_mask(
        call["images"],
        call.folder / "mask.nii.gz",
        call.section(MaskConfig),
        call.section(MatrixConfig),
        n_procs=call.n_procs,
        track=call.track,
    )
    return {"mask_file": mask_file}


MAKE_MASK = Stage(
    name="MakeMask",
    summary="Choose the voxels of the analysis.",
    run=_run,
    folder="mask",
    inputs={"images": IMAGES},
    outputs={"mask_file": MASK_FILE},
    settings={MaskConfig: (), MatrixConfig: ()},
)
