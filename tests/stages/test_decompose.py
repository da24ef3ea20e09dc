import json
from hashlib import sha256

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.decomposition import OPNMF, device
from opnmf_pipeline.exceptions import DeviceError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.decompose import DECOMPOSE, decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.stage import Call

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
    model = OPNMF(3, solver="adaptive", max_iter=50, tol=1e-4, random_state=0).fit(X)
    np.testing.assert_allclose(fit.W, model.coef_, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(fit.H, fit.W.T @ X, rtol=1e-5)
    assert fit.info["ReconstructionError"] == pytest.approx(model.reconstruction_err_, rel=1e-5)
    assert fit.info["Norm"] == pytest.approx(np.linalg.norm(X.astype(float)), rel=1e-6)
    assert fit.info["Iterations"] == model.n_iter_
    assert fit.info["PassesOverData"] == model.n_passes_
    assert fit.info["CompressionLoss"] == 0
    assert fit.info["Participants"] == cohort.subjects
    assert fit.info["NumberOfVoxels"] == 59
    assert fit.info["SHA256"] == sha256(fit.W.tobytes()).hexdigest()
    assert fit.info["Settings"]["tol"] == 1e-4
    assert "numpy" in fit.info["Versions"]
    assert len(fit.info["History"]["objective"]) == len(model.history_)


def test_options_reach_the_estimator(matrix, tmp_path):
    base = read_factorization(decompose(matrix, folder_of(tmp_path, "a"), 2, OPTIONS))
    other = OPTIONS.model_copy(update={"dtype": "float64", "init": "random"})
    fit = read_factorization(decompose(matrix, folder_of(tmp_path, "b"), 2, other))
    assert (base.W.dtype, fit.W.dtype) == (np.float32, np.float64)
    assert base.info["History"]["objective"][0] != fit.info["History"]["objective"][0]


def test_the_device_reaches_the_estimator(matrix, tmp_path, monkeypatch):
    def opened(name):
        raise DeviceError(f"no {name} here")

    monkeypatch.setattr(device, "opened", opened)
    call = Call({"matrix_dir": matrix.parent, "n_components": 2}, tmp_path, device="cuda:7")
    with pytest.raises(DeviceError, match="no cuda:7 here"):
        DECOMPOSE(call)


def test_seed_of_random_starts(matrix, tmp_path):
    # with the other solvers, all starts come to the same end here
    settings = {"solver": "multiplicative", "init": "random", "max_iter": 3}
    fits = [
        read_factorization(
            decompose(
                matrix,
                folder_of(tmp_path, f"fit{number}"),
                2,
                OPTIONS.model_copy(update=settings | {"random_state": seed}),
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
