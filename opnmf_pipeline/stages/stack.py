"""Stage ``stack``: from one matrix per measure to one matrix of all measures."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.blocks import row_blocks
from opnmf_pipeline.config import MatrixConfig, MeasuresConfig
from opnmf_pipeline.disk import allocate
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.files import written_whole
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.images.matrix import read_matrix, write_sidecar
from opnmf_pipeline.images.measures import long_cohort, without_images
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.images.stacks import STACK, part_file, write_index
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.mask import DIGESTS_FILE
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.spaces import mask_of, open_mask, space_of
from opnmf_pipeline.stages.stage import (
    MASK_FILE,
    MATRIX_DIR,
    Call,
    Field,
    Kind,
    Stage,
)
from opnmf_pipeline.tables import write_table

__all__ = ["STACK_MEASURES", "Stacked", "require_one_grid", "stack_measures"]

logger = logging.getLogger(__name__)

GRIDS_MSG = (
    "inputs.measures: {first} and {second} are on different grids ({grid}, and {other}); with "
    "matrix.measures.stack: subjects, the images of all measures must be on one grid: set "
    "matrix.resample: to-mask with a mask.image, or set stack: voxels"
)
FEATURES_MSG = (
    "inputs.measures: {first} and {second} have different features ({grid}, and {other}); with "
    "matrix.measures.stack: subjects, the tables of all measures must have the same features under "
    "the same names: rename their columns, or set stack: voxels"
)
EMPTY_MSG = (
    "the mask is empty: no {element} is in the masks of all measures ({names}); check that the "
    "images of all measures are in the same space, or set matrix.measures.stack: voxels"
)


class Stacked(NamedTuple):
    """The files of the stage.

    Attributes
    ----------
    mask_file, matrix_file, cohort_file, digests_file : path
        The joint mask, ``matrix.json``, the table of its columns, and the SHA-256 of their images.
    """

    mask_file: Path
    matrix_file: Path
    cohort_file: Path
    digests_file: Path


def stack_measures(
    measures: Sequence[str],
    mask_files: Sequence[Path],
    matrix_files: Sequence[Path],
    digests_files: Sequence[Path],
    cohort_file: Path,
    out_dir: Path,
    options: MeasuresConfig,
) -> Stacked:
    """Write one matrix of all measures, in the units of the images.

    Parameters
    ----------
    measures : sequence of str
        Name of each measure.
    mask_files, matrix_files, digests_files : sequence of path
        For each measure, the files of :func:`opnmf_pipeline.stages.mask.make_mask` and
        :func:`opnmf_pipeline.stages.matrix.build_matrix`; all have the same subjects.
    cohort_file : path
        Table of the subjects, with the column ``image_NAME`` of each measure.
    out_dir : path
        Existing folder that gets

        * ``matrix/mask``: with ``stack: subjects``, the elements in the masks of all measures; with
          ``stack: voxels``, a file that stands for the masks of the measures, which are copied;
        * ``matrix/matrix.npy``, float32, and ``matrix/matrix.json``: with ``stack: subjects``,
          (n_voxels, n_measures × n_subjects), all subjects of the first measure first; with
          ``stack: voxels``, (n_voxels of all measures, n_subjects);
        * ``cohort.tsv``: one row per column of the matrix;
        * ``digests.json``: SHA-256 of the images of each column.
    options : MeasuresConfig
        How the measures are joined.

    Returns
    -------
    Stacked
        The paths of these files.

    Raises
    ------
    ImageError
        A mask is not that of its matrix. With ``stack: subjects``: measures are on different
        grids, or their masks do not overlap.
    """
    found = [read_matrix(file) for file in matrix_files]
    files = zip(measures, mask_files, matrix_files, strict=True)
    masks = {name: mask_of(mask_file, matrix_file) for name, mask_file, matrix_file in files}
    cohort = read_cohort(cohort_file)
    digests = [json.loads(file.read_text(encoding="utf-8")) for file in digests_files]
    matrix_dir = out_dir / "matrix"  # apart from the covariates, which fits do not need
    matrix_dir.mkdir()
    side_by_side = options.stack == "subjects"
    if side_by_side:
        require_one_grid({name: mask.grid for name, mask in masks.items()})
        mask_file, joint = _joint_mask(masks, mask_files[0], matrix_dir)
        kept = [np.flatnonzero(joint.inside[mask.inside]) for mask in masks.values()]
        cohort = long_cohort(cohort, measures)
        participants = row_names(cohort)
        columns = [digest for of_measure in digests for digest in of_measure]
        rows = dict.fromkeys(measures, (0, len(kept[0])))
    else:
        mask_file, joint = _stacked_masks(masks, mask_files, matrix_dir)
        kept = [np.arange(len(X)) for X, _ in found]
        cohort = without_images(cohort, measures)
        participants = row_names(cohort)
        columns = [" ".join(parts) for parts in zip(*digests, strict=True)]
        ends = np.cumsum([0, *map(len, kept)]).tolist()
        rows = dict(zip(measures, itertools.pairwise(ends), strict=True))
    shape = (max(stop for _, stop in rows.values()), len(participants))
    shifts = [sidecar["Shift"] for _, sidecar in found]
    matrix_file = matrix_dir / "matrix.npy"
    with written_whole(matrix_file) as partial:
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=found[0][0].dtype, shape=shape)
        allocate(partial)
        for place, ((X, _), of_mask, shift) in enumerate(zip(found, kept, shifts, strict=True)):
            target = _part(out, place, rows[measures[place]], X.shape[1], side_by_side=side_by_side)
            _copy(X, of_mask, target, shift - min(shifts))
        out.flush()
    write_sidecar(
        matrix_file.with_name(MATRIX_FILE),
        matrix_file,
        joint,
        participants,
        min(shifts),
        MatrixConfig(**found[0][1]["Preprocessing"]),
        {"Stack": options.stack, "Names": list(measures), "Rows": rows},
    )
    logger.info("measures stacked along %s: %s", options.stack, ", ".join(measures))
    write_table(cohort, out_dir / "cohort.tsv")
    (out_dir / "digests.json").write_text(json.dumps(columns, indent=1), encoding="utf-8")
    tables = (out_dir / name for name in ("cohort.tsv", "digests.json"))
    return Stacked(mask_file, matrix_file.with_name(MATRIX_FILE), *tables)


def require_one_grid(grids: Mapping[str, Any]) -> None:
    """Require that the measures are on one grid.

    Parameters
    ----------
    grids : mapping of str to Grid
        Grid of each measure.

    Raises
    ------
    ImageError
        Names two measures on different grids.
    """
    (first, grid), *others = grids.items()
    for second, other in others:
        if type(grid) is not type(other) or grid.describe() != other.describe():
            message = GRIDS_MSG if grid.in_space or other.in_space else FEATURES_MSG
            raise ImageError(message.format(first=first, second=second, grid=grid, other=other))


def _joint_mask(masks: Mapping[str, Mask], reference: Path, out_dir: Path) -> tuple[Path, Mask]:
    """Write the mask of the elements that are in the masks of all measures."""
    inside = np.logical_and.reduce([mask.inside for mask in masks.values()])
    grid = next(iter(masks.values())).grid
    if not inside.any():
        raise ImageError(EMPTY_MSG.format(element=grid.element, names=", ".join(masks)))
    mask_file = out_dir / f"mask{space_of(reference).images.ENDINGS['image']}"
    grid.write_mask(inside, reference, mask_file)
    return mask_file, open_mask(mask_file)


def _stacked_masks(
    masks: Mapping[str, Mask], mask_files: Sequence[Path], out_dir: Path
) -> tuple[Path, Mask]:
    """Copy the masks of all measures, and write the file that stands for them."""
    mask_file, endings = out_dir / f"mask{STACK}", {}
    for (name, mask), source in zip(masks.items(), mask_files, strict=True):
        endings[name] = space_of(source).images.ENDINGS["image"]
        mask.grid.write_mask(mask.inside, source, part_file(mask_file, name, endings[name]))
    write_index(mask_file, endings)
    return mask_file, open_mask(mask_file)


def _part(
    out: NDArray[np.float32], place: int, rows: Sequence[int], n: int, *, side_by_side: bool
) -> NDArray[np.float32]:
    """Return the part of the matrix that belongs to a measure of n subjects."""
    return out[:, place * n : (place + 1) * n] if side_by_side else out[slice(*rows)]


def _copy(
    X: NDArray[np.float32], kept: NDArray[np.intp], target: NDArray[np.float32], shift: float
) -> None:
    """Copy the kept rows of a matrix in blocks, and add a shift."""
    for block in row_blocks(*target.shape):
        target[block] = X[kept[block]] + np.float32(shift)


def _run(call: Call) -> dict[str, Any]:
    stacked = stack_measures(
        call["measures"],
        call.paths("mask_files"),
        [folder / MATRIX_FILE for folder in call.paths("matrix_dirs")],
        call.paths("digests_files"),
        call.path("cohort_file"),
        call.folder,
        call.section(MeasuresConfig),
    )
    return {
        "mask_file": stacked.mask_file,
        "matrix_dir": stacked.matrix_file.parent,
        "cohort_file": stacked.cohort_file,
        "digests_file": stacked.digests_file,
    }


STACK_MEASURES = Stage(
    name="StackMeasures",
    summary="Join the matrices of several measures.",
    run=_run,
    folder="stack",
    inputs={
        "measures": Field(Kind.TEXT, "name of each measure", many=True),
        "mask_files": Field(Kind.FILE, "masks of MakeMask, one per measure", many=True),
        "matrix_dirs": Field(Kind.FOLDER, "folders of BuildMatrix, one per measure", many=True),
        "digests_files": Field(Kind.JSON, "digests of MakeMask, one per measure", many=True),
        "cohort_file": COHORT_FILE,
    },
    outputs={
        "mask_file": MASK_FILE,
        "matrix_dir": MATRIX_DIR,
        "cohort_file": COHORT_FILE,
        "digests_file": DIGESTS_FILE,
    },
    settings={MeasuresConfig: ("scale",)},
    large=("matrix.npy",),
)
