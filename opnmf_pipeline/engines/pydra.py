"""The stages as a Pydra workflow."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.medimage import NiftiGz
from fileformats.text import Tsv
from pydra.compose import python, workflow
from pydra.engine.submitter import Submitter
from pydra.engine.workflow import Workflow
from pydra.workers import slurm
from threadpoolctl import threadpool_limits

from opnmf_pipeline import __version__
from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.memory import stage_bytes
from opnmf_pipeline.engines.pydra_jobs import (
    EVENTS,
    Follower,
    job_hooks,
    rank_hooks,
    unreported,
)
from opnmf_pipeline.engines.results import Results, compare_finished
from opnmf_pipeline.engines.study import Study, work_dir
from opnmf_pipeline.exceptions import ConfigError, EngineError
from opnmf_pipeline.nodes.pydra import (
    BuildMatrix,
    Decompose,
    DrawFigures,
    FitHalves,
    FitPermuted,
    MakeMask,
    MakeSplits,
    SelectRank,
    WriteMaps,
)
from opnmf_pipeline.progress import Display

__all__ = ["OpnmfWorkflow", "RankWorkflow", "SlurmWorker", "compute", "workflow_settings"]

logger = logging.getLogger(__name__)

DEFAULT_WORKER = "cf"
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
HASH_CACHE = "PYDRA_HASH_CACHE"
HASHES = "hashes"
FAILED_MSG = "jobs failed:\n{reasons}\nmend the cause and run the same command again"
ERROR_FILE_MSG = (
    "execution.plugin_args: sbatch_args: remove {option}; Pydra needs to choose the file itself"
)


@workflow.define(
    outputs={
        "factorization_dir": workflow.out(type=Directory, help="folder of Decompose"),
        "maps_dir": workflow.out(type=Directory, help="maps, labels, loadings"),
        "figures_dir": workflow.out(type=Directory | None, help="pictures, where asked for"),
    }
)
def RankWorkflow(
    matrix_dir: Directory,
    mask_file: NiftiGz,
    n_components: int,
    decomposition: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    figures: bool = True,
    on_template: bool = True,
) -> Any:
    """From the matrix to maps and figures, for one number of components.

    Parameters
    ----------
    matrix_dir : Directory
        Folder of BuildMatrix.
    mask_file : NiftiGz
        Its mask.
    n_components : int
        Number of components.
    decomposition : dict
        Settings of the fit that differ from the defaults.
    figures : bool
        Draw pictures.
    on_template : bool
        Draw on the MNI152 template, not on the mean of the subjects.
    """
    add = partial(workflow.add, hooks=job_hooks())
    fit = add(
        Decompose(matrix_dir=matrix_dir, n_components=n_components, **decomposition),
        name="decompose",
    ).factorization_dir
    maps = add(WriteMaps(factorization_dir=fit, mask_file=mask_file), name="maps")
    figures_dir = None
    if figures:
        figures_dir = add(
            DrawFigures(
                components_file=maps.components_file,
                labels_file=maps.labels_file,
                matrix_dir=matrix_dir,
                mask_file=mask_file,
                on_template=on_template,
            ),
            name="figures",
        ).figures_dir
    return fit, maps.maps_dir, figures_dir


@python.define(outputs={"merged": python.out(type=list[Directory], help="all of them")})
def Merge(first: list[Directory], second: list[Directory]) -> Any:
    """Join two lists."""
    return [*first, *second]


@workflow.define(
    outputs={
        "mask_file": workflow.out(type=NiftiGz, help="voxels of the analysis"),
        "matrix_dir": workflow.out(type=Directory, help="folder of BuildMatrix"),
        "factorization_dirs": workflow.out(
            type=list[Directory], help="fits, one per number of components"
        ),
        "maps_dirs": workflow.out(type=list[Directory], help="maps, labels, loadings of each fit"),
        "figures_dirs": workflow.out(
            type=list[Directory | None], help="pictures of each fit, where asked for"
        ),
        "metrics_file": workflow.out(type=Tsv, help="one row of indices per number of components"),
        "metrics_json": workflow.out(type=Json, help="description of these indices"),
        "selection_dir": workflow.out(type=Directory, help="tables, choice, pictures"),
    }
)
def OpnmfWorkflow(
    images: list[File],
    participants: list[str],
    n_components: list[int],
    covariates: Tsv | None = None,
    candidates: list[int] = attrs.Factory(list),  # noqa: B008
    mask: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    matrix: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    decomposition: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    splits: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    permutation_seeds: list[int] = attrs.Factory(list),  # noqa: B008
    choice: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    planted: NiftiGz | None = None,
    figures: bool = True,
    on_template: bool = True,
) -> Any:
    """From images to maps, figures and metrics, for each number of components.

    Parameters
    ----------
    images : list[File]
        One 3D image per subject.
    participants : list[str]
        Identifier of each subject, in the order of images.
    n_components : list[int]
        Numbers of components that get maps.
    covariates : Tsv, optional
        Table of the subjects, where the splits need it.
    candidates : list[int]
        Further numbers of components to compare with.
    mask : dict
        Settings of the mask that differ from the defaults.
    matrix : dict
        Settings of the matrix that differ from the defaults.
    decomposition : dict
        Settings of the fits that differ from the defaults.
    splits : dict
        Settings of MakeSplits; empty for no splits.
    permutation_seeds : list[int]
        Seed of each permutation.
    choice : dict
        ``rule`` and ``rank_range`` of SelectRank, where they are set.
    planted : NiftiGz, optional
        Label map of the truth, if known.
    figures : bool
        Draw pictures.
    on_template : bool
        Draw on the MNI152 template, not on the mean of the subjects.
    """
    add = partial(workflow.add, hooks=job_hooks())
    mask_file = add(MakeMask(images=images, **mask, **matrix), name="mask").mask_file
    matrix_dir = add(
        BuildMatrix(images=images, participants=participants, mask_file=mask_file, **matrix),
        name="matrix",
    ).matrix_dir
    fitted = maps = pictures = compared = []
    if n_components:
        # A workflow of its own for each number of components: after a job that failed Pydra runs
        # nothing that depends on the same node, and so one k would take the maps of all with it.
        rank = RankWorkflow(
            matrix_dir=matrix_dir,
            mask_file=mask_file,
            decomposition=decomposition,
            figures=figures,
            on_template=on_template,
        )
        fits = workflow.add(
            rank.split(n_components=n_components).combine("n_components"),
            name="rank",
            hooks=rank_hooks(),
        )
        compared = fitted = fits.factorization_dir
        maps, pictures = fits.maps_dir, fits.figures_dir
    if candidates:
        fit = Decompose(matrix_dir=matrix_dir, **decomposition)
        others = add(
            fit.split(n_components=candidates).combine("n_components"), name="candidate"
        ).factorization_dir
        compared = (
            workflow.add(Merge(first=fitted, second=others)).merged if n_components else others
        )
    ks = [*n_components, *candidates]
    halves: Any = []
    if splits:
        varied = {
            "n_components": ks,
            "split_file": add(
                MakeSplits(participants=participants, covariates=covariates, **splits),
                name="splits",
            ).split_files,
        }
        half_fits = FitHalves(matrix_dir=matrix_dir, **decomposition)
        halves = add(
            half_fits.split(list(varied), **varied).combine(list(varied)), name="halves"
        ).halves_file
    permuted: Any = []
    if permutation_seeds:
        seeds = {"n_components": ks, "seed": permutation_seeds}
        null_fits = FitPermuted(matrix_dir=matrix_dir, **decomposition)
        permuted = add(
            null_fits.split(list(seeds), **seeds).combine(list(seeds)), name="permuted"
        ).permuted_file
    selection = add(
        SelectRank(
            factorization_dirs=compared,
            mask_file=mask_file,
            halves_files=halves,
            permuted_files=permuted,
            planted=planted,
            draw=figures,
            **choice,
        ),
        name="select",
    )
    return (
        mask_file,
        matrix_dir,
        fitted,
        maps,
        pictures,
        selection.metrics_file,
        selection.metrics_json,
        selection.selection_dir,
    )


def compute(study: Study, results: Results, display: Display) -> None:
    """Run the workflow and note the files of each finished job in ``results``.

    Parameters
    ----------
    study : Study
        Settings and cohort.
    results : Results
        Gets the files of each finished job.
    display : Display
        Shows one line per job; the log of Pydra is shown where this package logs at DEBUG.

    Raises
    ------
    EngineError
        Jobs failed; names them, their errors and their folders.
    """
    cache_root = work_dir(study.config) / f"pydra-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    _tidy(cache_root)
    # Pydra finds a workflow that it has built before by the content of its inputs; the paths in it
    # would be those of an earlier run in this process, which may be gone.
    Workflow.clear_cache()
    follower = Follower(cache_root / EVENTS, results, display)
    threads = _threads_per_job(study)
    with (
        _quiet(),
        _environment(dict.fromkeys(THREAD_LIMITS, str(threads)) | _hash_cache(cache_root)),
        threadpool_limits(threads),
        follower,
        # Each job is found in the cache, or not, by itself: so each has its line
        Submitter(cache_root, propagate_rerun=False, **_worker(study, threads)) as submitter,
    ):
        result = submitter(_task(study), raise_errors=False, rerun=True)
    if result.errored:
        compare_finished(study, results)
        reasons = follower.failed or unreported(result)
        raise EngineError(FAILED_MSG.format(reasons="\n".join(reasons)))


def _tidy(cache_root: Path) -> None:
    """Remove what failed or was interrupted in an earlier run.

    Pydra takes the error of an earlier run for one of this run where it looks before the job
    has started again, and waits for ever for a lock that nobody holds.
    """
    for error in cache_root.glob("*/_error.pklz"):
        shutil.rmtree(error.parent)
    for lock in (*cache_root.glob("*.lock"), *cache_root.glob(f"{HASHES}/*.lock")):
        lock.unlink()
    shutil.rmtree(cache_root / EVENTS, ignore_errors=True)
    (cache_root / EVENTS).mkdir()


def _worker(study: Study, threads: int) -> dict[str, Any]:
    execution = study.config.execution
    match execution.plugin or DEFAULT_WORKER:
        case "cf":
            return {"worker": "cf", "n_procs": study.n_procs // threads, **execution.plugin_args}
        case "slurm":
            return {"worker": SlurmWorker, "threads": threads, **execution.plugin_args}
        case name:
            return {"worker": name, **execution.plugin_args}


def workflow_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings as inputs of :func:`OpnmfWorkflow`; ``inputs``, ``output`` are not used.

    Parameters
    ----------
    config : PipelineConfig
        Settings.
    """
    mapped, selection = config.decomposition.n_components, config.selection
    choice = {"rule": selection.rule_used, "rank_range": selection.range and list(selection.range)}
    return {
        "n_components": list(mapped),
        "candidates": [k for k in config.ranks if k not in mapped],
        "mask": config.mask.model_dump(mode="json", exclude_none=True),
        "matrix": config.matrix.model_dump(mode="json", exclude_none=True),
        "decomposition": config.decomposition.of_each_fit(),
        "splits": selection.of_splits() if selection.has_splits else {},
        "permutation_seeds": selection.permutation_seeds,
        "choice": {name: value for name, value in choice.items() if value is not None},
        "figures": config.report.figures,
        "on_template": config.report.background != "mean",
    }


