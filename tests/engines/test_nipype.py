import logging
import os
from glob import glob

import nibabel as nb
import nipype.pipeline.plugins.base
import pytest
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from opnmf_pipeline.engines import nipype as engine
from opnmf_pipeline.engines.graph import Graph
from opnmf_pipeline.engines.nipype import init_opnmf_wf
from opnmf_pipeline.engines.outcome import Outcome
from opnmf_pipeline.engines.steps import steps_of
from opnmf_pipeline.exceptions import EngineError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.nodes import nipype as interfaces
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.runs.study import collect_study
from opnmf_pipeline.stages.memory import GB, fit_bytes
from tests.engines.conftest import Lines

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

ONE = "decomposition.n_components=2"
OF_ONE_K = ("decompose, k = 2", "maps, k = 2", "associations, k = 2")


def lowered(image, factor):
    """Return an image with smaller values; Nipype takes the source of this function."""
    from pathlib import Path

    import nibabel as nb

    source = nb.load(image)
    nb.Nifti1Image(source.get_fdata() * factor, source.affine).to_filename("lowered.nii.gz")
    return str(Path("lowered.nii.gz").resolve())


def test_as_a_part_of_another_workflow(study, tmp_path):
    cohort = study.cohort
    ready = MapNode(Function(function=lowered), iterfield=["image"], name="ready")
    ready.inputs.image = [str(path) for path in cohort.images]
    ready.inputs.factor = 0.9
    opnmf = init_opnmf_wf(study.config("nipype"), name="components")
    opnmf.inputs.inputnode.participants = cohort.subjects
    after = Node(IdentityInterface(["maps", "labels"]), name="after")
    workflow = Workflow("foreign", base_dir=str(tmp_path / "work"))
    workflow.connect(
        [
            (ready, opnmf, [("out", "inputnode.images")]),
            (opnmf, after, [("outputnode.components_file", "maps")]),
        ]
    )
    graph = workflow.run("Linear")
    (every,) = [node for node in graph.nodes if node.name == "all_outputnode_components_file"]
    assert [nb.load(path).shape[3] for path in every.result.outputs.out] == [3, 2]
    (select,) = [node for node in graph.nodes if node.name == "select"]
    assert select.result.outputs.metrics_file


def test_outputnode_has_what_the_documentation_says(study):
    opnmf = init_opnmf_wf(study.config("nipype", "selection.n_splits=1", "report.figures=true"))
    for name in ("inputnode", "outputnode"):
        node = opnmf.get_node(name)
        for field in node.interface._fields:
            assert f"``{field}``" in init_opnmf_wf.__doc__, field


def test_the_linear_plugin(study):
    _, lines = study.run("nipype", "execution.plugin=Linear", ONE)
    assert sorted(lines[2:]) == sorted(
        f"{stage}: computed"
        for stage in ("mask", "matrix", *OF_ONE_K, "select", "quality", "report")
    )


def test_what_the_linear_plugin_skips_has_not_finished(study, each_fit):
    def fail(k):
        raise MemoryError("no memory")

    each_fit(fail)
    display = Lines()
    with pytest.raises(EngineError, match="decompose, k = 2: MemoryError"):
        run(study.config("nipype", "execution.plugin=Linear", ONE), display)
    assert "decompose, k = 2: failed" in display.lines
    assert [line for line in display.lines if line.startswith(("maps", "select", "report"))] == []


def test_the_message_names_node_error_and_crash_files(study, each_fit):
    def fail(k):
        raise MemoryError("no memory")

    each_fit(fail)
    with pytest.raises(EngineError, match="decompose, k = 2: MemoryError: no memory") as raised:
        study.run("nipype", ONE)
    (crashes,) = study.out("nipype").glob("work/nipype-*/crashes")
    assert str(crashes) in str(raised.value)
    assert "no memory" in next(crashes.glob("*.txt")).read_text()


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_of_nipype_is_for_those_who_ask(study, monkeypatch, verbose):
    levels = []
    monkeypatch.setattr(
        Workflow, "run", lambda *_, **__: levels.append(logging.getLogger("nipype.workflow").level)
    )
    logger = logging.getLogger("opnmf_pipeline")
    monkeypatch.setattr(logger, "level", logging.DEBUG if verbose else logging.WARNING)
    logger.manager._clear_cache()
    before = logging.getLogger("nipype.workflow").level
    config = study.config("nipype", ONE)
    collected = collect_study(config, study.root / "cohort.tsv")
    outcome = Outcome(Lines())
    engine.compute(collected.graph, collected.given, config, study.root / "w", outcome, Lines())
    assert levels == [before if verbose else logging.CRITICAL]
    assert logging.getLogger("nipype.workflow").level == before


