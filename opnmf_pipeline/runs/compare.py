"""Comparison of the fits that have finished, for a run with failed jobs."""

from __future__ import annotations

import shutil

from opnmf_pipeline.engines.graph import Job
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import mask_step
from opnmf_pipeline.runs.study import Study
from opnmf_pipeline.stages.stage import Call

__all__ = ["compare_finished"]


def compare_finished(study: Study, outcome: Outcome) -> None:
    """Compare the numbers of components that have fits, and add the files to the outcome.

    This replaces the step ``select``, which has not run because a job that it depends on failed.
    No number is chosen, and the display shows no message. Nothing is done if ``select`` has
    finished or if there are no fits.

    Parameters
    ----------
    study : Study
        The cohort; the comparison is written next to its table, into the folder ``finished``.
    outcome : Outcome
        Outputs of the finished jobs.
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
        "mask_file": outcome.path(mask_step(study.config), "mask_file"),
        "halves_files": outcome.paths("halves", "halves_file"),
        "shared_files": outcome.paths("shared", "halves_file"),
        "start_dirs": outcome.paths("start", "factorization_dir"),
        "permuted_files": outcome.paths("permuted", "permuted_file"),
        "planted": study.planted,
        "draw": step.inputs["draw"],
    }
    folder = study.cohort_file.with_name("finished")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    outcome.add(Job(step, {}), step.stage(Call(inputs, folder)))
