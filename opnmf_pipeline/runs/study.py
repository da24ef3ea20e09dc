"""The study of a run: its settings and the cohort that they name."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from opnmf_pipeline.config import InputsConfig, PipelineConfig
from opnmf_pipeline.dataset.description import participants_json, settings_yaml
from opnmf_pipeline.dataset.names import WORK
from opnmf_pipeline.engines.cache import Cache
from opnmf_pipeline.engines.graph import Graph
from opnmf_pipeline.engines.resources import n_procs_of
from opnmf_pipeline.engines.steps import images_name, steps_of
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.files import file_digest, written_whole
from opnmf_pipeline.images.atlas import Atlas
from opnmf_pipeline.images.bids import common_entity
from opnmf_pipeline.images.check import empty_images
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.images.measures import images_of
from opnmf_pipeline.images.missing import Masks, find_masks, write_masks
from opnmf_pipeline.images.problems import counted
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.images.space import Grid, StandardSpace
from opnmf_pipeline.images.tables.split import SUBJECTS_FILE, split_table
from opnmf_pipeline.locks import only_run
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.runs.adjustment import check_adjustment, with_values
from opnmf_pipeline.runs.atlas import find_atlas
from opnmf_pipeline.runs.change import people_of_fits, with_pairs
from opnmf_pipeline.runs.errors import naming_subjects
from opnmf_pipeline.runs.limits import check_covariates, check_rank, check_splits
from opnmf_pipeline.runs.measures import images_in, may_have_atlas, with_tables
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.features import table_inputs
from opnmf_pipeline.stages.spaces import STACKS, space_of
from opnmf_pipeline.stages.splits import split_cohort
from opnmf_pipeline.stages.stack import require_one_grid
from opnmf_pipeline.tables import write_table

__all__ = [
    "Study",
    "collect_study",
    "count_splits",
    "determining_settings",
    "drawn_on_template",
    "grid_of",
    "only_brain_of",
    "output_dir",
    "require_grids",
    "shown_settings",
    "space_entities",
    "without_empty",
    "work_dir",
    "work_locked",
]

logger = logging.getLogger(__name__)

MASKS_FILE = "masks.json"
"""Name of the file with the masks of missing voxels, next to the table of the subjects."""
NOT_OF_RESULTS = {"output": ("dir", "overwrite", "authors", "license"), "inputs": ("database_dir",)}
"""Settings of each section that change no result."""
SAME_FOLDER_MSG = (
    "execution.work_dir: {folder} is the output folder; choose another folder with --work-dir"
)
EMPTY_MSG = "left out %d subject(s) whose image is zero everywhere in the mask: %s"
NO_OUTPUT_MSG = "output.dir: is not set; name the output folder with --output"


@dataclass(frozen=True)
class Study:
    """Settings and cohort of a run.

    Attributes
    ----------
    config : PipelineConfig
        The settings.
    cohort_file : path
        Table of the subjects.
    images : list of str
        Images of all rows of the cohort; with several measures, those of the first measure first.
    participants : list of str
        Name of each row of the cohort: a subject, or a session of a subject.
    n_splits : int
        Number of splits of the cohort.
    planted : path or None
        Label map of the true components, for a simulated cohort.
    descriptions : path or None
        ``participants.json`` of the cohort.
    atlas : Atlas or None
        Atlas whose regions describe the components.
    masks_file : path or None
        Masks of missing voxels of single images.
    """

    config: PipelineConfig
    cohort_file: Path
    images: list[str]
    participants: list[str]
    n_splits: int
    planted: Path | None
    descriptions: Path | None = None
    atlas: Atlas | None = None
    masks_file: Path | None = None

    @property
    def columns(self) -> str:
        """What the columns of the matrix are, for messages."""
        if self.config.matrix.change is not None:
            return "changes of subjects"
        return f"images of {len(self.participants)} {self.what}" if self.side_by_side else self.what

    @property
    def counted(self) -> str:
        """Number of the rows of the cohort and of the measures, for messages."""
        measures = self.config.inputs.names
        named = f", {len(measures)} measures: {', '.join(measures)}" if measures else ""
        return f"{len(self.participants)} {self.what}{named}"

    @property
    def names(self) -> list[str]:
        """Name of the subject or session of each image."""
        return self.participants * (len(self.images) // len(self.participants))

    @property
    def side_by_side(self) -> bool:
        """Whether each subject has one column for each of several measures."""
        measures = self.config.matrix.measures
        return measures is not None and measures.stack == "subjects"

    @property
    def endings(self) -> Mapping[str, str]:
        """Endings of maps and of label maps."""
        if self.config.inputs.measures is not None and not self.side_by_side:
            return STACKS.images.ENDINGS
        return space_of(self.images[0]).images.ENDINGS

    @property
    def what(self) -> str:
        """What the rows of the cohort are, for messages, such as ``sessions of 40 subjects``."""
        subjects = {name.partition("_ses-")[0] for name in self.participants}
        several = len(subjects) < len(self.participants)
        return f"sessions of {counted(len(subjects), 'subject')}" if several else "subjects"

    @property
    def space(self) -> str:
        """BIDS entities ``space``, ``res`` and ``den`` of the maps, such as ``space-MNI152_``."""
        return space_entities(self.config, self.images)

    @property
    def standard_space(self) -> StandardSpace | None:
        """Standard space of the images."""
        return space_of(self.images[0]).images.standard_space(self.images[0])

    @property
    def drawn_in_standard_space(self) -> bool:
        """Whether the pictures show the standard space: of a table, its atlas does."""
        space, atlas = space_of(self.images[0]), self.atlas
        if atlas is not None and space_of(atlas.image) is not space:
            return space_of(atlas.image).images.standard_space(atlas.image) is not None
        return self.standard_space is not None

    def moved_to(self, folder: Path) -> Study:
        """Return the study with its tables copied to a folder that all jobs read."""
        copies = {}
        for name in ("cohort_file", "masks_file"):
            if (file := getattr(self, name)) is not None:
                copies[name] = folder / file.name
                with written_whole(copies[name]) as partial:
                    shutil.copyfile(file, partial)
        return replace(self, **copies)

    @property
    def graph(self) -> Graph:
        """All jobs of the run."""
        return Graph.of_steps(steps_of(self.config, self.n_splits))

    def _given_images(self) -> dict[str, list[str]]:
        measures, n = self.config.inputs.names, len(self.participants)
        if not measures:
            return {"images": self.images}
        return {
            images_name(measure): self.images[place * n : (place + 1) * n]
            for place, measure in enumerate(measures)
        }

    @property
    def given(self) -> dict[str, Any]:
        """Inputs of the graph."""
        return {
            **self._given_images(),
            "participants": self.participants,
            "masks": self.masks_file,
            "covariates": self.cohort_file,
            "descriptions": self.descriptions,
            "planted": self.planted,
            "atlas_file": self.atlas and self.atlas.image,
            "atlas_labels": self.atlas and self.atlas.labels,
            "mesh": self.config.report.mesh,
            "on_template": drawn_on_template(
                self.config.report.background,
                self.space,
                in_standard_space=self.drawn_in_standard_space,
            ),
            "settings": settings_yaml(shown_settings(self.config.settings())),
        }


def collect_study(config: PipelineConfig, cohort_file: Path, track: Track = silent) -> Study:
    """Find or simulate the cohort that the settings name.

    Parameters
    ----------
    config : PipelineConfig
        The settings.
    cohort_file : path
        TSV to write: the table of the subjects.
    track : callable
        Shows progress, if images are read.

    Returns
    -------
    Study
        Settings and cohort.

    Raises
    ------
    CohortError
        Subjects and images cannot be paired.
    ConfigError
        There are fewer subjects than components, or a column of the settings does not exist.
    SelectionError
        The cohort cannot be split by the columns of the settings.
    ImageError, FileError
        The atlas of the settings cannot be read.
    OutputError
        The folder of intermediate results cannot be written, for a simulated cohort.
    ImageError
        With ``on_empty: drop``: images cannot be read, or the mask is empty.
    """
    inputs, planted = config.inputs, None
    if inputs.measures is not None:
        inputs = with_tables(config.inputs, partial(_split_once, config))
    if (simulation := inputs.simulation) is not None:
        with work_locked(config):
            made = Cache(work_dir(config)).stage(
                "simulate", [], simulation.model_dump(), lambda out: simulate(simulation, out)
            )
        inputs, planted = simulated_inputs(made.folder), made.folder / PLANTED_LABELS
    if inputs.features is not None and inputs.measures is None:
        inputs = _split_once(config, config.inputs)
    cohort = with_pairs(read_cohort(collect_cohort(inputs, cohort_file)), config)
    cohort = with_values(cohort, config)
    masks = find_masks(config.inputs, cohort)
    if config.inputs.on_empty == "drop":
        cohort = with_pairs(without_empty(cohort, config, masks, track), config)
    write_table(cohort, cohort_file)
    people = people_of_fits(cohort, config)
    check_covariates(config, people)
    check_adjustment(config, people)
    descriptions = participants_json(inputs)
    images = images_in(cohort, config.inputs)
    require_grids(cohort, config)
    atlas = None
    if may_have_atlas(config, images):
        atlas = find_atlas(config, images[0], space_entities(config, images))
    return Study(
        config=config,
        cohort_file=cohort_file,
        images=images,
        participants=row_names(cohort),
        n_splits=count_splits(config, people),
        planted=planted,
        descriptions=descriptions if descriptions and descriptions.exists() else None,
        atlas=atlas,
        masks_file=write_masks(masks, cohort_file.with_name(MASKS_FILE)) if masks else None,
    )


def require_grids(cohort: pd.DataFrame, config: PipelineConfig) -> dict[str, Grid]:
    """Return the grid of each measure; require one grid if they are stacked along subjects.

    Raises
    ------
    ImageError
        Headers of images are damaged, or images are on different grids.
    """
    measures = config.matrix.measures
    grids = {}
    for name in config.inputs.names:
        with naming_subjects(images_of(cohort, name), row_names(cohort)):
            grids[name] = grid_of(images_of(cohort, name), config)
    if measures is not None and measures.stack == "subjects":
        require_one_grid(grids)
    return grids


def _split_once(config: PipelineConfig, inputs: InputsConfig) -> InputsConfig:
    """Return the settings of one file per subject, which the work folder keeps for all runs."""
    assert inputs.features is not None
    with work_locked(config):
        cache = Cache(work_dir(config))
        tables = [*inputs.features, *([inputs.participants] if inputs.participants else [])]
        digests = [file_digest(path) for path in tables if path.is_file()]
        settings = inputs.settings()
        made = cache.stage("features", digests, settings, lambda out: split_table(inputs, out))
    return table_inputs(inputs, made.folder / SUBJECTS_FILE)


def space_entities(config: PipelineConfig, images: Sequence[str]) -> str:
    """Return the BIDS entities space, res and den of the maps, such as ``space-MNI152_``."""
    entities = {"space": config.output.space or common_entity(images, "space")}
    if config.matrix.resample is None and config.matrix.voxel_size is None:
        entities |= {name: common_entity(images, name) for name in ("res", "den")}
    return "".join(f"{name}-{value}_" for name, value in entities.items() if value)


def without_empty(
    cohort: pd.DataFrame, config: PipelineConfig, masks: Masks, track: Track
) -> pd.DataFrame:
    """Return the rows of a cohort whose images are not zero everywhere in the mask.

    Parameters
    ----------
    cohort : DataFrame
        ``participant_id`` and ``image``, one row per subject.
    config : PipelineConfig
        Settings of the mask and of the preprocessing.
    masks : mapping of str to ImageMask
        Masks of missing voxels.
    track : callable
        Shows progress.

    Raises
    ------
    ImageError
        Images cannot be read or are on different grids, or the mask is empty.
    """
    images, names = cohort["image"].tolist(), row_names(cohort)
    with naming_subjects(images, names):
        grid = grid_of(images, config)
        empty = empty_images(
            images,
            grid,
            config.mask,
            config.matrix,
            masks=masks,
            only_brain=only_brain_of(images, config),
            n_procs=n_procs_of(config.execution),
            track=track,
        )
    if empty:
        logger.warning(EMPTY_MSG, len(empty), ", ".join(names[n] for n in empty))
    return cohort.drop(index=cohort.index[empty]).reset_index(drop=True)


def grid_of(images: Sequence[str], config: PipelineConfig) -> Grid:
    """Return the grid of the analysis; require that all images are on it or can be resampled.

    Raises
    ------
    ImageError
        Headers of images are damaged, or images are on different grids.
    """
    space = space_of(images[0]).images
    space.check_grids(images, images[0], resampled=config.matrix.resample is not None)
    return space.analysis_grid(images[0], config.mask.image, config.matrix)


def only_brain_of(images: Sequence[str], config: PipelineConfig) -> bool:
    """Tell whether the mask excludes voxels outside the brain of the template."""
    standard = space_of(images[0]).images.standard_space(images[0])
    return config.mask.only_brain(in_standard_space=standard is not None)


def drawn_on_template(background: str, space: str, *, in_standard_space: bool) -> bool:
    """Tell whether figures are drawn on the template.

    Parameters
    ----------
    background : {'auto', 'template', 'mean'}
        Setting ``report.background``.
    space : str
        BIDS entities of the maps, such as ``space-MNI152_``; 'auto' draws on the template if they
        name an MNI space.
    in_standard_space : bool
        Whether the images are in the space of the template; 'auto' decides by it if the entities
        name no space.
    """
    in_space = "space-MNI" in space if "space-" in space else in_standard_space
    return background == "template" or (background == "auto" and in_space)


def work_dir(config: PipelineConfig) -> Path:
    """Return the folder of intermediate results.

    Raises
    ------
    ConfigError
        ``output.dir`` is not set, or it is this folder, too.
    """
    folder = config.execution.work_dir or output_dir(config) / WORK
    if config.output.dir is not None and folder.resolve() == config.output.dir.resolve():
        raise ConfigError(SAME_FOLDER_MSG.format(folder=folder))
    return folder


def work_locked(config: PipelineConfig) -> AbstractContextManager[None]:
    """Return a context manager that locks the folder of intermediate results."""
    return only_run(work_dir(config), "execution.work_dir", "--work-dir")


def output_dir(config: PipelineConfig) -> Path:
    """Return the output folder.

    Raises
    ------
    ConfigError
        ``output.dir`` is not set.
    """
    if config.output.dir is None:
        raise ConfigError(NO_OUTPUT_MSG)
    return config.output.dir


def count_splits(config: PipelineConfig, cohort: pd.DataFrame) -> int:
    """Return the number of splits of a cohort; require that each part has enough subjects.

    Parameters
    ----------
    config : PipelineConfig
        The settings.
    cohort : DataFrame
        ``participant_id`` and covariates, one row per column of the matrix.

    Raises
    ------
    ConfigError
        There are fewer subjects than components in a fit, or a column of the settings does not
        exist.
    SelectionError
        The cohort cannot be split by the columns of the settings.
    """
    check_rank(config, config.ranks, len(cohort), "subjects")
    splits = split_cohort(cohort, config.splits)
    check_splits(config, splits)
    return len(splits)


def determining_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings that the results depend on.

    The sections ``execution`` and ``report`` are left out, and so are the output folder, authors
    and licence. The candidates are the numbers of components that are compared; there are none if
    nothing is compared.
    """
    settings = _without(config.settings(), "execution", "report")
    compared = config.compared if config.selection.is_study else ()
    return settings | {"selection": settings["selection"] | {"candidates": sorted(compared)}}


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the report shows: those that can change its content.

    Parameters
    ----------
    settings : dict
        All settings of a run, as in ``logs/config.yaml``.
    """
    shown = _without(settings)
    return {**shown, "execution": {"engine": settings["execution"]["engine"]}}


def _without(settings: Mapping[str, Any], *sections: str) -> dict[str, Any]:
    kept = {name: dict(part) for name, part in settings.items() if name not in sections}
    for section, keys in NOT_OF_RESULTS.items():
        for key in keys:
            kept[section].pop(key, None)
    return kept
