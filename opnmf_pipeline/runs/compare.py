"""Comparison of what has finished of a run in which something failed."""

from __future__ import annotations

import shutil

from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import Job
from opnmf_pipeline.runs.study import Study
from opnmf_pipeline.stages.stage import Call

__all__ = ["compare_finished"]


def compare_finished(study: Study, outcome: Outcome) -> None:
    """Add to the outcome a comparison of the numbers of components that have fits.

    Nothing is chosen, and nothing is said: the step of the graph has not run.

    Parameters
    ----------
    study : Study
        The cohort; the comparison is written beside its table.
    outcome : Outcome
        What has finished.
    """
    fits = [
        *outcome.paths("decompose", "factorization_dir"),
        *outcome.paths("candidate", "factorization_dir"),
    ]
    if not fits or outcome.paths("select", "selection_dir"):
        return
    (step,) = [step for step in study.graph.steps if step.name == "select"]
    inputs = {
        "factorization_dirs": fits,
        "mask_file": outcome.path("mask", "mask_file"),
        "halves_files": outcome.paths("halves", "halves_file"),
        "permuted_files": outcome.paths("permuted", "permuted_file"),
        "planted": study.planted,
        "draw": step.inputs["draw"],
    }
    folder = study.cohort_file.with_name("finished")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outcome.add(Job(step, {}), step.stage.run(Call(inputs, folder)))