@pytest.mark.parametrize(
    ("n_procs", "ks", "n_splits"), [(1, [2], 0), (2, [2], 0), (4, [2, 3], 1), (8, [2, 3, 4], 0)]
)
def test_no_node_takes_more_threads_than_there_are(study, n_procs, ks, n_splits):
    config = study.config(
        "nipype",
        f"execution.n_procs={n_procs}",
        f"decomposition.n_components={ks}",
        f"selection.n_splits={n_splits}",
    )
    workflow = init_opnmf_wf(config)
    engine._share_threads(workflow, Graph.of_steps(steps_of(config)), config.execution)
    fits = [workflow.get_node(f"decompose_k{k}").n_procs for k in ks]
    assert sum(fits) <= max(n_procs, len(ks))
    for name in workflow.list_node_names():
        node = workflow.get_node(name)
        assert 1 <= node.n_procs <= n_procs
        if hasattr(node.inputs, "num_threads"):
            assert node.inputs.num_threads == node.n_procs


def test_memory_comes_from_the_size_of_the_matrix(study, monkeypatch):
    study.run("nipype", ONE)
    config = study.config("nipype", ONE)
    workflow = init_opnmf_wf(config)
    (matrix_dir,) = study.out("nipype").glob("work/nipype-*/opnmf_wf/matrix/matrix-*")
    fit = workflow.get_node("decompose_k2")
    fit.inputs.matrix_dir = str(matrix_dir)
    n_voxels = len(read_matrix(matrix_dir / "matrix.json")[0])
    assert fit.mem_gb_runtime == pytest.approx(fit_bytes(n_voxels, 8, 2, "float32") / GB)


@pytest.mark.parametrize("given", ["", "--mem=9G"])
def test_slurm_is_asked_for_what_a_node_takes(study, given):
    watcher = engine._Watcher(Graph([]), Outcome(Lines()), given)
    node = init_opnmf_wf(study.config("nipype")).get_node("mask")
    node.n_procs = 2
    node.inputs.images = [str(path) for path in study.cohort.images]
    expected = ["--cpus-per-task=2"] if given else ["--mem=300M", "--cpus-per-task=2"]
    assert watcher._sized(node).split() == expected


def test_a_name_for_the_jobs_of_slurm(study, monkeypatch):
    monkeypatch.delenv("LOGNAME", raising=False)
    monkeypatch.setattr(engine.getpass, "getuser", lambda: "somebody")
    study.run("nipype", "execution.plugin=Linear", ONE)
    assert os.environ["LOGNAME"] == "somebody"


def test_a_folder_with_brackets_is_no_pattern(study, tmp_path):
    """Nipype itself deletes its own files there; outside of our nodes, it is not changed."""

    def in_brackets(kind):
        images = list(map(str, study.cohort.images))
        place = tmp_path / kind.__name__ / "study [old]"
        node = kind(interfaces.MakeMask(images=images), name="mask", base_dir=str(place))
        node.run()
        return node.is_cached()

    with pytest.raises(FileNotFoundError, match="unfinished"):
        in_brackets(Node)
    assert in_brackets(engine._Node) == (True, True)
    modules = (nipype.pipeline.engine.nodes, nipype.pipeline.plugins.base)
    assert [module.glob for module in modules] == [glob, glob]


def test_a_file_that_nipype_could_not_write_means_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("nipype.pipeline.engine.nodes._save_hashfile", lambda *args: None)
    node = engine._Node(IdentityInterface(["a"], a=1), name="node", base_dir=str(tmp_path))
    with pytest.raises(OSError, match=r"No space left on device: '.*_unfinished.json'"):
        node.run()
