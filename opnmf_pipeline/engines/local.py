"""The stages in order, in this process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from opnmf_pipeline.engines.cache import Cache, Result
from opnmf_pipeline.engines.results import Results, compare, stage_title
from opnmf_pipeline.engines.study import Study, check_rank, warn_of_memory, work_dir
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.volumes import image_files
from opnmf_pipeline.progress import Display
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE, decompose
from opnmf_pipeline.stages.figures import draw_figures
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import MATRIX_FILE, build_matrix
from opnmf_pipeline.stages.select import fit_half

__all__ = ["compute"]

logger = logging.getLogger(__name__)


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
    for k in study.config.decomposition.n_components:
        try:
            engine.fit(k, matrix)
        except Exception as error:  # the other numbers of components are still worth having
            if study.config.execution.stop_on_first_crash:
                raise
            logger.exception("k = %d failed", k)
            display.note(f"k = {k} failed: {error}")
            errors.append(error)
    for k in results.fits:
        engine.halves(k, matrix)
    compare(study, results)
    if errors:
        raise errors[0]


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
        how = "reused" if result.reused else "computed"
        logger.info("%s %s: %s", title or name, how, result.folder)
        self.display.note(f"{title or name}: {how}")
        if not result.reused:
            self.results.computed.append(title or name)
        return result

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
        assert results.mask is not None
        matrix_file, mask_file = results.matrix, results.mask
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

    def halves(self, k: int, matrix: Result) -> None:
        assert self.results.matrix is not None
        options, selection = self.study.config.decomposition, self.study.config.selection
        for split, half in itertools.product(range(selection.n_splits), range(2)):
            title = stage_title("half_fit", k, split, half)
            with self.display.fit(title, options.tol) as callback:
                fit = self.stage(
                    "half",
                    [matrix.key],
                    [k, split, half, selection.random_state, options.of_each_fit()],
                    partial(
                        fit_half,
                        self.results.matrix,
                        n_components=k,
                        split=split,
                        half=half,
                        options=options,
                        selection=selection,
                        n_procs=self.study.n_threads,
                        callback=callback,
                    ),
                    title=title,
                )
            self.results.half_fits.append(fit.folder / FACTORIZATION_FILE)
