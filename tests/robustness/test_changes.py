"""A run is killed, or the disk is full, at changes of the file system; then it runs again."""

import pytest

from opnmf_pipeline.files import PARTIAL
from tests.engines.test_engines import results
from tests.robustness.faults import MOMENT, run_with_faults

KILLED = -9


def check_the_same(case, expected):
    """Require that the second run has finished, with the same bytes and nothing left over."""
    told = f"case {case.change}, {case.event}: {case.text}\nagain: {case.text_again}"
    assert case.again == 0, told
    assert "Traceback" not in case.text + case.text_again, told
    assert results(case.out) == expected, told
    assert list(case.out.rglob(f"*{PARTIAL}")) == [], told


def some_or(n_cases, engine="local"):
    """Return the parameters of a long test: engine and number of cases, None for all changes."""
    return pytest.param(engine, n_cases, id=f"{engine}, {n_cases or 'all'}", marks=pytest.mark.slow)


LONG = [some_or(None), some_or(15, "nipype"), some_or(15, "pydra")]
N_CASES = [pytest.param("local", 4, id="local, 4"), *LONG]


@pytest.mark.parametrize(("engine", "n_cases"), N_CASES)
def test_a_killed_run_goes_on(tmp_path, command, engine, n_cases):
    cases = list(run_with_faults(tmp_path, [*command, "--engine", engine], "kill", n_cases))
    expected = results(tmp_path / "change-0")
    assert len(expected) > 10
    for case in cases:
        assert case.code == KILLED, case
        check_the_same(case, expected)
    assert len(cases) >= 4


@pytest.mark.parametrize(
    ("engine", "n_cases"), [some_or(100), some_or(40, "nipype"), some_or(40, "pydra")]
)
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path, command, engine, n_cases):
    cases = list(run_with_faults(tmp_path, [*command, "--engine", engine], MOMENT, n_cases))
    for case in cases:
        assert case.code in (KILLED, 0), case
        check_the_same(case, results(tmp_path / "change-0"))
    assert sum(case.code == KILLED for case in cases) > n_cases / 2


def check_named(cases, expected):
    """Require that a run that a full disk ends says so, in one line, and goes on later."""
    for case in cases:
        assert case.code in (0, 2), case
        if case.code == 2:
            told = next(line for line in case.text.splitlines() if "quota is full" in line)
            assert str(case.out) in told, case
            assert "bytes are free" in told, case
        check_the_same(case, expected)
    assert any(case.code == 2 for case in cases)


@pytest.mark.parametrize(("engine", "n_cases"), N_CASES)
def test_a_full_disk_is_named_and_the_run_goes_on(tmp_path, command, engine, n_cases):
    arguments = [*command, "--engine", engine]
    cases = list(run_with_faults(tmp_path, arguments, "full", n_cases, once=False))
    check_named(cases, results(tmp_path / "change-0"))


@pytest.mark.parametrize(("engine", "n_cases"), LONG)
def test_a_disk_that_is_full_at_one_change_is_named(tmp_path, command, engine, n_cases):
    cases = list(run_with_faults(tmp_path, [*command, "--engine", engine], "full", n_cases))
    check_named(cases, results(tmp_path / "change-0"))
