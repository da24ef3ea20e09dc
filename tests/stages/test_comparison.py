"""Models on common places: tables in another order, surfaces with another medial wall."""

import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import surfaces, tables
from opnmf_pipeline.images.surfaces.files import CORTEX


def test_features_in_another_order():
    here = tables.Mask(tables.Grid(("a", "b", "c")), np.array([True, False, True]))
    there = tables.Grid(("c", "b", "a"))
    np.testing.assert_array_equal(
        here.moved_to(there, np.array([[1.0, 2], [3, 4]])), [[3, 4], [0, 0], [1, 2]]
    )
    with pytest.raises(ImageError, match=r"features of the models differ: 1 are missing \(d\)"):
        here.moved_to(tables.Grid(("a", "b", "c", "d")), np.ones((2, 1)))


def axis(vertices, n_vertices=10):
    left, right = (
        BrainModelAxis.from_surface(np.array(vertices), n_vertices, name)
        for name in CORTEX.values()
    )
    return left + right


def test_vertices_of_another_medial_wall():
    here = surfaces.Mask(axis([0, 2, 4]), np.array([True, True, False, True, True, True]))
    grid = surfaces.Grid(axis([4, 2, 9]))
    values = np.array([[1.0], [2], [3], [4], [5]])  # left 0, 2; right 0, 2, 4
    moved = here.moved_to(grid, values)
    np.testing.assert_array_equal(moved.ravel(), [0, 2, 0, 5, 4, 0])
    np.testing.assert_array_equal(here.moved_to(here.grid, values).ravel(), [1, 2, 0, 3, 4, 5])
    with pytest.raises(ImageError, match=r"cannot be compared with .*resample one of them"):
        here.moved_to(surfaces.Grid(axis([0, 1], 20)), values)
