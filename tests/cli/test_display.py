import io
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from opnmf_pipeline import OPNMF
from opnmf_pipeline.cli.display import TerminalDisplay
from opnmf_pipeline.cli.timeleft import Course, left_of_items, words


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


def test_the_state_of_a_fit(display):
    with display.fit("k = 3") as show:
        assert state(display) == "looking for a start"
        for iteration, distance in enumerate([1e4, 1e2]):
            record = {"iteration": iteration, "objective": 2.5, "change": 0.01}
            show(SimpleNamespace(**record, distance=distance))
        assert state(display) == "iteration 1, error 2.5, change 1.0e-02"
        assert display._progress.tasks[0].completed == pytest.approx(0.5)
    assert display._progress.tasks == []


def test_without_a_terminal_lines_say_how_far_the_stages_are():
    file = io.StringIO()
    with TerminalDisplay(Console(file=file, width=20), line_every=0.01) as display:
        display.note("mask: computed")
        time.sleep(0.1)
        for _ in display.track(range(2), "matrix of a long name", 2):
            time.sleep(0.05)
    lines = file.getvalue().splitlines()
    assert "after 0 min: running; finished last: mask: computed" in lines
    assert "after 0 min: matrix of a long name: 1/2" in lines


def course(measure, times):
    found = Course()
    for seconds in times:
        found.add(seconds, measure(seconds))
    return found


def test_the_time_left_of_a_course_that_is_known():
    def falling(seconds):
        return 1e3 * np.exp(-seconds / 10)  # reaches 1 after 69 s

    end = 10 * np.log(1e3)
    assert course(falling, range(1, 60)).left() == pytest.approx(end - 59, rel=0.3)
    assert course(falling, np.linspace(0.01, 60, 3000)).left() == pytest.approx(end - 60, rel=0.3)
    assert course(falling, range(1, 60)).share_done() == pytest.approx(58 / (end - 1), rel=0.01)


def test_no_time_is_told_that_cannot_be_known():
    assert course(lambda s: 1e6 * np.exp(-s / 10), range(1, 20)).left() is None  # too early
    assert course(lambda s: 1e3 / s, range(1, 60)).left() is None  # a power of time: far away
    assert course(lambda s: 10 + np.sin(s), range(1, 60)).left() is None
    assert course(lambda s: 10.0, range(1, 60)).left() is None
    assert course(lambda s: 100.0 - s, range(1, 6)).left() is None  # too few
    assert course(lambda s: np.inf, range(1, 60)).left() is None


def test_the_time_left_of_items():
    assert left_of_items(10.0, 2, 12) is None
    assert left_of_items(10.0, 5, 15) == 20
    assert words(left_of_items(60.0, 10, 20)) == "about 1 min left"
    assert words(3600) == "about 1 h left"


@pytest.mark.parametrize("solver", ["multiplicative", "accelerated", "orthonormal", "adaptive"])
def test_a_fit_ends_when_the_distance_that_it_reports_is_below_one(X, solver):
    records = []
    model = OPNMF(3, solver=solver, tol=1e-3, callback=lambda record: records.append(record))
    model.fit(X)
    assert model.converged_
    assert records[-1].distance < 1
    assert all(record.distance > 0 for record in records)
