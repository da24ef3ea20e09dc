"""The stages as a Pydra workflow."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import nibabel as nb
from fileformats.application import Json
from fileformats.generic import Directory, File
from fileformats.medimage import NiftiGz
from fileformats.text import Tsv
from pydra.compose import python, workflow
from pydra.engine.hooks import TaskHooks
from threadpoolctl import threadpool_limits

from opnmf_pipeline import __version__
from opnmf_pipeline.engines.results import FACTORIZATION, Results, stage_title
from opnmf_pipeline.engines.study import Study, work_dir
from opnmf_pipeline.exceptions import EngineError
from opnmf_pipeline.nodes.pydra import (
    BuildMatrix,
    Decompose,
    DrawFigures,
    FitHalf,
    MakeMask,
    SelectRank,
    WriteMaps,
)
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.decompose import read_factorization

__all__ = ["OpnmfWorkflow", "compute"]

DEFAULT_WORKER = "cf"
EVENTS = "events.jsonl"
POLL_S = 0.2
FAILED_MSG = "jobs failed:\n{reasons}\nmend the cause and run the same command again"


@python.define(outputs=["folder"])
def Gather(folder: Directory) -> Directory:
    """Return a folder as it is, to be combined over the numbers of components."""
    return folder


@workflow.define(
    outputs={
        "mask_file": workflow.out(type=NiftiGz, help="voxels of the analysis"),
        "factorization_dirs": workflow.out(
            type=list[Directory], help="fits, one per number of components"
        ),
        "maps_dirs": workflow.out(type=list[Directory], help="maps, labels, loadings of each fit"),
        "figures_dirs": workflow.out(type=list[Directory], help="pictures of each fit"),
        "metrics_file": workflow.out(type=Tsv, help="one row of indices per number of components"),
        "metrics_json": workflow.out(type=Json, help="description of these indices"),
    }
)
def OpnmfWorkflow(
    images: list[File],
    participants: list[str],
    n_components: list[int],
    mask: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    matrix: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    decomposition: dict[str, Any] = attrs.Factory(dict),  # noqa: B008
    n_splits: int = 0,
    split_random_state: int = 0,
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
        Numbers of components.
    mask : dict
        Settings of the mask that differ from the defaults.
    matrix : dict
        Settings of the matrix that differ from the defaults.
    decomposition : dict
        Settings of the fits that differ from the defaults.
    n_splits : int
        Random halvings of the cohort.
    split_random_state : int
        Seed of the halvings.
    planted : NiftiGz, optional
        Label map of the truth, if known.
    figures : bool
        Draw pictures.
    on_template : bool
        Draw on the MNI152 template, not on the mean of the subjects.
    """
    add = partial(workflow.add, hooks=TaskHooks(post_run_task=_report))
    mask_file = add(MakeMask(images=images, **mask, **matrix), name="mask").mask_file
    matrix_dir = add(
        BuildMatrix(images=images, participants=participants, mask_file=mask_file, **matrix),
        name="matrix",
    ).matrix_dir
    fit = add(
        Decompose(matrix_dir=matrix_dir, **decomposition).split(n_components=n_components),
        name="decompose",
    )
    maps = add(WriteMaps(factorization_dir=fit.factorization_dir, mask_file=mask_file), name="maps")
    folders = {"all_fits": fit.factorization_dir, "all_maps": maps.maps_dir}
    if figures:
        drawn = add(
            DrawFigures(
                components_file=maps.components_file,
                labels_file=maps.labels_file,
                matrix_dir=matrix_dir,
                mask_file=mask_file,
                on_template=on_template,
            ),
            name="figures",
        )
        folders["all_figures"] = drawn.figures_dir
    gathered = {
        name: workflow.add(
            Gather(folder=folder).combine("decompose.n_components"), name=name
        ).folder
        for name, folder in folders.items()
    }
    half_fits: Any = []
    if n_splits:
        halvings = {
            "n_components": n_components,
            "split_number": list(range(n_splits)),
            "half": [0, 1],
        }
        half_fit = FitHalf(
            matrix_dir=matrix_dir, split_random_state=split_random_state, **decomposition
        )
        half_fits = add(
            half_fit.split(list(halvings), **halvings).combine(list(halvings)), name="half_fit"
        ).factorization_dir
    metrics = add(
        SelectRank(
            factorization_dirs=gathered["all_fits"],
            half_fits=half_fits,
            planted=planted,
            mask_file=mask_file,
        ),
        name="select",
    )
    return (
        mask_file,
        gathered["all_fits"],
        gathered["all_maps"],
        gathered.get("all_figures", []),
        metrics.metrics_file,
        metrics.metrics_json,
    )


