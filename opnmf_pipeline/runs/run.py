"""A run with any engine, from settings to output dataset."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.description import readme
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.disk import full_disk_named
from opnmf_pipeline.engines import local
from opnmf_pipeline.engines.graph import Job
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.resources import n_procs_of
from opnmf_pipeline.engines.steps import mask_step, matrix_step
from opnmf_pipeline.images.mask import describe_mask
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.space import Mask
from opnmf_pipeline.locks import only_run
from opnmf_pipeline.logs import log_file
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.runs.compare import compare_finished
from opnmf_pipeline.runs.errors import naming_subjects, naming_tables
from opnmf_pipeline.runs.limits import check_memory, check_units
from opnmf_pipeline.runs.measures import tables_of
from opnmf_pipeline.runs.monitor import resources_watched
from opnmf_pipeline.runs.publish import publish
from opnmf_pipeline.runs.record import run_record
from opnmf_pipeline.runs.study import (
    Study,
    collect_study,
    determining_settings,
    output_dir,
    work_dir,
    work_locked,
)
from opnmf_pipeline.stages.matrix import MATRIX_FILE
from opnmf_pipeline.stages.select import SELECTION_FILES
from opnmf_pipeline.stages.spaces import open_mask, space_of, stated_space
from opnmf_pipeline.tables import as_typed, read_table

__all__ = ["Summary", "run", "run_share"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """Results of a run.

    Attributes
    ----------
    n_subjects, n_voxels : int
        Numbers of columns and rows of the matrix.
    what : str
        What the columns are, for messages: ``subjects``, ``sessions of 40 subjects``, or ``changes
        of subjects``.
    elements : str
        What the rows are, for messages: ``voxels``.
    mask : str
        What the rows have in common.
    metrics : DataFrame
        One row per number of components (``desc-opnmf_metrics.tsv``).
    choice : dict or None
        The chosen number of components and the reason (``desc-opnmf_selection.json``).
    computed : list of str
        Titles of the jobs that were computed; the others were reused from an earlier run.
    outputs : OutputFolder
        Paths of the output files, by name.
    """

    n_subjects: int
    n_voxels: int
    what: str
    elements: str
    mask: str
    metrics: pd.DataFrame
    choice: dict[str, Any] | None
    computed: list[str]
    outputs: OutputFolder


def _choice(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def run(config: PipelineConfig, display: Display | None = None) -> Summary:
    """Run all stages; reuse the results of earlier runs with the same inputs and settings.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``output.dir`` must be set.
    display : Display, optional
        Shows progress. Default: nothing is shown.

    Returns
    -------
    Summary
        Results and their paths.

    Raises
    ------
    OPNMFError
        A setting, an image or the output folder is wrong, or jobs failed. The message says what to
        do.
    """
    display = display or SilentDisplay()
    _output(config)
    with full_disk_named(output_dir(config)), TemporaryDirectory() as folder:
        # The cohort comes first, so that nothing is written if it cannot be found
        study = collect_study(config, Path(folder) / "cohort.tsv", display.track)
        display.note(f"collect: {study.counted}")
        if stated := stated_space(space_of(study.images[0]).images, study.standard_space):
            display.note(f"space: {stated}")
        with only_run(output_dir(config), "output.dir", "--output"), work_locked(config):
            output = _output(config)  # again: another run may have ended since
            output.sweep()
            return _run(study.moved_to(work_dir(config)), output, display)


def _output(config: PipelineConfig) -> OutputFolder:
    settings, overwrite = determining_settings(config), config.output.overwrite
    return OutputFolder(output_dir(config), settings, overwrite=overwrite)


def run_share(
    config: PipelineConfig, number: int, n_shares: int, display: Display | None = None
) -> list[str]:
    """Compute one share of the fits, in one task of a batch array.

    The fits are kept in ``work_dir``, where a run with the same settings finds them. The output
    dataset is not written.

    Parameters
    ----------
    config : PipelineConfig
        Settings.
    number : int
        Number of the share, from 1.
    n_shares : int
        Number of shares.
    display : Display, optional
        Shows progress. Default: nothing is shown.

    Returns
    -------
    list of str
        Titles of the jobs that were computed; the others were reused from an earlier run.

    Raises
    ------
    OPNMFError
        A setting or an image is wrong. The message says what to do.
    """
    display = display or SilentDisplay()
    with full_disk_named(work_dir(config)), TemporaryDirectory() as folder:
        study = collect_study(config, Path(folder) / "cohort.tsv", display.track)
        display.note(f"collect: {study.counted}")
        graph = local.share_of(study.graph, number, n_shares)
        outcome = Outcome(display, _check_of(config))
        with work_locked(config), _naming(study):
            study = study.moved_to(work_dir(config))
            local.compute(graph, study.given, config, work_dir(config), outcome, display)
    return outcome.computed


@contextmanager
def _naming(study: Study) -> Iterator[None]:
    """Name the subjects, and the tables of the user, in errors about images."""
    tables = tables_of(study.images, study.config.inputs)
    with naming_tables(tables), naming_subjects(study.images, study.names):
        yield


def _run(study: Study, output: OutputFolder, display: Display) -> Summary:
    outcome = Outcome(display, _check_of(study.config))
    output.space, output.endings = study.space, study.endings
    output.register("running")
    status = "failed"
    with log_file(output.path("log")):
        try:
            watched = resources_watched(output, study.config.execution.resource_monitor)
            with watched, _naming(study):
                _compute(study, outcome, output, display)
            status = "finished"
        except BaseException as error:
            logger.info("failed: %s: %s", type(error).__name__, error)
            raise
        finally:
            if output.has("dataset"):
                text = readme(study.config.settings(), output.names)
                output.write_text("readme", text)
            output.register(status)
    n_voxels, n_subjects = _shape(study.config, outcome)
    selection_dir = outcome.path("select", "selection_dir")
    assert selection_dir is not None
    mask, options = _mask(study.config, outcome), study.config.mask
    only_brain = options.only_brain(in_standard_space=mask.in_standard_space)
    return Summary(
        n_subjects=n_subjects,
        n_voxels=n_voxels,
        what=study.columns,
        elements=mask.grid.elements,
        mask=describe_mask(options, mask.grid, only_brain=only_brain),
        metrics=as_typed(read_table(selection_dir / SELECTION_FILES["metrics"])),
        choice=_choice(selection_dir / SELECTION_FILES["selection"]),
        computed=outcome.computed,
        outputs=output,
    )


def _check_of(config: PipelineConfig) -> Callable[[Job, Mapping[str, Any]], None]:
    def check(job: Job, outputs: Mapping[str, Any]) -> None:
        if job.step.name == matrix_step(config):
            check_memory(config, Path(outputs["matrix_dir"]))

    return check


def _shape(config: PipelineConfig, outcome: Outcome) -> tuple[int, int]:
    matrix_dir = outcome.path(matrix_step(config), "matrix_dir")
    assert matrix_dir is not None
    n_voxels, n_subjects = read_matrix(matrix_dir / MATRIX_FILE)[0].shape
    return n_voxels, n_subjects


def _mask(config: PipelineConfig, outcome: Outcome) -> Mask:
    mask_file = outcome.path(mask_step(config), "mask_file")
    assert mask_file is not None
    return open_mask(mask_file)


def _compute(study: Study, outcome: Outcome, output: OutputFolder, display: Display) -> None:
    """Compute, and publish every finished number of components, also if the run is stopped."""
    config, started = study.config, time.monotonic()
    engine = importlib.import_module(f"opnmf_pipeline.engines.{config.execution.engine}")
    try:
        engine.compute(study.graph, study.given, config, work_dir(config), outcome, display)
    except Exception:  # the finished fits are compared and published before the run ends
        compare_finished(study, outcome)
        raise
    finally:
        if (quality_dir := outcome.path("quality", "quality_dir")) is not None:
            check_units(quality_dir)
        if outcome.computed:
            seconds = time.monotonic() - started
            n_procs = n_procs_of(config.execution)
            output.runs.append(run_record(outcome.computed, seconds, n_procs))
        if outcome.paths("maps", "maps_dir") or outcome.paths("select", "selection_dir"):
            publish(study, outcome, output)
