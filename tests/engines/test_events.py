"""Notes by which the jobs of a Pydra run tell the process of the run how they ended."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from fileformats.generic import File

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines import events
from opnmf_pipeline.engines.events import EVENTS, Follower, job_hooks, unreported
from opnmf_pipeline.engines.graph import Graph
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import steps_of
from tests.engines.conftest import Lines

STUDY = {
    "inputs": {"bids": "data"},
    "decomposition": {"n_components": [2]},
    "selection": {"n_splits": 2},
}


@attrs.define
class Outputs:
    halves_file: File | list[File] | str


@pytest.fixture
def graph():
    return Graph.of_steps(steps_of(PipelineConfig.model_validate(STUDY)))


@pytest.fixture
def outcome():
    return Outcome(Lines())


@pytest.fixture
def halves(tmp_path):
    """The job of the second split, as Pydra has it, and its result."""
    (tmp_path / EVENTS).mkdir()
    (tmp_path / "job").mkdir()
    (tmp_path / "halves.json").write_text("{}")
    job = SimpleNamespace(
        name="halves_k2", state_index=1, uid="u", cache_root=tmp_path, cache_dir=tmp_path / "job"
    )
    return job, SimpleNamespace(outputs=Outputs(File(tmp_path / "halves.json")))


def second_split(graph):
    (job,) = [one for one in graph.jobs if one.name == "halves_k2_split2"]
    return job


def test_a_finished_job_is_known_by_its_split(halves, graph, outcome, tmp_path):
    with Follower(tmp_path / EVENTS, graph, outcome) as follower:
        job_hooks().post_run(*halves)
    assert outcome.computed == ["halves, k = 2, split 2"]
    assert outcome.outputs(second_split(graph)) == {"halves_file": str(tmp_path / "halves.json")}
    assert follower.failed == []
    assert list((tmp_path / EVENTS).iterdir()) == []


def test_the_last_notes_are_taken(halves, graph, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "POLL_S", 60)
    with Follower(tmp_path / EVENTS, graph, outcome):
        job_hooks().post_run(*halves)
    assert len(outcome.computed) == 1


def test_notes_are_taken_while_the_run_goes_on(halves, graph, outcome, tmp_path, monkeypatch):
    monkeypatch.setattr(events, "POLL_S", 0.01)
    with Follower(tmp_path / EVENTS, graph, outcome):
        job_hooks().post_run(*halves)
        deadline = time.monotonic() + 30
        while not outcome.computed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(outcome.computed) == 1


def test_what_was_there_was_not_computed(halves, graph, outcome, tmp_path, monkeypatch):
    job, result = halves
    job.checksum, job.all_caches, result.errored = "sum", [], False
    monkeypatch.setattr(events, "load_result", lambda *_: result)
    with Follower(tmp_path / EVENTS, graph, outcome):
        job_hooks().pre_run(job)
    assert outcome.computed == []
    assert outcome.outputs(second_split(graph)) is not None


def test_an_error_comes_through(halves, graph, outcome, tmp_path):
    with Follower(tmp_path / EVENTS, graph, outcome) as follower:
        try:
            raise MemoryError("no memory\nfor k = 2")
        except MemoryError:
            job_hooks().post_run_task(*halves)
    assert outcome.failed == ["halves, k = 2, split 2"]
    assert outcome.outputs(second_split(graph)) is None
    assert follower.failed == [
        f"  halves, k = 2, split 2: MemoryError: no memory\n    for k = 2 ({tmp_path / 'job'})"
    ]


def test_a_job_that_only_gathers_has_no_note_of_its_own(halves, graph, outcome, tmp_path):
    job, result = halves
    job.name = "gather_select_halves_files"
    with Follower(tmp_path / EVENTS, graph, outcome):
        job_hooks().post_run(job, result)
    assert outcome.computed == []


def test_outside_of_a_run_there_is_nobody_to_tell(halves, tmp_path):
    (tmp_path / EVENTS).rmdir()
    job_hooks().post_run(*halves)
    assert {path.name for path in tmp_path.iterdir()} == {"halves.json", "job"}
    assert list((tmp_path / "job").iterdir()) == []


def test_half_a_note_is_not_read(halves, graph, outcome, tmp_path, monkeypatch):
    def interrupted(path, text, **_):
        with path.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise OSError

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(OSError):  # noqa: PT011
        job_hooks().post_run(*halves)
    with Follower(tmp_path / EVENTS, graph, outcome):
        pass
    assert outcome.computed == []


def test_notes_are_taken_in_the_order_of_their_times(halves, graph, outcome, tmp_path):
    record = {"outputs": {}, "error": "late", "folder": "", "status": "computed"}
    for number, name in ((2, "mask"), (1, "quality"), (3, "splits")):
        note = record | {"name": name, "number": None}
        (tmp_path / EVENTS / f"{number}-u-{name}.json").write_text(json.dumps(note))
    with Follower(tmp_path / EVENTS, graph, outcome):
        pass
    assert outcome.computed == ["quality", "mask", "splits"]


def test_an_error_of_the_engine_itself_is_named_not_its_note(graph):
    report = "Traceback (most recent call last):\n  ...\nOSError: [Errno 28] full: 'hash'\na note\n"
    result = SimpleNamespace(errors={"error message": [report]})
    assert unreported(result, graph) == ["  OSError: [Errno 28] full: 'hash'"]