def _report(job: Any, result: Any) -> None:
    """Append one line about a finished job to a file that the process of the run follows."""
    error = sys.exc_info()[1]
    record = {
        "name": job.name,
        "n_components": _rank(job.task),
        "split": getattr(job.task, "split_number", None),
        "half": getattr(job.task, "half", None),
        "error": None if error is None else f"{type(error).__name__}: {error}",
        "folder": str(job.cache_dir),
    }
    with (job.cache_root / EVENTS).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(record) + "\n")


def _rank(task: Any) -> int | None:
    """Return the number of components that a task is about."""
    if hasattr(task, "factorization_dir"):
        return int(read_factorization(Path(task.factorization_dir) / FACTORIZATION).W.shape[1])
    if hasattr(task, "components_file"):
        return int(nb.load(task.components_file).shape[3])
    return getattr(task, "n_components", None)


def compute(study: Study, results: Results, display: Display) -> None:
    """Run the workflow and note its files in ``results``.

    Parameters
    ----------
    study : Study
        Settings and cohort.
    results : Results
        Gets the files of the workflow.
    display : Display
        Shows one line per job.

    Raises
    ------
    EngineError
        Jobs failed; names them, their errors and their folders.
    """
    execution = study.config.execution
    cache_root = work_dir(study.config) / f"pydra-{__version__}"
    cache_root.mkdir(parents=True, exist_ok=True)
    worker = execution.plugin or DEFAULT_WORKER
    worker_args = {"n_procs": study.n_procs} if worker == "cf" else {}
    follower = _Follower(cache_root / EVENTS, results, display)
    with _threads_per_job(study), follower:
        try:
            outputs = _task(study)(
                cache_root=cache_root, worker=worker, **worker_args | execution.plugin_args
            )
        except Exception as error:
            follower.read()
            if not follower.failed:
                raise
            raise EngineError(FAILED_MSG.format(reasons="\n".join(follower.failed))) from error
    _note(outputs, study, results)


def _task(study: Study) -> Any:
    config = study.config
    settings = config.decomposition.model_dump(mode="json", exclude_none=True)
    ks = settings.pop("n_components")
    return OpnmfWorkflow(
        images=study.images,
        participants=study.participants,
        n_components=ks,
        mask=config.mask.model_dump(mode="json", exclude_none=True),
        matrix=config.matrix.model_dump(mode="json", exclude_none=True),
        decomposition=settings,
        n_splits=config.selection.n_splits,
        split_random_state=config.selection.random_state,
        planted=study.planted,
        figures=config.report.figures,
        on_template=study.on_template,
    )


def _note(outputs: Any, study: Study, results: Results) -> None:
    ks = study.config.decomposition.n_components
    results.mask = Path(outputs.mask_file)
    results.metrics = Path(outputs.metrics_file)
    results.fits |= {
        k: Path(d) / FACTORIZATION for k, d in zip(ks, outputs.factorization_dirs, strict=True)
    }
    results.maps |= {k: Path(d) for k, d in zip(ks, outputs.maps_dirs, strict=True)}
    results.figures |= {k: Path(d) for k, d in zip(ks, outputs.figures_dirs, strict=False)}


@contextmanager
def _threads_per_job(study: Study) -> Iterator[None]:
    """Divide the threads among the jobs that can run side by side; workers inherit the limit."""
    n_fits = len(study.config.decomposition.n_components) * max(
        1, 2 * study.config.selection.n_splits
    )
    threads = max(1, study.n_procs // min(n_fits, study.n_procs))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, str(threads)))
    try:
        with threadpool_limits(threads):
            yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


class _Follower:
    """Reads the lines of :func:`_report` as they come, in a thread; used as a context.

    Attributes
    ----------
    failed : list of str
        What failed, and why.
    """

    def __init__(self, path: Path, results: Results, display: Display) -> None:
        path.write_text("")
        self.failed: list[str] = []
        self._stream = path.open(encoding="utf-8")
        self._results = results
        self._display = display
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Follower:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self.read()
        self._stream.close()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_S):
            self.read()

    def read(self) -> None:
        """Take the lines that have come since."""
        with self._lock:
            for line in self._stream:
                self._take(json.loads(line))

    def _take(self, record: dict[str, Any]) -> None:
        title = stage_title(record["name"], record["n_components"], record["split"], record["half"])
        if record["error"] is not None:
            self._display.note(f"{title}: failed")
            self.failed.append(f"  {title}: {record['error']} ({record['folder']})")
            return
        self._display.note(f"{title}: computed")
        self._results.computed.append(title)
        k, folder = record["n_components"], Path(record["folder"])
        match record["name"]:
            case "decompose":
                self._results.fits[k] = folder / "factorization" / FACTORIZATION
            case "maps":
                self._results.maps[k] = folder / "maps"
            case "figures":
                self._results.figures[k] = folder / "figures"
