"""Stage ``mask``: from one image per subject to one binary mask."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from opnmf_pipeline.config import AFTER_IMAGES, MaskConfig, MatrixConfig
from opnmf_pipeline.images.mask import describe_mask, group_mask
from opnmf_pipeline.images.missing import read_image, read_masks
from opnmf_pipeline.images.reading import map_images
from opnmf_pipeline.images.values import image_digests, keep_values
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.spaces import space_of, stated_space
from opnmf_pipeline.stages.stage import IMAGES, MASK_FILE, Call, Field, Kind, Stage

__all__ = ["DIGESTS_FILE", "MAKE_MASK", "VALUES_DIR", "make_mask"]

logger = logging.getLogger(__name__)


def make_mask(
    images: Sequence[str | Path],
    out_file: Path,
    options: MaskConfig,
    matrix: MatrixConfig,
    *,
    masks_file: Path | None = None,
    values_dir: Path | None = None,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the mask of the analysis.

    Parameters
    ----------
    images : sequence of path
        One image per subject.
    out_file : path
        Image to write: uint8, on the grid of the analysis.
    options : MaskConfig
        Which voxels are analysed.
    matrix : MatrixConfig
        Preprocessing of the images and the grid that they are resampled to.
    masks_file : path, optional
        Masks of single images, whose voxels are missing, written by
        :func:`opnmf_pipeline.images.missing.write_masks`.
    values_dir : path, optional
        Existing folder that gets the prepared values of every image (``values.json``), from which
        :func:`opnmf_pipeline.stages.matrix.build_matrix` makes the matrix without the images.
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
        An image is damaged or on a different grid, or the mask is empty.
    """
    space = space_of(images[0]).images
    space.check_grids(images, images[0], resampled=matrix.resample is not None)
    grid = space.analysis_grid(images[0], options.image, matrix)
    standard = space.standard_space(images[0])
    only_brain = options.only_brain(in_standard_space=standard is not None)
    read = partial(read_image, grid=grid, options=matrix, masks=read_masks(masks_file))
    values = track(map_images(read, images, n_procs), "mask", len(images))
    if values_dir is not None:
        values = keep_values(values, images, values_dir, grid, matrix, space.image_files)
    inside = group_mask(values, grid, options, only_brain=only_brain, masked=matrix.masked)
    rule = describe_mask(options, grid, only_brain=only_brain)
    logger.info("mask: %d %s: %s", inside.sum(), grid.elements, rule)
    if stated := stated_space(space, standard):
        logger.info("space: %s", stated)
    grid.write_mask(inside, images[0], out_file)
    return out_file


def _run(call: Call) -> dict[str, Path]:
    images, values_dir = call["images"], call.folder / "values"
    values_dir.mkdir()
    mask_file = make_mask(
        images,
        call.folder / f"mask{space_of(images[0]).images.ENDINGS['image']}",
        call.section(MaskConfig),
        call.section(MatrixConfig),
        masks_file=call.optional_path("masks_file"),
        values_dir=values_dir,
        n_procs=call.n_procs,
        track=call.track,
    )
    digests_file = call.folder / "digests.json"
    digests_file.write_text(json.dumps(image_digests(values_dir), indent=1), encoding="utf-8")
    return {"mask_file": mask_file, "values_dir": values_dir, "digests_file": digests_file}


VALUES_DIR = Field(Kind.FOLDER, "folder with the prepared values of every image")
DIGESTS_FILE = Field(Kind.JSON, "SHA-256 of the files of each image (JSON)")

MAKE_MASK = Stage(
    name="MakeMask",
    summary="Choose the voxels of the analysis.",
    run=_run,
    folder="mask",
    inputs={
        "images": IMAGES,
        "masks_file": Field(
            Kind.JSON, "masks of missing voxels of single images (JSON)", default=None
        ),
    },
    outputs={"mask_file": MASK_FILE, "values_dir": VALUES_DIR, "digests_file": DIGESTS_FILE},
    settings={MaskConfig: (), MatrixConfig: AFTER_IMAGES},
    large=("values.bin",),
)
