import json

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.metrics import write_metrics
from opnmf_pipeline.stages.select import fit_half

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

OPTIONS = DecompositionConfig(max_iter=50, tol=1e-4)


@pytest.fixture
def matrix(cohort, tmp_path):
    mask = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), MatrixConfig())
    folder = tmp_path / "matrix"
    folder.mkdir()
    return build_matrix(cohort.images, cohort.subjects, mask, folder, MatrixConfig())


def folder_of(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_the_fit_is_that_of_the_estimator(matrix, cohort, tmp_path):
    fit = read_factorization(decompose(matrix, folder_of(tmp_path, "fit"), 3, OPTIONS, n_procs=1))
    X = np.array(read_matrix(matrix)[0])
    model = OPNMF(3, max_iter=50, tol=1e-4).fit(X)
    np.testing.assert_allclose(fit.W, model.coef_, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(fit.H, fit.W.T @ X, rtol=1e-5)
    assert fit.info["ReconstructionError"] == pytest.approx(model.reconstruction_err_, rel=1e-5)
    assert fit.info["Norm"] == pytest.approx(np.linalg.norm(X.astype(float)), rel=1e-6)
    assert fit.info["Iterations"] == model.n_iter_
    assert fit.info["Participants"] == cohort.subjects
    assert fit.info["NumberOfVoxels"] == 59
    assert fit.info["Settings"]["tol"] == 1e-4
    assert "numpy" in fit.info["Versions"]
    assert len(fit.info["History"]["objective"]) == len(model.history_)


def test_options_reach_the_estimator(matrix, tmp_path):
    base = read_factorization(decompose(matrix, folder_of(tmp_path, "a"), 2, OPTIONS))
    other = OPTIONS.model_copy(update={"dtype": "float64", "init": "random"})
    fit = read_factorization(decompose(matrix, folder_of(tmp_path, "b"), 2, other))
    assert (base.W.dtype, fit.W.dtype) == (np.float32, np.float64)
    assert base.info["History"]["objective"][0] != fit.info["History"]["objective"][0]


def test_seed_of_random_starts(matrix, tmp_path):
    fits = [
        read_factorization(
            decompose(
                matrix,
                folder_of(tmp_path, f"fit{number}"),
                2,
                OPTIONS.model_copy(update={"init": "random", "random_state": seed, "max_iter": 3}),
            )
        ).W
        for number, seed in enumerate([0, 0, 1])
    ]
    np.testing.assert_array_equal(fits[0], fits[1])
    assert not np.array_equal(fits[0], fits[2])


def test_callback_sees_every_iteration(matrix, tmp_path):
    seen = []
    path = decompose(matrix, folder_of(tmp_path, "fit"), 2, OPTIONS, callback=seen.append)
    assert len(seen) == len(json.loads(path.read_text())["History"]["change"])


def test_halves_part_the_cohort(matrix, cohort, tmp_path):
    selection = SelectionConfig(n_splits=2)
    paths = [
        fit_half(matrix, folder_of(tmp_path, f"{split}-{half}"), 2, split, half, OPTIONS, selection)
        for split in (0, 1)
        for half in (0, 1)
    ]
    X = np.array(read_matrix(matrix)[0])
    fits = [read_factorization(path) for path in paths]
    for first, second in (fits[:2], fits[2:]):
        ids = [first.info["Participants"], second.info["Participants"]]
        assert sorted(ids[0] + ids[1]) == cohort.subjects
        assert len(ids[0]) == len(ids[1]) == 3
        columns = [cohort.subjects.index(subject) for subject in ids[0]]
        np.testing.assert_allclose(first.H, first.W.T @ X[:, columns], rtol=1e-5)
    assert fits[0].info["Participants"] != fits[2].info["Participants"]

    whole = decompose(matrix, folder_of(tmp_path, "whole"), 2, OPTIONS)
    write_metrics([whole], tmp_path / "metrics.tsv", half_fits=paths)
    names, values = (
        line.split("\t") for line in (tmp_path / "metrics.tsv").read_text().splitlines()
    )
    unit = [fit.W / np.linalg.norm(fit.W, axis=0) for fit in fits]
    cosines = [unit[0].T @ unit[1], unit[2].T @ unit[3]]
    best = [max(np.trace(c), c[0, 1] + c[1, 0]) / 2 for c in cosines]
    row = dict(zip(names, values, strict=True))
    assert float(row["inner_product"]) == pytest.approx(np.mean(best), rel=1e-5)
