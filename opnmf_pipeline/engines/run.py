"""A run from settings to output dataset, whichever engine computes it."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.cache import only_run
from opnmf_pipeline.engines.results import Results, publish
from opnmf_pipeline.engines.study import (
    collect_study,
    determining_settings,
    output_dir,
    work_dir,
)
from opnmf_pipeline.logs import log_file
from opnmf_pipeline.outputs import OutputFolder, settings_yaml
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.stages.decompose import read_factorization
from opnmf_pipeline.stages.report import make_report

__all__ = ["Summary", "run"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """What a run found.

    Attributes
    ----------
    n_subjects, n_voxels : int
        Size of the matrix.
    metrics : DataFrame
        One row per number of components (``desc-opnmf_metrics.tsv``).
    computed : list of str
        Stages that were computed; the others were reused from an earlier run.
    outputs : OutputFolder
        Paths of what was written, by name.
    """

    n_subjects: int
    n_voxels: int
    metrics: pd.DataFrame
    computed: list[str]
    outputs: OutputFolder


def _report(config: PipelineConfig, results: Results, out_file: Path) -> None:
    ks = sorted(results.fits)
    assert results.metrics is not None
    results.report = make_report(
        results.metrics,
        [results.fits[k] for k in ks],
        [results.maps[k] / "dseg.tsv" for k in ks],
        [
            (results.figures[k] / "components.png", results.figures[k] / "dseg.png")
            for k in ks
            if k in results.figures
        ],
        out_file,
        settings_yaml(determining_settings(config)),
    )


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
    engine = importlib.import_module(f"opnmf_pipeline.engines.{config.execution.engine}")
    with TemporaryDirectory() as folder, only_run(work_dir(config)):
        study = collect_study(config, Path(folder) / "cohort.tsv")
        display.note(f"collect: {len(study.images)} subjects")
        results = Results(cohort=study.cohort_file, planted=study.planted)
        output.space = study.space
        output.register("running")
        status = "failed"
        with log_file(output.path("log")):
            try:
                engine.compute(study, results, display)
                _report(config, results, Path(folder) / "report.html")
                status = "finished"
            except BaseException as error:
                logger.info("failed: %s: %s", type(error).__name__, error)
                raise
            finally:
                if results.maps:  # each finished k is kept, whatever stopped the run
                    publish(results, output, config.settings())
                output.register(status)
        fit = read_factorization(next(iter(results.fits.values())))
    return Summary(
        n_subjects=fit.H.shape[1],
        n_voxels=fit.W.shape[0],
        metrics=pd.read_csv(output.path("metrics"), sep="\t"),
        computed=results.computed,
        outputs=output,
    )
