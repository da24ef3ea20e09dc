"""A run is killed, or the disk is full, at each change of the file system; then it runs again."""

import pytest

from opnmf_pipeline.files import PARTIAL
from tests.engines.test_engines import results
from tests.robustness.faults import run_with_faults

KILLED = -9


def some(n_changes):
    """Return a few changes spread over a run, with the first and the last ones."""
    return [1, *range(5, n_changes, max(1, n_changes // 4)), n_changes]


def every(n_changes):
    return range(1, n_changes + 1)


def check_the_same(case, expected):
    """Require that the second run has finished, with the same bytes and nothing left over."""
    told = f"change {case.change}, {case.event}: {case.text}\nagain: {case.text_again}"
    assert case.again == 0, told
    assert "Traceback" not in case.text + case.text_again, told
    assert results(case.out) == expected, told
    assert list(case.out.rglob(f"*{PARTIAL}")) == [], told


CHOSEN = [pytest.param(some, id="some"), pytest.param(every, id="every", marks=pytest.mark.slow)]


@pytest.mark.parametrize("changes", CHOSEN)
def test_a_killed_run_goes_on(tmp_path, command, changes):
    whole, *cases = run_with_faults(tmp_path, command, "kill", changes)
    assert whole.code == 0, whole.text
    expected = results(whole.out)
    assert len(expected) > 10
    for case in cases:
        assert case.code == KILLED, case
        check_the_same(case, expected)
    assert len(cases) >= 5


@pytest.mark.parametrize("once", [True, False], ids=["one change", "all later changes"])
@pytest.mark.parametrize("changes", CHOSEN)
def test_a_full_disk_is_named_and_the_run_goes_on(tmp_path, command, changes, once):
    whole, *cases = run_with_faults(tmp_path, command, "full", changes, once=once)
    expected = results(whole.out)
    for case in cases:
        assert case.code in (0, 2), case
        if case.code == 2:
            assert f"error: {case.out}" in case.text.replace("\n", " "), case
            assert "bytes are free" in case.text, case
        check_the_same(case, expected)
    assert any(case.code == 2 for case in cases)
