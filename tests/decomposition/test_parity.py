"""The published results: the MATLAB reference, and the course of the seed library on the faces."""

import numpy as np
import pytest
from scipy.io import loadmat

from opnmf_pipeline.decomposition import OPNMF

STOP = {"tol": 5e-3, "n_components": 6}


def test_matlab_reference(test_data):
    data = loadmat(test_data / "olivetti" / "faces_data.mat")
    expected = loadmat(test_data / "olivetti" / "opnmf6_matlab.mat")
    model = OPNMF(6, init="custom", tol=1e-5).fit(data["data"], W_init=data["init_W"])
    assert model.converged_
    np.testing.assert_allclose(model.coef_, expected["W"], atol=2e-5)
    np.testing.assert_allclose(model.components_, expected["H"], atol=2e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_faces(faces, dtype):
    model = OPNMF(**STOP, dtype=dtype).fit(faces)
    assert model.history_[-1].iteration == 80
    assert model.history_[0].objective == pytest.approx(155.6283, rel=2e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_faces_transposed(faces, dtype):
    model = OPNMF(**STOP, dtype=dtype).fit(faces.T)
    assert model.history_[-1].iteration == 114
    assert model.history_[0].objective == pytest.approx(155.6703, rel=2e-6)
    assert model.history_[100].objective == pytest.approx(146.4695, rel=2e-6)
