import pytest

from opnmf_pipeline.reporting.solver import describe_solver


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [("multiplicative", 1e-5), ("orthonormal", 1e-5), ("accelerated", None)],
)
def test_a_tolerance_is_shown_where_fits_end_by_the_change_of_w(solver, tolerance):
    assert describe_solver({"solver": solver, "tol": 1e-5}).tolerance == tolerance
