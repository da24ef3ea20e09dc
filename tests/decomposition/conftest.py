import os
from pathlib import Path

import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, PNMF

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data_folder():
    folder = Path(os.environ.get("OPNMF_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}; set OPNMF_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def faces(data_folder):
    """The Olivetti faces, 400 × 4096, float32."""
    datasets = pytest.importorskip("sklearn.datasets")
    home = data_folder / "scikit_learn_data"
    return datasets.fetch_olivetti_faces(data_home=home, download_if_missing=False).data


@pytest.fixture
def X():
    """90 voxels × 24 subjects, three parts that overlap a little, and noise."""
    return overlapping_parts(np.random.default_rng(0))


@pytest.fixture(params=[OPNMF, PNMF], ids=["OPNMF", "PNMF"])
def estimator_class(request):
    return request.param


def overlapping_parts(rng, n_rows=90, n_columns=24, k=3):
    W = 0.1 * rng.random((n_rows, k))
    W[np.arange(n_rows), np.arange(n_rows) * k // n_rows] += 1
    return W @ rng.random((k, n_columns)) + 0.05 * rng.random((n_rows, n_columns))
