import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from opnmf_pipeline.cli.display import TerminalDisplay, _decades_done


@pytest.fixture
def display():
    return TerminalDisplay(Console(file=io.StringIO()))


def state(display):
    (task,) = display._progress.tasks
    return task.fields["state"]


def test_items_are_counted_when_they_are_done(display):
    states = []
    for item in display.track("abc", "mask", 3):
        states.append((item, state(display)))
    assert states == [("a", "0/3"), ("b", "1/3"), ("c", "2/3")]
    assert display._progress.tasks == []


@pytest.mark.parametrize(
    ("change", "expected"), [(1.0, 0), (0.1, 0.25), (0.01, 0.5), (1e-4, 1), (1e-9, 1)]
)
def test_a_fit_is_done_by_the_decades_that_its_change_has_fallen(change, expected):
    assert _decades_done(1.0, change, 1e-4) == pytest.approx(expected)


def test_the_state_of_a_fit(display):
    with display.fit("k = 3", 1e-4) as show:
        for iteration, change in enumerate([1.0, 0.01]):
            show(SimpleNamespace(iteration=iteration, objective=2.5, change=change))
        assert state(display) == "iteration 1, error 2.5, change 1.0e-02"
        assert display._progress.tasks[0].completed == pytest.approx(0.5)
    assert display._progress.tasks == []
