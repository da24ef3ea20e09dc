"""The plan of a run, from the settings and the images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from opnmf_pipeline.adjustment.summary import Summary
from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.engines.resources import n_procs_of
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.check import check_images
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.images.mask import describe_mask
from opnmf_pipeline.images.missing import Masks, find_masks
from opnmf_pipeline.images.simulation import simulated_participants
from opnmf_pipeline.images.space import Grid
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.runs.adjustment import check_adjustment, with_values
from opnmf_pipeline.runs.atlas import find_atlas
from opnmf_pipeline.runs.change import people_of_fits, with_pairs
from opnmf_pipeline.runs.errors import naming_subjects, naming_tables
from opnmf_pipeline.runs.limits import check_covariates, check_rank
from opnmf_pipeline.runs.measures import images_in, may_have_atlas, tables_of, with_tables
from opnmf_pipeline.runs.study import (
    count_splits,
    determining_settings,
    grid_of,
    only_brain_of,
    require_grids,
    space_entities,
    without_empty,
)
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.features import split_inputs
from opnmf_pipeline.stages.memory import fit_bytes
from opnmf_pipeline.stages.spaces import space_of, stated_space

__all__ = ["Plan", "make_plan"]

N_SIMULATED = 5
"""Number of images that are simulated to estimate the number of voxels."""


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Attributes
    ----------
    images : list of str
        Images of the cohort; of a simulated cohort, a few of them.
    cohort : DataFrame
        Table of the images.
    n_subjects : int
        Number of columns of the matrix that is factorized: subjects, sessions of subjects, or
        changes of subjects.
    n_parallel : int
        Number of columns that each of them has: more than one for measures joined along subjects.
    grid : Grid
        Grid of the analysis.
    space : str
        Standard space of the images; empty if there are no templates for such images.
    mask : str
        What the voxels of the mask have in common.
    n_voxels : int
        Number of voxels (or other elements of the grid) in the mask; of a simulated cohort, an
        estimate. If only headers were read: the number of all voxels, which is an upper limit.
    matrix_bytes : int
        Size of the matrix on disk for ``n_voxels``, in bytes.
    memory_bytes : int
        Most memory that a fit needs for ``n_voxels``, in bytes.
    n_fits : int
        Number of fits, including the fits of split halves and of null data.
    n_masks : int
        Number of images that have a mask of missing voxels.
    missing : dict of str to float
        Share of the mask that each image lacks; zeros if only headers were read.
    atlas : Atlas or None
        Atlas whose regions describe the components.
    adjustment : Summary or None
        Models of the adjustment; None without one.
    """

    images: list[str]
    cohort: pd.DataFrame
    n_subjects: int
    n_parallel: int
    grid: Grid
    space: str
    mask: str
    n_voxels: int
    matrix_bytes: int
    memory_bytes: int
    n_fits: int
    n_masks: int
    missing: dict[str, float]
    atlas: Atlas | None
    adjustment: Summary | None


