"""The memory that a stage says it takes: the matrix, and copies of W or of maps."""

import json

import numpy as np
import pytest

from opnmf_pipeline.stages.maps import maps_memory
from opnmf_pipeline.stages.matrix import fit_memory
from opnmf_pipeline.stages.memory import BASE_BYTES, fit_bytes
from tests.builders import SHAPE, write_image


@pytest.mark.parametrize(
    ("k", "dtype", "beyond_the_libraries"),
    [
        (5, "float32", 4 * 1000 * 20 + 4 * (4 * 1000 * 5)),
        (5, "float64", 4 * 1000 * 20 + 4 * (8 * 1000 * 5)),
        (50, "float32", 4 * 1000 * 20 + 4 * (4 * 1000 * 50)),
    ],
)
def test_a_fit(tmp_path, k, dtype, beyond_the_libraries):
    assert fit_bytes(1000, 20, k, dtype) - BASE_BYTES == beyond_the_libraries
    np.save(tmp_path / "matrix.npy", np.zeros((1000, 20), dtype=np.float32))
    (tmp_path / "matrix.json").write_text(json.dumps({"Matrix": "matrix.npy", "Preprocessing": {}}))
    inputs = {"matrix_dir": str(tmp_path), "n_components": k, "dtype": dtype}
    assert fit_memory(inputs) - BASE_BYTES == beyond_the_libraries


def test_maps_are_as_large_as_the_grid(tmp_path):
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[1, 2, 1] = inside[2, 2, 1] = 1
    mask_file = write_image(tmp_path / "mask.nii.gz", inside)
    np.save(tmp_path / "W.npy", np.ones((2, 7), dtype=np.float32))
    n_grid = np.prod(SHAPE)
    found = maps_memory({"factorization_dir": tmp_path, "mask_file": mask_file})
    assert found - BASE_BYTES == 2 * 4 * n_grid * 7
