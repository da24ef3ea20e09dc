"""The stages in order, in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from opnmf_pipeline.engines.cache import Cache, Result
from opnmf_pipeline.engines.parallel import as_they_finish, n_workers
from opnmf_pipeline.engines.results import Results, compare, compare_finished, stage_title
from opnmf_pipeline.engines.study import Study, check_rank, fit_bytes, warn_of_memory, work_dir
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.volumes import image_files
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, decompose
from opnmf_pipeline.stages.figures import draw_figures
from opnmf_pipeline.stages.halves import HALVES_FILE, fit_halves
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import MATRIX_FILE, build_matrix
from opnmf_pipeline.stages.permuted import PERMUTED_FILE, fit_permuted
from opnmf_pipeline.stages.splits import make_splits

__all__ = ["compute", "compute_share"]

logger = logging.getLogger(__name__)

SMALL_BYTES = 2**24
"""Matrices that have less than this to read in all fits are not worth starting processes for."""


def compute(study: Study, results: Results, display: Display) -> None:
    """Run the stages after collect; each finished one is noted in ``results``.

    Parameters
    ----------
    study : Study
        Settings and cohort.
    results : Results
        Gets the files of each finished stage.
    display : Display
        Shows progress.
    """
    engine = _LocalEngine(study, results, display, Cache(work_dir(study.config)))
    matrix = engine.matrix()
    errors = []
    for k in study.config.ranks:
        try:
            engine.fit(k, matrix)
        except Exception as error:  # the other numbers of components are still worth having
            if study.config.execution.stop_on_first_crash:
                raise
            logger.exception("k = %d failed", k)
            display.note(f"k = {k} failed: {error}")
            errors.append(error)
    try:
        if errors:
            raise errors[0]
        engine.study_ranks(matrix)
    except Exception:  # the fits of the whole cohort are still worth having
        compare_finished(study, results)
        raise
    engine.select()


def compute_share(
    study: Study, results: Results, display: Display, number: int, n_shares: int
) -> None:
    """Run what every fit needs, and of the fits only one share; nothing is compared.

    Parameters
    ----------
    study : Study
        Settings and cohort.
    results : Results
        Gets the files of each finished stage.
    display : Display
        Shows progress.
    number : int
        Number of the share, from 1.
    n_shares : int
        Number of shares. The fits are dealt out to them, largest number of components first.
    """
    engine = _LocalEngine(study, results, display, Cache(work_dir(study.config)))
    matrix = engine.matrix()
    for fit in engine.all_fits(matrix)[number - 1 :: n_shares]:
        fit()


@dataclass
class _LocalEngine:
    study: Study
    results: Results
    display: Display
    cache: Cache

    def stage(
        self,
        name: str,
        inputs: list[str],
        settings: Any,
        make: Callable[[Path], object],
        title: str | None = None,
    ) -> Result:
        result = self.cache.stage(name, inputs, settings, make)
        self.note(title or name, result)
        return result

    def note(self, title: str, result: Result) -> None:
        how = "reused" if result.reused else "computed"
        logger.info("%s %s: %s", title, how, result.folder)
        self.display.note(f"{title}: {how}")
        if not result.reused:
            self.results.computed.append(title)

    def matrix(self) -> Result:
        study, config = self.study, self.study.config
        images = [*study.images, *([str(config.mask.image)] if config.mask.image else [])]
        mask = self.stage(
            "mask",
            self.cache.digests(file for image in images for file in image_files(image)),
            [config.mask.model_dump(mode="json"), config.matrix.model_dump(mode="json")],
            lambda out: make_mask(
                study.images,
                out / "mask.nii.gz",
                config.mask,
                config.matrix,
                n_procs=study.n_procs,
                track=self.display.track,
            ),
        )
        self.results.mask = mask.folder / "mask.nii.gz"
        matrix = self.stage(
            "matrix",
            [mask.key, *study.participants],
            config.matrix.model_dump(mode="json"),
            lambda out: build_matrix(
                study.images,
                study.participants,
                mask.folder / "mask.nii.gz",
                out,
                config.matrix,
                n_procs=study.n_procs,
                track=self.display.track,
            ),
        )
        self.results.matrix = matrix.folder / MATRIX_FILE
        n_voxels = len(read_matrix(self.results.matrix)[0])
        check_rank(config, n_voxels, "voxels")
        warn_of_memory(config, n_voxels, len(study.images))
        return matrix

    def fit(self, k: int, matrix: Result) -> None:
        results = self.results
        assert results.matrix is not None
        matrix_file = results.matrix
        options = self.study.config.decomposition
        with self.display.fit(f"k = {k}", options.tol) as callback:
            fit = self.stage(
                "decompose",
                [matrix.key],
                [k, options.of_each_fit()],
                lambda out: decompose(
                    matrix_file,
                    out,
                    k,
                    options,
                    n_procs=self.study.n_threads,
                    callback=callback,
                    checkpoint=self.checkpoint(k, matrix),
                ),
                title=stage_title("decompose", k),
            )
        results.fits[k] = fit.folder / FACTORIZATION_FILE
        if k in self.study.config.decomposition.n_components:
            self.maps(k, fit)

    def maps(self, k: int, fit: Result) -> None:
        results = self.results
        assert results.matrix is not None
        assert results.mask is not None
        matrix_file, mask_file = results.matrix, results.mask
        maps = self.stage(
            "maps",
            [fit.key],
            None,
            lambda out: write_maps(fit.folder / FACTORIZATION_FILE, mask_file, out),
            title=stage_title("maps", k),
        )
        results.maps[k] = maps.folder
        if self.study.config.report.figures:
            on_template = self.study.on_template
            figures = self.stage(
                "figures",
                [maps.key],
                on_template,
                lambda out: draw_figures(
                    maps.folder / "components.nii.gz",
                    maps.folder / "dseg.nii.gz",
                    matrix_file,
                    mask_file,
                    out,
                    on_template=on_template,
                ),
                title=stage_title("figures", k),
            )
            results.figures[k] = figures.folder

    def checkpoint(self, k: int, matrix: Result) -> Path:
        """Return the file that a fit goes on from: after it was killed, or with more iterations."""
        options = self.study.config.decomposition.of_each_fit()
        del options["max_iter"]
        key = self.cache.key("decompose", [matrix.key], [k, options])
        return self.cache.root / f"decompose-{key[:16]}.checkpoint"

    def study_ranks(self, matrix: Result) -> None:
        """Fit halves and shuffled data, in processes of their own that map the same matrix."""
        splits = self.splits() if self.study.n_splits else []
        waiting = []
        for k in sorted(self.results.fits, reverse=True):  # what takes longest comes first
            for job in (*self.halves(k, matrix, splits), *self.permuted(k, matrix)):
                if found := self.cache.find(job.name, job.inputs, job.settings):
                    self.finished(job, found)
                else:
                    waiting.append(job)
        if waiting:
            workers = self.workers(len(waiting))
            threads = max(1, self.study.n_procs // workers)
            calls = [partial(_compute, self.cache, job, threads) for job in waiting]
            done = as_they_finish(calls, workers)
            for number, result in self.display.track(done, "study of ranks", len(calls)):
                self.finished(waiting[number], result)

    def all_fits(self, matrix: Result) -> list[Callable[[], None]]:
        """Return every fit that needs no other: of the cohort, of halves, of shuffled data."""
        splits = self.splits() if self.study.n_splits else []
        fits: list[Callable[[], None]] = []
        for k in sorted(self.study.config.ranks, reverse=True):
            fits.append(partial(self.fit, k, matrix))
            jobs = (*self.halves(k, matrix, splits), *self.permuted(k, matrix))
            fits += [partial(self.make, job) for job in jobs]
        return fits

    def make(self, job: _Job) -> None:
        self.finished(job, _compute(self.cache, job, self.study.n_threads))

    def splits(self) -> list[Path]:
        selection = self.study.config.selection
        cohort = read_cohort(self.study.cohort_file).drop(columns="image")
        splits = self.stage(
            "splits",
            [cohort.to_csv()],
            selection.of_splits(),
            lambda out: make_splits(
                self.study.participants, out, selection, self.study.cohort_file
            ),
        )
        return sorted(splits.folder.iterdir())

    def halves(self, k: int, matrix: Result, splits: list[Path]) -> Iterator[_Job]:
        options = self.study.config.decomposition
        for number, (path, digest) in enumerate(
            zip(splits, self.cache.digests(splits), strict=True), start=1
        ):
            make = partial(
                fit_halves,
                matrix.folder / MATRIX_FILE,
                n_components=k,
                split_file=path,
                options=options,
            )
            settings = [k, options.of_each_fit()]
            yield _Job("halves", k, number, [matrix.key, digest], settings, make)

    def permuted(self, k: int, matrix: Result) -> Iterator[_Job]:
        options, selection = self.study.config.decomposition, self.study.config.selection
        for seed in selection.permutation_seeds:
            make = partial(
                fit_permuted,
                matrix.folder / MATRIX_FILE,
                n_components=k,
                seed=seed,
                options=options,
            )
            settings = [k, seed, options.of_each_fit()]
            yield _Job("permuted", k, seed, [matrix.key], settings, make)

    def workers(self, n_jobs: int) -> int:
        """Return how many processes to start: none beside this one where the data are small."""
        assert self.results.matrix is not None
        config, (X, _) = self.study.config, read_matrix(self.results.matrix)
        if n_jobs * X.nbytes < SMALL_BYTES:
            return 1
        job_bytes = fit_bytes(len(X), X.shape[1], max(config.ranks), config.decomposition.dtype)
        return n_workers(min(self.study.n_procs, n_jobs), config.execution.memory_gb, job_bytes)

    def finished(self, job: _Job, result: Result) -> None:
        self.note(stage_title(job.name, job.k, job.number), result)
        if job.name == "halves":
            self.results.halves.append(result.folder / HALVES_FILE)
        else:
            self.results.permuted.append(result.folder / PERMUTED_FILE)

    def select(self) -> None:
        study, results = self.study, self.results
        config, rule = study.config, study.config.selection.rule_used
        fits = [results.fits[k] for k in sorted(results.fits)]
        files = [*fits, *sorted(results.halves), *sorted(results.permuted)]
        if study.planted is not None:
            files.append(study.planted)
        selection = self.stage(
            "select",
            self.cache.digests(files),
            [rule, config.selection.range, config.report.figures],
            lambda out: compare(study, results, out, rule),
        )
        results.selection = selection.folder


@dataclass(frozen=True)
class _Job:
    """One fit of the study of ranks: its place in the cache, and how to make it."""

    name: str
    k: int
    number: int
    inputs: list[str]
    settings: Any
    make: Callable[..., object]


def _compute(cache: Cache, job: _Job, threads: int) -> Result:
    return cache.stage(job.name, job.inputs, job.settings, partial(job.make, n_procs=threads))
