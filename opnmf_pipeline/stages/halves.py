"""Stage ``halves``: fits of both parts of a split, and the agreement between them."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from opnmf_pipeline.config import (
    NULL_SETTINGS,
    DecompositionConfig,
    MatrixConfig,
    SelectionConfig,
)
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.decomposition.missing import projection_error
from opnmf_pipeline.exceptions import ConvergenceWarning, SelectionError
from opnmf_pipeline.images.problems import listed
from opnmf_pipeline.selection.agreement import (
    AGREEMENT_COLUMNS,
    NULL_COLUMNS,
    agreement,
    agreement_by_chance,
)
from opnmf_pipeline.selection.errors import explained_variance, mean_image, norm
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.collect import COHORT_FILE
from opnmf_pipeline.stages.decompose import estimator, matrix_for
from opnmf_pipeline.stages.matrix import MATRIX_FILE, fit_memory
from opnmf_pipeline.stages.parts import PART_SETTINGS, Part, Parts
from opnmf_pipeline.stages.spaces import mask_has_null, mask_of
from opnmf_pipeline.stages.splits import SPLIT_FILE
from opnmf_pipeline.stages.stage import (
    MASK_FILE,
    MATRIX_DIR,
    N_COMPONENTS,
    Call,
    Field,
    Kind,
    Stage,
)

__all__ = [
    "ERROR_COLUMNS",
    "FIT_HALVES",
    "HALVES_FILE",
    "LABELS_FILE",
    "SHARED_COLUMNS",
    "SPLIT_COLUMNS",
    "fit_halves",
]

HALVES_FILE = "halves.json"
"""Name of the file with the result of the comparison."""
LABELS_FILE = "labels.npy"
"""Name of the file with the winner-takes-all labels of both parts, (2, n_voxels), int16."""

OTHER_SPLIT_MSG = (
    "{split}: does not have the subjects of {matrix}; {n} are in only one of them:\n{named}\n"
    "connect the same participants to BuildMatrix and MakeSplits"
)
UNSEEN_MSG = (
    "no subject of the other part has a batch and categories that occur in the part that the "
    "adjustment is learned from; do not leave out the groups of matrix.harmonize.batch or of a "
    "covariate"
)

ERROR_COLUMNS = {
    "half_error": "Reconstruction error of the fits of both parts, ‖X - WWᵀX‖ over all subjects",
    "half_explained_variance": "R² of the fits of both parts, over all subjects: 1 - (half_error / "
    "norm of X - x̄1ᵀ)², where x̄ is the mean of each part",
    "half_explained_variance_about_zero": "1 - (half_error / norm of X)²",
    "out_of_sample_error": "‖X - WWᵀX‖ with W from the subjects of the other part: for halves over "
    "all subjects, for a group that is left out over the subjects of this group",
    "out_of_sample_explained_variance": "R² of the same subjects: 1 - (out_of_sample_error / norm "
    "of X - x̄1ᵀ)², where x̄ is the mean of the part that the components come from",
    "out_of_sample_explained_variance_about_zero": "1 - (out_of_sample_error / norm of X)² of the "
    "same subjects",
}
"""Errors in and out of sample, and the explained variance about the mean and about zero."""

SHARED_COLUMNS = {
    f"shared_start_{name}": f"{name} of fits that both start from decomposition.init. It can be "
    f"higher than {name}, for which each part has a random start of its own, because a shared "
    "start leads both fits to similar solutions, right or wrong"
    for name in ("inner_product", "label_ari")
}
"""Agreement of fits from a shared start, next to that of fits from independent starts."""

SPLIT_COLUMNS = {
    "n_components": "Number of components, k",
    "split": "Number of the split",
    "left_out": "Group that forms the second part, if the parts are not random halves",
    "n_first": "Number of subjects in the first part",
    "n_second": "Number of subjects in the second part",
    **ERROR_COLUMNS,
    **AGREEMENT_COLUMNS,
    **NULL_COLUMNS,
    **SHARED_COLUMNS,
    "n_unseen": "Number of subjects that are left out of the errors out of sample, because their "
    "batch or category does not occur in the other part",
    "n_iter": "Iterations of both fits, summed",
    "converged": "Whether both fits converged",
}
"""Columns of the table of splits: one row per split and number of components."""


def fit_halves(
    matrix_file: Path,
    out_dir: Path,
    n_components: int,
    split_file: Path,
    options: DecompositionConfig,
    *,
    matrix: MatrixConfig | None = None,
    cohort_file: Path | None = None,
    mask_file: Path | None = None,
    n_null: int = 0,
    shared_start: bool = False,
    n_procs: int | None = None,
) -> Path:
    """Factorize both parts of a split and compare the components.

    Each fit has a random start of its own, and otherwise the settings of the fit of the whole
    cohort. Components that agree were then found in both parts. A shared start, or one that is
    computed from the data, such as NNDSVD, leads both fits to similar solutions, and they can
    agree although both are wrong. Only the labels of the components are saved.

    Parameters
    ----------
    matrix_file : path
        ``matrix.json`` of :func:`opnmf_pipeline.stages.matrix.build_matrix`.
    out_dir : path
        Existing folder that gets ``halves.json``, and ``labels.npy`` with the winner-takes-all
        labels of both parts, (2, n_voxels), int16.
    n_components : int
        Number of components, at most the number of subjects in the smaller part.
    split_file : path
        One file of :func:`opnmf_pipeline.stages.splits.make_splits`.
    options : DecompositionConfig
        Settings of the fits. The seeds of the two starts follow from ``random_state`` and the
        number of the split.
    matrix : MatrixConfig, optional
        Settings of the adjustment. Each part is adjusted with what is learned from it alone. The
        subjects of the other part are adjusted with the same for the errors out of sample; those
        with a batch or a category that only they have are left out of these errors.
    cohort_file : path, optional
        Table with ``participant_id`` and the columns of these settings (TSV).
    mask_file : path, optional
        The mask that the rows of the matrix came from; ``n_null`` needs it.
    n_null : int
        Number of pairs of random compact label maps, for the agreement by chance. 0: off.
    shared_start : bool
        Start both fits as the settings say, from ``init`` with the same seed.
    n_procs : int, optional
        Largest number of BLAS threads.

    Returns
    -------
    path
        ``halves.json``, with the keys of ``SPLIT_COLUMNS`` except those of ``SHARED_COLUMNS``, and
        with those of ``NULL_COLUMNS`` only if ``n_null`` is not 0.

    Raises
    ------
    SelectionError
        The split is one of other subjects than those of the matrix.
    ImageError
        The mask is not that of the matrix.
    """
    X, sidecar = matrix_for(matrix_file, n_components)
    mask = None if mask_file is None else mask_of(mask_file, matrix_file)
    split = json.loads(split_file.read_text(encoding="utf-8"))
    column = {name: number for number, name in enumerate(sidecar["Participants"])}
    _require_subjects(split_file, split["Halves"], matrix_file, sidecar["Participants"])
    subjects = Parts.of(X, sidecar, matrix or MatrixConfig(), cohort_file, out_dir)
    parts = [subjects.part([column[name] for name in half]) for half in split["Halves"]]
    numbers = 2 * split["Split"] - 1, 2 * split["Split"]
    starts = [options if shared_start else options.from_random_start(n) for n in numbers]
    with threadpool_limits(n_procs), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the table has a column for it
        a, b = (
            estimator(n_components, start, sidecar).fit(part.values)
            for start, part in zip(starts, parts, strict=True)
        )
    by_chance = {}
    if n_null and mask is not None and mask_has_null(mask):
        seed = [n_components, split["Split"]]
        by_chance = agreement_by_chance([a.coef_, b.coef_], mask.positions(), n_null, seed)
    measures = {
        "n_components": n_components,
        "split": split["Split"],
        "left_out": split["LeftOut"],
        "n_first": len(parts[0].columns),
        "n_second": len(parts[1].columns),
        **_errors(a, b, subjects, parts, one_way=split["LeftOut"] is not None),
        **agreement(a.coef_, b.coef_),
        **by_chance,
        "n_iter": int(a.n_iter_ + b.n_iter_),
        "converged": bool(a.converged_ and b.converged_),
    }
    np.save(out_dir / LABELS_FILE, [winner_takes_all(a.coef_), winner_takes_all(b.coef_)])
    out_file = out_dir / HALVES_FILE
    out_file.write_text(json.dumps(measures, indent=1) + "\n", encoding="utf-8")
    return out_file


def _require_subjects(
    split_file: Path,
    halves: Sequence[Sequence[str]],
    matrix_file: Path,
    participants: Sequence[str],
) -> None:
    """Require that each subject of the matrix, and no other, is in one part of a split."""
    divided, whole = Counter(itertools.chain(*halves)), Counter(participants)
    if others := sorted((divided - whole) + (whole - divided)):
        named = {"n": len(others), "named": listed(others)}
        raise SelectionError(OTHER_SPLIT_MSG.format(split=split_file, matrix=matrix_file, **named))


def _errors(
    a: OPNMF, b: OPNMF, subjects: Parts, parts: Sequence[Part], *, one_way: bool
) -> dict[str, float]:
    """Return errors in and out of sample; ``one_way``: only the second part is out of sample."""
    means = [mean_image(part.values) for part in parts]
    inside = math.hypot(a.reconstruction_err_, b.reconstruction_err_)
    outside, seen, n_unseen = 0.0, [], 0
    first, second = parts
    ways = [(a, means[0], first, second), (b, means[1], second, first)]
    for model, mean, part, other in ways[:1] if one_way else ways:
        values = subjects.seen_by(part, other)
        n_unseen += len(other.columns) - values.shape[1]
        if values.size:
            outside = math.hypot(outside, _error_of_others(model, values))
            seen.append((norm(values, mean), norm(values)))
    if not seen:
        raise SelectionError(UNSEEN_MSG)
    own = [
        (norm(part.values, mean), norm(part.values))
        for part, mean in zip(parts, means, strict=True)
    ]
    unseen = {"n_unseen": n_unseen} if parts[0].adjusted and subjects.options.has_models else {}
    return {
        **_measures("half", inside, own),
        **_measures("out_of_sample", outside, seen),
        **unseen,
    }


def _error_of_others(model: OPNMF, X: NDArray[np.float32]) -> float:
    """Return ‖X − WWᵀX‖ over the observed values of subjects that are not in the fit."""
    return projection_error(X, model.coef_, getattr(model, "mean_loadings_", None))


def _measures(name: str, error: float, norms: list[tuple[float, float]]) -> dict[str, float]:
    """Return an error and the variance that it leaves explained, from norms about mean and zero."""
    about_mean, about_zero = (math.hypot(*values) for values in zip(*norms, strict=True))
    return {
        f"{name}_error": float(error),
        f"{name}_explained_variance": explained_variance(error, about_mean),
        f"{name}_explained_variance_about_zero": explained_variance(error, about_zero),
    }


def _run(call: Call) -> dict[str, Path]:
    halves_file = fit_halves(
        call.path("matrix_dir") / MATRIX_FILE,
        call.folder,
        call["n_components"],
        call.path("split_file"),
        call.section(DecompositionConfig, n_components=call["n_components"]),
        matrix=call.section(MatrixConfig, dtype="float32"),  # the input dtype is that of W
        cohort_file=call.optional_path("cohort_file"),
        mask_file=call.path("mask_file"),
        n_null=call["n_null"] or 0,
        shared_start=call["shared_start"],
        n_procs=call.n_procs,
    )
    return {"halves_file": halves_file, "labels_file": halves_file.with_name(LABELS_FILE)}


FIT_HALVES = Stage(
    name="FitHalves",
    summary="Factorize both parts of one split of the cohort, and compare the components.",
    run=_run,
    folder="halves",
    inputs={
        "matrix_dir": MATRIX_DIR,
        "n_components": N_COMPONENTS,
        "split_file": SPLIT_FILE,
        "mask_file": MASK_FILE,
        "cohort_file": replace(COHORT_FILE, default=None),
        "shared_start": Field(
            Kind.FLAG,
            "start both fits from init, not each from a random start of its own",
            default=False,
        ),
    },
    outputs={
        "halves_file": Field(Kind.JSON, "errors and agreement of the fits of both parts (JSON)"),
        "labels_file": Field(
            Kind.FILE, "winner-takes-all labels of both parts, (2, voxels), int16 (NPY)"
        ),
    },
    settings={
        DecompositionConfig: ("n_components",),
        SelectionConfig: tuple(set(SelectionConfig.model_fields) - NULL_SETTINGS),
        **PART_SETTINGS,
    },
    memory=fit_memory,
)
