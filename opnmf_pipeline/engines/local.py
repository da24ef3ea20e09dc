"""The stages in order, in this process."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import joblib
import pandas as pd

from opnmf_pipeline.config import DecompositionConfig, PipelineConfig
from opnmf_pipeline.engines.cache import Cache, Result
from opnmf_pipeline.engines.results import Results, publish
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.bids import common_entity
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.simulation import PLANTED_LABELS
from opnmf_pipeline.logs import log_file
from opnmf_pipeline.outputs import WORK, OutputFolder
from opnmf_pipeline.progress import Display, SilentDisplay
from opnmf_pipeline.stages.collect import collect_cohort, simulate, simulated_inputs
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.figures import draw_figures
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.metrics import write_metrics
from opnmf_pipeline.stages.select import fit_half

__all__ = ["Summary", "check_rank", "determining_settings", "run"]

logger = logging.getLogger(__name__)

FACTORIZATION = "factorization.json"
NO_OUTPUT_MSG = "output.dir: is not set; name the output folder with --output"
TOO_MANY_MSG = (
    "decomposition.n_components: {k} is more than the {n} {what}; lower it to at most {n}"
)


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
    if config.output.dir is None:
        raise ConfigError(NO_OUTPUT_MSG)
    output = OutputFolder(
        config.output.dir, determining_settings(config), overwrite=config.output.overwrite
    )
    cache = Cache(config.execution.work_dir or config.output.dir / WORK)
    engine = _LocalEngine(config, cache, display or SilentDisplay())
    with TemporaryDirectory() as folder:
        results = engine.collect(Path(folder) / "cohort.tsv")
        output.space = _space(results.cohort, config)
        output.register("running")
        status = "failed"
        with log_file(output.path("log")):
            try:
                engine.compute(results)
                status = "finished"
            except BaseException as error:
                logger.error("%s: %s", type(error).__name__, error)
                raise
            finally:
                if results.maps:  # each finished k is kept, whatever stopped the run
                    publish(results, output, config.settings())
                output.register(status)
    return Summary(
        n_subjects=engine.n_subjects,
        n_voxels=engine.n_voxels,
        metrics=pd.read_csv(output.path("metrics"), sep="\t"),
        computed=engine.computed,
        outputs=output,
    )


@dataclass
class _LocalEngine:
    config: PipelineConfig
    cache: Cache
    display: Display
    n_subjects: int = 0
    n_voxels: int = 0
    computed: list[str] = field(default_factory=list)

    @property
    def n_procs(self) -> int:
        return self.config.execution.n_procs or int(joblib.cpu_count())

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
            self.computed.append(title or name)
        return result

    def collect(self, cohort_file: Path) -> Results:
        """Find the cohort; this is quick, and what it finds is not a setting, so never reused."""
        inputs, planted = self.config.inputs, None
        if (simulation := inputs.simulation) is not None:
            made = self.stage(
                "simulate", [], simulation.model_dump(), lambda out: simulate(simulation, out)
            )
            inputs, planted = simulated_inputs(made.folder), made.folder / PLANTED_LABELS
        collect_cohort(inputs, cohort_file)
        self.n_subjects = len(read_cohort(cohort_file))
        check_rank(self.config, self.n_subjects, "subjects")
        if self.config.selection.n_splits:
            check_rank(self.config, self.n_subjects // 2, "subjects of a half")
        return Results(cohort=cohort_file, planted=planted)

    def compute(self, results: Results) -> None:
        """Run the stages after collect; each finished one is noted in ``results``."""
        matrix = self._matrix(results)
        for k in self.config.decomposition.n_components:
            self._fit(k, matrix, results)
        self._metrics(matrix, results)

    def _matrix(self, results: Results) -> Result:
        config = self.config
        cohort = read_cohort(results.cohort)
        given = [config.mask.image] if config.mask.image else []
        images = self.cache.digests([*cohort["image"], *given])
        mask = self.stage(
            "mask",
            images,
            [config.mask.model_dump(mode="json"), config.matrix.model_dump(mode="json")],
            lambda out: make_mask(
                cohort["image"].tolist(),
                out / "mask.nii.gz",
                config.mask,
                config.matrix,
                n_procs=self.n_procs,
                track=self.display.track,
            ),
        )
        results.mask = mask.folder / "mask.nii.gz"
        matrix = self.stage(
            "matrix",
            [mask.key, *cohort["participant_id"]],
            config.matrix.model_dump(mode="json"),
            lambda out: build_matrix(
                cohort["image"].tolist(),
                cohort["participant_id"].tolist(),
                mask.folder / "mask.nii.gz",
                out,
                config.matrix,
                n_procs=self.n_procs,
                track=self.display.track,
            ),
        )
        results.matrix = matrix.folder / "matrix.json"
        self.n_voxels = len(read_matrix(results.matrix)[0])
        check_rank(config, self.n_voxels, "voxels")
        return matrix

    def _fit(self, k: int, matrix: Result, results: Results) -> None:
        assert results.matrix is not None
        assert results.mask is not None
        matrix_file, mask_file = results.matrix, results.mask
        options = self.config.decomposition
        with self.display.fit(f"k = {k}", options.tol) as callback:
            fit = self.stage(
                "decompose",
                [matrix.key],
                [k, _fit_settings(options)],
                lambda out: decompose(
                    matrix_file, out, k, options, n_procs=self.n_procs, callback=callback
                ),
                title=f"decompose, k = {k}",
            )
        results.fits[k] = fit.folder / FACTORIZATION
        maps = self.stage(
            "maps",
            [fit.key],
            None,
            lambda out: write_maps(fit.folder / FACTORIZATION, mask_file, out),
            title=f"maps, k = {k}",
        )
        results.maps[k] = maps.folder
        if self.config.report.figures:
            on_template = self._on_template(results)
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
                title=f"figures, k = {k}",
            )
            results.figures[k] = figures.folder

    def _on_template(self, results: Results) -> bool:
        background = self.config.report.background
        in_mni = "space-MNI" in _space(results.cohort, self.config)
        return background == "template" or (background == "auto" and in_mni)

    def _halves(self, k: int, matrix: Result, matrix_file: Path) -> list[Path]:
        options, selection = self.config.decomposition, self.config.selection
        halves = []
        for split, half in itertools.product(range(selection.n_splits), range(2)):
            title = f"k = {k}, split {split + 1} of {selection.n_splits}, half {half + 1}"
            with self.display.fit(title, options.tol) as callback:
                fit = self.stage(
                    "half",
                    [matrix.key],
                    [k, split, half, selection.random_state, _fit_settings(options)],
                    partial(
                        fit_half,
                        matrix_file,
                        n_components=k,
                        split=split,
                        half=half,
                        options=options,
                        selection=selection,
                        n_procs=self.n_procs,
                        callback=callback,
                    ),
                    title=title,
                )
            halves.append(fit.folder / FACTORIZATION)
        return halves

    def _metrics(self, matrix: Result, results: Results) -> None:
        assert results.matrix is not None
        for k in results.fits:
            results.half_fits += self._halves(k, matrix, results.matrix)
        results.metrics = write_metrics(
            list(results.fits.values()),
            results.cohort.with_name("metrics.tsv"),
            half_fits=results.half_fits,
            planted=results.planted,
            mask_file=results.mask,
        )


def check_rank(config: PipelineConfig, n: int, what: str) -> None:
    """Require that no number of components is above ``n``, the number of ``what``."""
    k = max(config.decomposition.n_components)
    if k > n:
        raise ConfigError(TOO_MANY_MSG.format(k=k, n=n, what=what))


def _fit_settings(options: DecompositionConfig) -> dict[str, Any]:
    return options.model_dump(exclude={"n_components"})


def determining_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings that results depend on: where they go and who computes them is not."""
    settings = config.settings()
    settings["output"].pop("dir", None)
    settings["output"].pop("overwrite", None)
    settings.pop("execution", None)
    return settings


def _space(cohort_file: Path, config: PipelineConfig) -> str:
    """Return the BIDS entities ``space`` and ``res`` of the maps, such as ``space-MNI152_``."""
    images = read_cohort(cohort_file)["image"].tolist()
    entities = {"space": config.output.space or common_entity(images, "space")}
    if config.matrix.resample is None and config.matrix.voxel_size is None:
        entities["res"] = common_entity(images, "res")
    return "".join(f"{name}-{value}_" for name, value in entities.items() if value)
