import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.cli.graph import graph_of
from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.engines.steps import steps_of
from opnmf_pipeline.exceptions import ConfigError

PLAIN = {
    ("images", "mask"),
    ("mask", "matrix"),
    ("matrix", "decompose"),
    ("decompose", "maps"),
    ("decompose", "select"),
    ("matrix", "quality"),
    ("quality", "report"),
    ("select", "report"),
    ("maps", "associations"),
    ("associations", "report"),
}
NO_PICTURES: set[tuple[str, str]] = set()
PICTURES = {("maps", "figures"), ("figures", "report")}
HALVES = {("images", "splits"), ("splits", "halves"), ("matrix", "halves"), ("halves", "select")}
HALVES |= {("halves", "reliability"), ("maps", "reliability"), ("reliability", "report")}
SAMPLES = {("matrix", "bootstrap"), ("bootstrap", "reliability")}
SAMPLES |= {("maps", "reliability"), ("reliability", "report")}
STARTS = {("matrix", "start"), ("start", "select")}
SHARED = {("splits", "shared"), ("matrix", "shared"), ("shared", "select")}


def config(**sections):
    return PipelineConfig.model_validate({"inputs": {"bids": "data"}, **sections})


@pytest.mark.parametrize(
    ("sections", "more"),
    [
        ({"report": {"figures": False}}, NO_PICTURES),
        ({}, PICTURES),
        ({"selection": {"n_splits": 2}}, PICTURES | HALVES | STARTS),
        ({"selection": {"leave_out": "site"}}, PICTURES | HALVES | STARTS),
        ({"selection": {"n_splits": 2, "n_starts": 0}}, PICTURES | HALVES),
        ({"selection": {"n_starts": 2}}, PICTURES | STARTS),
        ({"selection": {"n_bootstraps": 2}}, PICTURES | SAMPLES),
        (
            {"selection": {"n_splits": 2, "n_starts": 0, "shared_start": True}},
            PICTURES | HALVES | SHARED,
        ),
        (
            {"selection": {"candidates": [3, 4], "n_permutations": 1}},
            PICTURES
            | {("matrix", name) for name in ("candidate", "permuted")}
            | {(name, "select") for name in ("candidate", "permuted")},
        ),
    ],
)
def test_each_stage_waits_for_what_it_needs(sections, more):
    assert set(graph_of(config(**sections)).edges()) == PLAIN | more


def test_leaving_out_needs_the_number_of_groups():
    with pytest.raises(ConfigError, match=r"n_splits: is required with selection\.leave_out: site"):
        steps_of(config(selection={"leave_out": "site"}))


def test_the_picture(write_config, settings, tmp_path):
    path = str(write_config(settings))
    assert main(["graph", path, "-o", str(tmp_path / "graph.svg")]) == 0
    text = (tmp_path / "graph.svg").read_text()
    assert text.startswith("<?xml")
    assert main(["graph", path, "-o", str(tmp_path / "graph.png")]) == 0


def test_a_format_that_cannot_be_drawn(write_config, settings, tmp_path, capsys):
    assert main(["graph", str(write_config(settings)), "-o", str(tmp_path / "graph.txt")]) == 2
    assert "graph.txt: expected a name ending in .pdf, .png, .svg" in capsys.readouterr().err


def test_pydra_finds_the_tasks_among_its_own():
    import pydra.tasks.opnmf as tasks

    from opnmf_pipeline.nodes import pydra as nodes

    assert set(tasks.__all__) == {*nodes.__all__, "OpnmfWorkflow"}
    assert tasks.Decompose is nodes.Decompose