def make_plan(config: PipelineConfig, *, deep: bool = False, track: Track = silent) -> Plan:
    """Validate inputs and output, and return the plan of the run. Nothing is written.

    Parameters
    ----------
    config : PipelineConfig
        Settings; the output folder is checked if it is set.
    deep : bool
        Whether the values of all images are read, so that all images that a run would refuse are
        refused here. Otherwise, only headers are read.
    track : callable
        Shows progress.

    Returns
    -------
    Plan
        Size of the cohort, the matrix and the fits.

    Raises
    ------
    OPNMFError
        A setting, an image or the output folder is wrong.
    """
    with TemporaryDirectory() as folder:
        rows, cohort = (
            with_values(with_pairs(one, config), config) for one in _cohort(config, Path(folder))
        )
        masks = find_masks(config.inputs, rows)
        if deep and config.inputs.on_empty == "drop":
            rows = cohort = with_pairs(without_empty(cohort, config, masks, track), config)
        people = people_of_fits(cohort, config)
        n_splits = count_splits(config, people)
        check_covariates(config, people)
        adjustment = check_adjustment(config, people)
        images, names = images_in(rows, config.inputs), row_names(rows)
        atlas = None
        if may_have_atlas(config, images):
            atlas = find_atlas(config, images[0], space_entities(config, images))
        require_grids(rows, config)
        space = space_of(images[0]).images
        standard = space.standard_space(images[0])
        only_brain = config.mask.only_brain(in_standard_space=standard is not None)
        with naming_tables(tables_of(images, config.inputs)):
            found = [
                _look_at(images[first : first + len(names)], names, config, masks, track, deep=deep)
                for first in range(0, len(images), len(names))
            ]
    grid, measures = found[0].grid, config.matrix.measures
    missing = np.mean([one.missing for one in found], axis=0)
    n_parallel = 1
    if measures is not None and measures.stack == "subjects":
        n_parallel = len(found)
        n_voxels = int(np.logical_and.reduce([one.inside for one in found]).sum())
    else:
        n_voxels = sum(int(one.inside.sum()) for one in found)
    check_rank(config, config.ranks, n_voxels, grid.elements)
    if config.output.dir is not None:
        OutputFolder(
            config.output.dir, determining_settings(config), overwrite=config.output.overwrite
        )
    return Plan(
        images=images,
        cohort=cohort,
        n_subjects=len(people),
        n_parallel=n_parallel,
        grid=grid,
        space=stated_space(space, standard),
        mask=describe_mask(config.mask, grid, only_brain=only_brain),
        n_voxels=n_voxels,
        matrix_bytes=4 * n_voxels * len(cohort) * n_parallel,
        memory_bytes=fit_bytes(
            n_voxels,
            len(people) * n_parallel,
            max(config.ranks),
            config.decomposition.dtype,
            masked=config.matrix.masked,
        ),
        n_fits=config.n_fits(n_splits),
        n_masks=len(masks),
        missing=dict(zip(names, missing.tolist(), strict=True)),
        atlas=atlas,
        adjustment=adjustment,
    )


class _Look(NamedTuple):
    """What the images of one measure tell: their grid, their mask, and the missing values in it."""

    grid: Grid
    inside: NDArray[np.bool_]
    missing: NDArray[np.float64]


def _look_at(
    images: list[str],
    names: list[str],
    config: PipelineConfig,
    masks: Masks,
    track: Track,
    *,
    deep: bool,
) -> _Look:
    """Read the headers of images, or also their values; without them, the mask has all voxels."""
    with naming_subjects(images, names):
        grid = grid_of(images, config)
        if not deep:
            return _Look(grid, np.ones(grid.shape, dtype=bool), np.zeros(len(images)))
        checked = check_images(
            images,
            names,
            grid,
            config.mask,
            config.matrix,
            masks=masks,
            only_brain=only_brain_of(images, config),
            n_procs=n_procs_of(config.execution),
            track=track,
        )
        return _Look(grid, checked.inside, checked.missing)


def _cohort(config: PipelineConfig, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows with images, and the table of all subjects.

    Of a simulation, only a few images exist.
    """
    inputs, simulation = config.inputs, config.inputs.simulation
    if simulation is not None:
        n_subjects = min(simulation.n_subjects, N_SIMULATED)
        sample = simulation.model_copy(update={"n_subjects": n_subjects})
        inputs = simulated_inputs(simulate(sample, folder / "simulated"))
    if inputs.measures is not None:
        inputs = with_tables(
            inputs, lambda one: split_inputs(one, Path(mkdtemp(dir=folder)) / "features")
        )
    else:
        inputs = split_inputs(inputs, folder / "features")
    rows = read_cohort(collect_cohort(inputs, folder / "cohort.tsv"))
    return rows, rows if simulation is None else simulated_participants(simulation)
