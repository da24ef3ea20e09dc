import numpy as np
import pytest

from opnmf_pipeline.decomposition import OPNMF, PNMF, device


def strict_device(room):
    """Return a device of array-api-strict with room for so many bytes of X.

    It is in this process, and lets no array pass to NumPy by itself.
    """
    strict = pytest.importorskip("array_api_strict")
    cpu, place = (strict.Device(name) for name in ("CPU_DEVICE", "device1"))
    return device.Device(strict, place, lambda there: np.asarray(there.to_device(cpu)), room)


@pytest.fixture(scope="session")
def faces(test_data):
    """The Olivetti faces, 400 × 4096, float32."""
    datasets = pytest.importorskip("sklearn.datasets")
    home = test_data / "scikit_learn_data"
    return datasets.fetch_olivetti_faces(data_home=home, download_if_missing=False).data


@pytest.fixture(params=[OPNMF, PNMF], ids=["OPNMF", "PNMF"])
def estimator_class(request):
    return request.param
