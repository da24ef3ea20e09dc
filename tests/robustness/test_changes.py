"""A run is killed, or the disk is full, at each change of the file system; then it runs again."""

import pytest

from opnmf_pipeline.files import PARTIAL
from tests.engines.test_engines import results
from tests.robustness.faults import run_with_faults

KILLED = -9


def check_the_same(case, expected):
    """Require that the second run has finished, with the same bytes and nothing left over."""
    told = f"change {case.change}, {case.event}: {case.text}\nagain: {case.text_again}"
    assert case.again == 0, told
    assert "Traceback" not in case.text + case.text_again, told
    assert results(case.out) == expected, told
    assert list(case.out.rglob(f"*{PARTIAL}")) == [], told


N_CASES = [pytest.param(4, id="some"), pytest.param(None, id="all", marks=pytest.mark.slow)]


@pytest.mark.parametrize("n_cases", N_CASES)
def test_a_killed_run_goes_on(tmp_path, command, n_cases):
    cases = list(run_with_faults(tmp_path, command, "kill", n_cases))
    expected = results(tmp_path / "change-0")
    assert len(expected) > 10
    for case in cases:
        assert case.code == KILLED, case
        check_the_same(case, expected)
    assert len(cases) >= 4


@pytest.mark.parametrize(
    "once",
    [
        pytest.param(True, id="one change", marks=pytest.mark.slow),
        pytest.param(False, id="all later changes"),
    ],
)
@pytest.mark.parametrize("n_cases", N_CASES)
def test_a_full_disk_is_named_and_the_run_goes_on(tmp_path, command, n_cases, once):
    cases = list(run_with_faults(tmp_path, command, "full", n_cases, once=once))
    for case in cases:
        assert case.code in (0, 2), case
        if case.code == 2:
            assert f"error: {case.out}" in case.text.replace("\n", " "), case
            assert "bytes are free" in case.text, case
        check_the_same(case, results(tmp_path / "change-0"))
    assert any(case.code == 2 for case in cases)
