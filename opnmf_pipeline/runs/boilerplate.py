"""The methods section of a paper, for a finished or a planned run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.dataset.description import read_json
from opnmf_pipeline.dataset.folder import FinishedRun
from opnmf_pipeline.decomposition.solvers import SOLVERS
from opnmf_pipeline.exceptions import OutputError
from opnmf_pipeline.images.bids import common_entities
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.logs import library_versions
from opnmf_pipeline.reporting.facts import GridFacts
from opnmf_pipeline.reporting.methods import Methods, describe_methods
from opnmf_pipeline.runs.measures import images_in
from opnmf_pipeline.runs.plan import make_plan
from opnmf_pipeline.runs.study import determining_settings
from opnmf_pipeline.stages.spaces import open_mask

__all__ = ["boilerplate"]


def boilerplate(config: PipelineConfig) -> str:
    """Return the methods section and its references (BibTeX) as Markdown. Nothing is written.

    Parameters
    ----------
    config : PipelineConfig
        Settings. If ``output.dir`` contains the results of a run with the same settings, the text
        describes that run. Otherwise it describes the run that these settings would start, without
        results such as the number of voxels and convergence.

    Raises
    ------
    OPNMFError
        A setting, an image header or the output folder is wrong.
    """
    return _markdown(_of_finished(config) or _of_plan(config))


def _of_finished(config: PipelineConfig) -> Methods | None:
    if config.output.dir is None:
        return None
    try:
        done = FinishedRun(config.output.dir)
    except OutputError:
        return None
    if done.settings != determining_settings(config):
        return None
    fits = [read_json(done.path("fit", k)) for k in done.ks]
    mask = open_mask(done.path("mask"))
    return _methods(
        config,
        fits,
        mask.grid,
        images_in(read_cohort(done.path("cohort")), config.inputs),
        in_standard_space=mask.in_standard_space,
        located=any(done.has("regions", k) for k in done.ks),
    )


def _of_plan(config: PipelineConfig) -> Methods:
    plan, change, measures = make_plan(config), config.matrix.change, config.matrix.measures
    of_measures = {}
    if measures is not None:
        named = {"Names": config.inputs.names, "Stack": measures.stack, "Scale": measures.scale}
        of_measures = {"Measures": named}
    fits = [
        {
            "NumberOfComponents": k,
            "NumberOfSubjects": plan.n_subjects * plan.n_parallel,
            "Settings": config.decomposition.of_each_fit(),
            "Preprocessing": config.matrix.of_images(),
            **({"Change": {"Settings": change.settings()}} if change else {}),
            **of_measures,
            "Versions": library_versions(),
        }
        for k in config.decomposition.n_components
    ]
    return _methods(
        config,
        fits,
        plan.grid,
        plan.images,
        in_standard_space=plan.space is not None,
        located=plan.atlas is not None,
    )


def _methods(
    config: PipelineConfig,
    fits: Sequence[dict[str, Any]],
    grid: GridFacts,
    images: Sequence[str],
    *,
    in_standard_space: bool,
    located: bool,
) -> Methods:
    return describe_methods(
        fits,
        config.settings(),
        grid,
        None,
        solver=SOLVERS[config.decomposition.solver].methods,
        qualified=True,
        located=located,
        only_brain=config.mask.only_brain(in_standard_space=in_standard_space),
        entities=common_entities(images),
    )


def _markdown(methods: Methods) -> str:
    text = "\n\n".join(methods.paragraphs)
    return f"# Methods\n\n{text}\n\n# References\n\n```bibtex\n{methods.bibtex}\n```\n"
