"""What became of the jobs of a run."""

from pathlib import Path

import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.graph import Graph
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import steps_of
from tests.engines.conftest import Lines

KS = {"inputs": {"bids": "data"}, "decomposition": {"n_components": [3, 2]}}


@pytest.fixture
def jobs():
    graph = Graph.of_steps(steps_of(PipelineConfig.model_validate(KS)))
    return {job.name: job for job in graph.jobs}


def test_what_was_reused_was_not_computed(jobs):
    display = Lines()
    outcome = Outcome(display)
    outcome.finish(jobs["mask"], {}, computed=False)
    outcome.finish(jobs["decompose_k3"], {}, computed=True)
    outcome.fail(jobs["decompose_k2"], "no memory")
    assert outcome.computed == ["decompose, k = 3"]
    assert outcome.failed == ["decompose, k = 2"]
    assert display.lines == [
        *("mask: reused", "decompose, k = 3: computed", "decompose, k = 2: failed")
    ]


def test_outputs_are_found_by_step_and_number(jobs):
    outcome = Outcome(Lines())
    for name in ("decompose_k3", "maps_k3", "decompose_k2", "mask"):
        outcome.finish(jobs[name], {"out": f"of/{name}"}, computed=True)
    assert outcome.by_rank("decompose", "out") == {
        3: Path("of/decompose_k3"),
        2: Path("of/decompose_k2"),
    }
    assert outcome.paths("maps", "out") == [Path("of/maps_k3")]
    assert outcome.path("mask", "out") == Path("of/mask")
    assert outcome.path("select", "out") is None
    assert outcome.outputs(jobs["maps_k2"]) is None
    assert outcome.outputs(jobs["maps_k3"]) == {"out": "of/maps_k3"}
