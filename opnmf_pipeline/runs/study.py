"""The study of a run: its settings and the cohort that they name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.description import settings_yaml
from opnmf_pipeline.dataset.names import WORK
from opnmf_pipeline.engines.cache import Cache
from opnmf_pipeline.engines.steps import Graph, steps_of
from opnmf_pipeline.exceptions import ConfigError, ImageError
from opnmf_pipeline.files import written_whole
from opnmf_pipeline.images.bids import common_entity
from opnmf_pipeline.images.cohort import read_cohort, row_names
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.locks import only_run
from opnmf_pipeline.runs.limits import check_rank
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.splits import split_cohort

__all__ = [
    "Study",
    "collect_study",
    "count_splits",
    "determining_settings",
    "drawn_on_template",
    "naming_subjects",
    "output_dir",
    "shown_settings",
    "work_dir",
    "work_locked",
]

SAME_FOLDER_MSG = (
    "execution.work_dir: {folder} is the output folder; choose another folder with --work-dir"
)
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
    images, participants : list of str
        Image and name of each row of the cohort: a subject, or a session of a subject.
    n_splits : int
        Number of splits of the cohort.
    planted : path or None
        Label map of the true components, for a simulated cohort.
    """

    config: PipelineConfig
    cohort_file: Path
    images: list[str]
    participants: list[str]
    n_splits: int
    planted: Path | None

    @property
    def what(self) -> str:
        """What the rows of the cohort are, for messages, such as ``sessions of 40 subjects``."""
        subjects = {name.partition("_ses-")[0] for name in self.participants}
        several = len(subjects) < len(self.participants)
        return f"sessions of {len(subjects)} subjects" if several else "subjects"

    @property
    def space(self) -> str:
        """BIDS entities ``space``, ``res`` and ``den`` of the maps, such as ``space-MNI152_``."""
        config = self.config
        entities = {"space": config.output.space or common_entity(self.images, "space")}
        if config.matrix.resample is None and config.matrix.voxel_size is None:
            entities |= {name: common_entity(self.images, name) for name in ("res", "den")}
        return "".join(f"{name}-{value}_" for name, value in entities.items() if value)

    def moved_to(self, folder: Path) -> Study:
        """Return the study with the table of the subjects copied to a folder that all jobs read."""
        cohort_file = folder / self.cohort_file.name
        with written_whole(cohort_file) as partial:
            shutil.copyfile(self.cohort_file, partial)
        return replace(self, cohort_file=cohort_file)

    @property
    def graph(self) -> Graph:
        """All jobs of the run."""
        return Graph.of_steps(steps_of(self.config, self.n_splits))

    @property
    def given(self) -> dict[str, Any]:
        """Inputs of the graph."""
        return {
            "images": self.images,
            "participants": self.participants,
            "covariates": self.cohort_file,
            "planted": self.planted,
            "mesh": self.config.report.mesh,
            "on_template": drawn_on_template(self.config.report.background, self.space),
            "settings": settings_yaml(shown_settings(self.config.settings())),
        }


def collect_study(config: PipelineConfig, cohort_file: Path) -> Study:
    """Find or simulate the cohort that the settings name.

    Parameters
    ----------
    config : PipelineConfig
        The settings.
    cohort_file : path
        TSV to write: the table of the subjects.

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
    OutputError
        The folder of intermediate results cannot be written, for a simulated cohort.
    """
    inputs, planted = config.inputs, None
    if (simulation := inputs.simulation) is not None:
        with work_locked(config):
            made = Cache(work_dir(config)).stage(
                "simulate", [], simulation.model_dump(), lambda out: simulate(simulation, out)
            )
        inputs, planted = simulated_inputs(made.folder), made.folder / PLANTED_LABELS
    cohort = read_cohort(collect_cohort(inputs, cohort_file))
    return Study(
        config=config,
        cohort_file=cohort_file,
        images=cohort["image"].tolist(),
        participants=row_names(cohort),
        n_splits=count_splits(config, cohort),
        planted=planted,
    )


@contextmanager
def naming_subjects(images: Sequence[str], participants: Sequence[str]) -> Iterator[None]:
    """Add the name of the subject to an error that begins with the path of an image.

    The stages that read images know only their paths, which need not contain the subject.
    """
    try:
        yield
    except ImageError as error:
        names = dict(zip(images, participants, strict=True))
        path = str(error).partition(": ")[0]
        if path not in names:
            raise
        raise ImageError(f"{names[path]}: {error}") from None


def drawn_on_template(background: str, space: str) -> bool:
    """Tell whether figures are drawn on the template.

    Parameters
    ----------
    background : {'auto', 'template', 'mean'}
        Setting ``report.background``.
    space : str
        BIDS entities of the maps, such as ``space-MNI152_``; 'auto' draws on the template if they
        name an MNI space.
    """
    return background == "template" or (background == "auto" and "space-MNI" in space)


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
        ``participant_id`` and covariates, one row per subject.

    Raises
    ------
    ConfigError
        There are fewer subjects than components in a fit, or a column of the settings does not
        exist.
    SelectionError
        The cohort cannot be split by the columns of the settings.
    """
    check_rank(config, len(cohort), "subjects")
    splits = split_cohort(cohort, config.selection)
    for split in splits:
        what = "subjects of a half"
        if split.left_out is not None:
            column = config.selection.leave_out
            what = f"subjects of the smaller part when {column} {split.left_out} is left out"
        check_rank(config, min(map(len, split.halves)), what)
    return len(splits)


def determining_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings that the results depend on.

    The sections ``execution`` and ``report`` and the output folder are left out.
    """
    return _without(config.settings(), "execution", "report")


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
    for section, keys in (("output", ("dir", "overwrite")), ("inputs", ("database_dir",))):
        for key in keys:
            kept[section].pop(key, None)
    return kept
