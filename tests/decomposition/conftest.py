import pytest

from opnmf_pipeline.decomposition import OPNMF, PNMF


@pytest.fixture(scope="session")
def faces(test_data):
    """The Olivetti faces, 400 × 4096, float32."""
    datasets = pytest.importorskip("sklearn.datasets")
    home = test_data / "scikit_learn_data"
    return datasets.fetch_olivetti_faces(data_home=home, download_if_missing=False).data


@pytest.fixture(params=[OPNMF, PNMF], ids=["OPNMF", "PNMF"])
def estimator_class(request):
    return request.param
