"""A run from settings to output dataset, whichever engine computes it."""

from __future__ import annotations

import importlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.engines import local
from opnmf_pipeline.engines.cache import Cache, only_run
from opnmf_pipeline.engines.results import Results, publish
from opnmf_pipeline.engines.study import (
    Study,
    collect_study,
    determining_settings,
    output_dir,
    work_dir,
)
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.volumes import image_files
from opnmf_pipeline.logs import log_file
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.runs.monitor import resources_watched
from opnmf_pipeline.runs.page import write_report
from opnmf_pipeline.runs.record import run_record
from opnmf_pipeline.stages.decompose import read_factorization
from opnmf_pipeline.stages.quality import assess_cohort

__all__ = ["Summary", "run", "run_share"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What a run found.

    Attributes
    ----------
    n_subjects, n_voxels : int
        Size of the matrix.
    what : str
        What its columns are: subjects, or sessions of how many subjects.
    metrics : DataFrame
        One row per number of components (``desc-opnmf_metrics.tsv``).
    choice : dict or None
        The chosen number of components and why (``desc-opnmf_selection.json``).
    computed : list of str
        Stages that were computed; the others were reused from an earlier run.
    outputs : OutputFolder
        Paths of what was written, by name.
    """

    n_subjects: int
    n_voxels: int
    what: str
    metrics: pd.DataFrame
    choice: dict[str, Any] | None
    computed: list[str]
    outputs: OutputFolder


def _choice(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def run(config: PipelineConfig, display: Display | None = None) -> Summary:
    """Run every stage that has not been run before with the same inputs and settings.

    Parameters
    ----------
    config : PipelineConfig
        Settings; ``output.dir`` must be set.
    display : Display, optional
        Shows progress. Default: nothing is shown.

    Returns
    -------
    Summary
        What was found and where it is.

    Raises
    ------
    OPNMFError
        A setting, an image or the output folder is wrong; the message says what to do.
    """
    display = display or SilentDisplay()
    output = OutputFolder(
        output_dir(config), determining_settings(config), overwrite=config.output.overwrite
    )
    with TemporaryDirectory() as folder:
        # before anything is written: a cohort that cannot be found leaves no trace
        study = collect_study(config, Path(folder) / "cohort.tsv")
        display.note(f"collect: {len(study.images)} {study.what}")
        with only_run(work_dir(config)):
            return _run(study, output, display)


def run_share(
    config: PipelineConfig, number: int, n_shares: int, display: Display | None = None
) -> list[str]:
    """Compute one share of the fits; a run with the same settings finds them in ``work_dir``.

    For the tasks of a batch array. No results are written.

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
        Stages that were computed; the others were there from an earlier run.

    Raises
    ------
    OPNMFError
        A setting or an image is wrong; the message says what to do.
    """
    display = display or SilentDisplay()
    with TemporaryDirectory() as folder:
        study = collect_study(config, Path(folder) / "cohort.tsv")
        display.note(f"collect: {len(study.images)} {study.what}")
        results = Results(cohort=study.cohort_file, planted=study.planted)
        with only_run(work_dir(config)):
            local.compute_share(study, results, display, number, n_shares)
    return results.computed


def _run(study: Study, output: OutputFolder, display: Display) -> Summary:
    results = Results(cohort=study.cohort_file, planted=study.planted)
    output.space = study.space
    output.register("running")
    status = "failed"
    with log_file(output.path("log")):
        try:
            with resources_watched(output, study.config.execution.resource_monitor):
                _compute(study, results, output, display)
            if results.maps:
                write_report(output)
            status = "finished"
        except BaseException as error:
            logger.info("failed: %s: %s", type(error).__name__, error)
            raise
        finally:
            output.register(status)
    fit = read_factorization(next(iter(results.fits.values())))
    return Summary(
        n_subjects=fit.H.shape[1],
        n_voxels=fit.W.shape[0],
        what=study.what,
        metrics=pd.read_csv(output.path("metrics"), sep="\t"),
        choice=_choice(output.path("selection")),
        computed=results.computed,
        outputs=output,
    )


def _compute(study: Study, results: Results, output: OutputFolder, display: Display) -> None:
    """Compute, and publish each finished number of components, whatever stops the run."""
    config, started = study.config, time.monotonic()
    engine = importlib.import_module(f"opnmf_pipeline.engines.{config.execution.engine}")
    try:
        engine.compute(study, results, display)
        _assess(study, results, display)
    finally:
        if results.computed:
            seconds = time.monotonic() - started
            output.runs.append(run_record(results.computed, seconds, study.n_procs))
        if results.maps or results.selection is not None:
            publish(results, output, config)


def _assess(study: Study, results: Results, display: Display) -> None:
    """Look at the quality of the images, and take their digests."""
    assert results.matrix is not None
    assert results.mask is not None
    matrix_file, mask_file = results.matrix, results.mask
    cache = Cache(work_dir(study.config))
    quality = cache.stage(
        "quality",
        [read_matrix(matrix_file)[1]["SHA256"], *cache.digests([mask_file])],
        None,
        lambda out: assess_cohort(matrix_file, mask_file, out),
    )
    results.quality = quality.folder
    if not quality.reused:
        results.computed.append("quality")
    display.note(f"quality: {'reused' if quality.reused else 'computed'}")
    results.digests = [" ".join(cache.digests(image_files(image))) for image in study.images]
