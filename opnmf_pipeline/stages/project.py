"""Stage ``project``: loadings of new subjects on the components of a model or of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from opnmf_pipeline.exceptions import ModelError
from opnmf_pipeline.images.cohort import read_cohort
from opnmf_pipeline.progress import Track, silent
from opnmf_pipeline.stages.adjust import ADJUSTMENT_FILE
from opnmf_pipeline.stages.decompose import FACTORIZATION_FILE
from opnmf_pipeline.stages.model import Model, project_images, tabulated
from opnmf_pipeline.stages.stage import (
    FACTORIZATION_DIR,
    IMAGES,
    MASK_FILE,
    PARTICIPANTS,
    Call,
    Field,
    Kind,
    Stage,
)
from opnmf_pipeline.tables import write_table

__all__ = ["PROJECT_SUBJECTS", "project_subjects"]

NO_MODEL_MSG = "ProjectSubjects: give model_file, or factorization_dir and its mask_file"


def project_subjects(
    images: Sequence[str | Path],
    participants: Sequence[str],
    model: Model,
    out_file: Path,
    *,
    cohort_file: Path | None = None,
    resample: bool = False,
    n_procs: int = 1,
    track: Track = silent,
) -> Path:
    """Write the loadings WᵀX of new subjects, with the preprocessing of the model.

    Parameters
    ----------
    images : sequence of path
        One image per new subject.
    participants : sequence of str
        Identifier of each subject, in the order of the images.
    model : Model
        The components.
    out_file : path
        TSV to write, with the columns of
        :meth:`opnmf_pipeline.stages.model.Model.project`.
    cohort_file : path, optional
        Table with the covariates of the subjects (TSV), see
        :meth:`opnmf_pipeline.stages.model.Model.project`.
    resample : bool
        Resample images on another grid to that of the model.
    n_procs : int
        Largest number of processes.
    track : callable
        Shows progress.

    Returns
    -------
    path
        ``out_file``.

    Raises
    ------
    ImageError
        An image is damaged, does not fit the model, or has NaN or negative values that the
        preprocessing does not allow.
    CohortError
        A subject cannot be adjusted as the cohort of the model was.
    """
    covariates = None if cohort_file is None else read_cohort(cohort_file)
    finish = model.finish(images, participants, covariates)
    found = project_images(
        [model], images, participants, finish, resample=resample, n_procs=n_procs, track=track
    )
    write_table(tabulated(model, participants, [one for _, (one,) in found]), out_file)
    return out_file


def _model(call: Call) -> Model:
    if (model_file := call.optional_path("model_file")) is not None:
        return Model.of_file(model_file)
    if call["factorization_dir"] is None:
        raise ModelError(NO_MODEL_MSG)
    adjusted_dir = call.optional_path("matrix_dir")
    return Model.of_fit(
        call.path("factorization_dir") / FACTORIZATION_FILE,
        call.path("mask_file"),
        adjusted_dir and adjusted_dir / ADJUSTMENT_FILE,
    )


def _run(call: Call) -> dict[str, Path]:
    loadings_file = project_subjects(
        call["images"],
        call["participants"],
        _model(call),
        call.folder / "loadings.tsv",
        cohort_file=call.optional_path("cohort_file"),
        resample=bool(call["resample"]),
        n_procs=call.n_procs,
        track=call.track,
    )
    return {"loadings_file": loadings_file}


PROJECT_SUBJECTS = Stage(
    name="ProjectSubjects",
    summary="Compute the loadings of new subjects on the components of a model or of a fit.",
    run=_run,
    folder="loadings",
    inputs={
        "images": IMAGES,
        "participants": PARTICIPANTS,
        "model_file": Field(
            Kind.FILE,
            "file of a model (..._model.json), in the folder of its components and its mask; or "
            "else factorization_dir",
            default=None,
        ),
        "factorization_dir": replace(FACTORIZATION_DIR, default=None),
        "mask_file": replace(MASK_FILE, default=None),
        "matrix_dir": Field(
            Kind.FOLDER, "folder of AdjustMatrix, if the fit is of its matrix", default=None
        ),
        "cohort_file": Field(
            Kind.TABLE,
            "table with participant_id and the columns that the cohort of the model was adjusted "
            "for; required if it was (TSV)",
            default=None,
        ),
        "resample": Field(
            Kind.FLAG, "resample images on another grid to that of the model", default=False
        ),
    },
    outputs={
        "loadings_file": Field(
            Kind.TABLE,
            "loadings, weighted means and reconstruction error of each subject (TSV)",
        )
    },
    exclusive=("model_file", "factorization_dir"),
    requires={"factorization_dir": "mask_file"},
)