def _task(study: Study) -> Any:
    settings = workflow_settings(study.config) | {"on_template": study.on_template}
    return OpnmfWorkflow(
        images=study.images,
        participants=study.participants,
        covariates=study.cohort_file if study.n_splits else None,
        planted=study.planted,
        **settings,
    )


def _threads_per_job(study: Study) -> int:
    """Divide the threads among the fits that can run side by side."""
    return min(study.n_threads, max(1, study.n_procs // study.n_fits))


def _hash_cache(cache_root: Path) -> dict[str, str]:
    """Keep what Pydra knows of files with the run: a home folder may not be writable."""
    return {HASH_CACHE: os.environ.get(HASH_CACHE, str(cache_root / HASHES))}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables meanwhile; workers inherit them."""
    before = {name: os.environ[name] for name in values if name in os.environ}
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Show what Pydra logs only where this package logs at DEBUG."""
    pydra_logger = logging.getLogger("pydra")
    before = pydra_logger.level
    if not logger.isEnabledFor(logging.DEBUG):
        pydra_logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        pydra_logger.setLevel(before)


@attrs.define(getstate_setstate=False)  # a worker that has run pickles only as Pydra does it
class SlurmWorker(slurm.Worker):  # type: ignore[misc]
    """Slurm worker that asks for the memory of each job, from the size of its matrix.

    Parameters
    ----------
    threads : int
        CPUs that each job asks for.
    sbatch_args : str
        Further arguments; a ``--mem`` or ``--cpus-per-task`` in it takes the place of ours.
    """

    _plugin_name = "slurm"

    threads: int = 1

    def __attrs_post_init__(self) -> None:
        """Refuse what Pydra would stumble over once the first job has been submitted."""
        if option := re.search(r"(?:^|\s)(-e|--error)\b", self.sbatch_args):
            raise ConfigError(ERROR_FILE_MSG.format(option=option[1]))

    async def run(self, job: Any, rerun: bool = False) -> Any:
        """Submit one job and wait for its end."""
        wanted = {
            "--mem": f"{math.ceil(stage_bytes(job.task) / 2**20)}M",
            "--cpus-per-task": str(self.threads),
        }
        added = [
            f"{name}={value}" for name, value in wanted.items() if name not in self.sbatch_args
        ]
        sized = attrs.evolve(  # type: ignore[call-arg]
            self, sbatch_args=" ".join([*added, self.sbatch_args]).strip()
        )
        return await super(SlurmWorker, sized).run(job, rerun)

    async def _verify_exit_code(self, jobid: str) -> Any:
        """Take a job that ran out of time for failed, where Pydra would submit it for ever."""
        try:
            status = await super()._verify_exit_code(jobid)
        except (LookupError, OSError):  # it left no message
            status = "FAILED"
        if status in ("CANCELLED", "TIMEOUT", "FAILED"):
            raise RuntimeError(f"Slurm job {jobid}: {status}; see {self.error[jobid]}")
        return status
