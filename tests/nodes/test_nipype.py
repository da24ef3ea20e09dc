import inspect
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
from joblib.externals.loky import reusable_executor
from nipype.interfaces.base import Undefined
from nipype.interfaces.base.traits_extension import BasePath
from nipype.interfaces.utility import Function, IdentityInterface
from nipype.pipeline.engine import JoinNode, MapNode, Node, Workflow
from threadpoolctl import threadpool_info

from opnmf_pipeline.images import reading
from opnmf_pipeline.nodes import nipype as nodes
from opnmf_pipeline.nodes.options import options_of
from opnmf_pipeline.stages import decompose
from tests.builders import three_parts, write_cohort
from tests.models import write_model
from tests.nodes.battery import ELSEWHERE, K, content, settings_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::opnmf_pipeline.exceptions.ConvergenceWarning", "ignore:Too many cuts"
)

NAMES = nodes.__all__
RENAMED = {
    "matrix_file": "matrix_dir",
    "matrix_files": "matrix_dirs",
    "raw_file": "raw_dir",
    "model": "model_file",
    "factorization_file": "factorization_dir",
    "factorization_files": "factorization_dirs",
    "fits": "factorization_dirs",
    "compared": "factorization_dirs",
    "halves": "halves_files",
    "shared": "shared_files",
    "starts": "start_dirs",
    "permuted": "permuted_files",
    "figures": "components_figures",
    "quality": "quality_dir",
    "n_procs": "num_threads",
}
"""What a parameter of a function is called in its node, where a node takes it in another form."""
NO_INPUTS = {"out_file", "out_dir", "options", "matrix", "selection", "track", "callback"} | {
    "checkpoint",  # is no part of a result
    "scheduler",  # the local engine starts one
    "device",  # the local engine names it
    "values_dir",  # an output of MakeMask, and tested as an input of BuildMatrix
    "runs",  # a workflow of somebody else keeps its own records
}
"""Parameters that the nodes see to."""


def node(battery, name, base_dir, **changes):
    built = Node(getattr(nodes, name)(), name=name.lower(), base_dir=str(base_dir))
    for key, value in (battery[name].inputs | changes).items():
        setattr(built.inputs, key, value)
    built.config = {"execution": {"hash_method": "content"}}
    return built


def names(spec):
    return {name for name in spec.copyable_trait_names() if not name.startswith("trait_")}


def test_the_battery_has_every_node(battery):
    assert set(battery) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_node_writes_what_its_function_writes(battery, name, tmp_path, in_folder):
    outputs = node(battery, name, tmp_path / "work").run().outputs.get()
    expected = battery[name].outputs
    assert set(outputs) <= set(expected)
    for output, value in outputs.items():
        assert content(value) == content(expected[output]), output
    assert list(in_folder.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_absolute_and_in_the_folder_of_the_node(battery, name, tmp_path):
    built = node(battery, name, tmp_path / "work")
    for output, value in built.run().outputs.get().items():
        if output in ("images", "participants"):  # not written by the node
            continue
        for path in value if isinstance(value, list) else [value]:
            assert Path(path).is_absolute()
            assert Path(path).is_relative_to(built.output_dir())


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_those_of_the_settings(battery, name):
    spec = getattr(nodes, name).input_spec()
    for field, (section, setting) in settings_of(battery[name]).items():
        (option,) = [one for one in options_of(section) if one.name == setting]
        trait = spec.trait(field)
        assert trait is not None, f"{name} lacks {field}"
        assert trait.desc == option.description, field
        given = getattr(spec, field)
        if option.default is None or option.kind is dict:
            assert given is Undefined, field
        else:
            assert given == option.default, field
        if option.choices:
            assert set(trait.handler.values) == set(option.choices), field
        if option.low is not None:
            assert trait.handler._low == option.low, field
            assert trait.handler._exclude_low == option.open_low, field
        if option.high is not None:
            assert trait.handler._high == option.high, field


@pytest.mark.parametrize("name", NAMES)
def test_every_input_is_a_setting_or_named_in_the_battery(battery, name):
    known = (
        set(settings_of(battery[name])) | set(battery[name].inputs) | {"num_threads"} | ELSEWHERE
    )
    assert names(getattr(nodes, name).input_spec()) <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_the_function_is_an_input(battery, name):
    parameters = inspect.signature(battery[name].stage).parameters
    wanted = {RENAMED.get(one, one) for one in parameters if one not in NO_INPUTS}
    assert wanted <= names(getattr(nodes, name).input_spec())


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described_and_files_must_exist(name):
    interface = getattr(nodes, name)
    for spec in (interface.input_spec(), interface.output_spec()):
        for field in names(spec):
            trait = spec.trait(field)
            assert trait.desc, f"{name}.{field}"
            for one in (trait, *trait.inner_traits):
                if isinstance(one.trait_type, BasePath):
                    assert one.trait_type.exists, f"{name}.{field}"
    assert interface.__doc__


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("MakeMask", "coverage", 1.5),
        ("MakeMask", "coverage", 0),
        ("MakeMask", "method", "median"),
        ("MakeMask", "images", ["/nowhere/image.nii.gz"]),
        ("BuildMatrix", "voxel_size", 0),
        ("Decompose", "n_components", 0),
        ("Decompose", "init", "nndsdv"),
        ("Decompose", "tol", -1),
        ("Decompose", "matrix_dir", "/nowhere"),
        ("FitHalves", "split_file", "/nowhere/split-001.json"),
        ("FitPermuted", "seed", -1),
        ("SelectRank", "rule", "elbow"),
        ("WriteMaps", "mask_file", "/nowhere/mask.nii.gz"),
    ],
)
def test_impossible_values_are_refused_when_they_are_set(name, field, value):
    inputs = getattr(nodes, name)().inputs
    with pytest.raises(Exception, match=field):  # traits.TraitError, and Nipype's own
        setattr(inputs, field, value)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"bids": True, "glob": "*.nii.gz"}, "mutually exclusive"),
        ({"filters": {"label": "GM"}, "glob": "*.nii.gz"}, "requires"),
        ({}, "set exactly one of"),
    ],
)
def test_collect_cohort_takes_one_source(tmp_path, inputs, message):
    if "bids" in inputs:
        inputs = inputs | {"bids": str(tmp_path)}
    with pytest.raises((ValueError, OSError), match=message):
        nodes.CollectCohort(**inputs).run(cwd=str(tmp_path))


def test_collect_cohort_sees_a_new_subject(tmp_path):
    """What is in a folder is no input that a cache could see."""
    cohort = write_cohort(tmp_path / "dataset", three_parts(n_subjects=6))
    built = Node(
        nodes.CollectCohort(bids=str(cohort.root), filters={"label": "GM", "suffix": "probseg"}),
        name="collect",
        base_dir=str(tmp_path / "work"),
    )
    assert len(built.run().outputs.images) == 6
    write_cohort(tmp_path / "dataset", three_parts(n_subjects=7))
    assert len(built.run().outputs.images) == 7


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("MakeMask", {"threshold": 99.0}, "threshold"),
        ("Decompose", {"n_components": 9}, "9"),
        ("BuildMatrix", {"participants": ["sub-01"]}, "1"),
    ],
)
def test_the_error_of_a_stage_comes_through(battery, name, change, message, tmp_path):
    with pytest.raises(Exception, match=message):  # Nipype's own, with the traceback as its text
        node(battery, name, tmp_path / "work", **change).run()


class TestThreads:
    def test_reach_the_fit(self, battery, tmp_path, monkeypatch):
        seen = []

        def spy(*args, n_procs, **keywords):
            seen.append((n_procs, {pool["num_threads"] for pool in threadpool_info()}))
            return original(*args, n_procs=n_procs, **keywords)

        original = decompose.decompose
        monkeypatch.setattr(decompose, "decompose", spy)
        for threads in (1, 2):
            node(battery, "Decompose", tmp_path / str(threads), num_threads=threads).run()
        assert seen == [(1, {1}), (2, {2})]

    @pytest.mark.parametrize(
        "name",
        [name for name in NAMES if "num_threads" in names(getattr(nodes, name).input_spec())],
    )
    def test_are_no_part_of_the_hash(self, battery, name, tmp_path):
        hashes = {
            node(battery, name, tmp_path, num_threads=threads).inputs.get_hashval("content")[1]
            for threads in (1, 2)
        }
        assert len(hashes) == 1

    @pytest.mark.parametrize("name", ["MakeMask", "BuildMatrix", "ProjectSubjects"])
    def test_leave_no_process_behind(self, battery, name, tmp_path, monkeypatch):
        """A worker of the MultiProc plugin that has processes of its own would never end."""
        monkeypatch.setattr(reading, "PROCESS_START_S", 0)
        monkeypatch.setattr(reusable_executor, "_executor", None)
        outputs = node(battery, name, tmp_path, num_threads=2).run().outputs.get()
        assert reusable_executor._executor is None
        for output, value in outputs.items():
            assert content(value) == content(battery[name].outputs[output])

    def test_are_those_that_the_node_reserves(self, battery, tmp_path):
        built = node(battery, "Decompose", tmp_path)
        built.n_procs = 2
        assert built.inputs.num_threads == 2


def test_mapnode(battery, tmp_path):
    built = MapNode(
        nodes.Decompose(), iterfield=["n_components"], name="fits", base_dir=str(tmp_path)
    )
    for key, value in (battery["Decompose"].inputs | {"n_components": [2, K]}).items():
        setattr(built.inputs, key, value)
    folders = built.run().outputs.factorization_dir
    assert content(folders[1]) == content(battery["Decompose"].outputs["factorization_dir"])
    ks = [json.loads((Path(f) / "factorization.json").read_text()) for f in folders]
    assert [info["NumberOfComponents"] for info in ks] == [2, K]


def test_iterables_and_joinnode(battery, tmp_path):
    workflow = Workflow("joined", base_dir=str(tmp_path))
    ranks = Node(IdentityInterface(["n_components"]), name="ranks")
    ranks.iterables = ("n_components", [2, K])
    fit = node(battery, "Decompose", tmp_path, n_components=Undefined)
    select = JoinNode(
        nodes.SelectRank(mask_file=str(battery["SelectRank"].inputs["mask_file"])),
        joinsource="ranks",
        joinfield=["factorization_dirs"],
        name="select",
    )
    workflow.connect(ranks, "n_components", fit, "n_components")
    workflow.connect(fit, "factorization_dir", select, "factorization_dirs")
    graph = workflow.run("Linear")
    (joined,) = [one for one in graph.nodes if one.name == "select"]
    table = Path(joined.result.outputs.metrics_file).read_text().splitlines()
    assert [row.split("\t")[0] for row in table[1:]] == ["2", str(K)]


@pytest.fixture
def small(tmp_path):
    """A workflow from images to maps that counts the runs of its nodes, and its cohort."""
    cohort = write_cohort(tmp_path / "dataset", three_parts(n_subjects=6))
    images = [str(path) for path in cohort.images]

    def run(**execution):
        mask = Node(nodes.MakeMask(images=images), name="mask")
        matrix = Node(nodes.BuildMatrix(images=images, participants=cohort.subjects), name="matrix")
        fit = Node(nodes.Decompose(n_components=2, max_iter=20), name="fit")
        maps = Node(nodes.WriteMaps(), name="maps")
        workflow = Workflow("small", base_dir=str(tmp_path / "work"))
        workflow.config["execution"] = {"hash_method": "content", **execution}
        workflow.connect(
            [
                (mask, matrix, [("mask_file", "mask_file")]),
                (matrix, fit, [("matrix_dir", "matrix_dir")]),
                (fit, maps, [("factorization_dir", "factorization_dir")]),
                (mask, maps, [("mask_file", "mask_file")]),
            ]
        )
        computed = []

        def watch(one, status):
            if status == "start" and not all(one.is_cached()):
                computed.append(one.name)

        workflow.run("Linear", plugin_args={"status_callback": watch})
        return computed

    return run, cohort


def test_a_changed_image_reruns_what_depends_on_it_and_a_touched_one_nothing(small):
    run, cohort = small
    assert run() == ["mask", "matrix", "fit", "maps"]
    os.utime(cohort.images[0], (1, 1))
    assert run() == []
    cohort.damage(0, cohort.values[0] * 1.01)
    assert run() == ["mask", "matrix", "fit", "maps"]


def test_side_files_survive_the_removal_of_outputs_that_nobody_asked_for(small, tmp_path):
    run, _ = small
    run(remove_unnecessary_outputs=True)
    maps = tmp_path / "work" / "small" / "maps"
    assert {path.name for path in maps.rglob("*.json") if "0x" not in path.name} >= {
        "components.json",
        "dseg.json",
        "loadings.json",
    }
    (fit,) = (tmp_path / "work" / "small" / "fit").glob("factorization-*")
    assert {path.name for path in fit.iterdir()} >= {"W.npy", "H.npy", "factorization.json"}
    shutil.rmtree(maps)
    assert run(remove_unnecessary_outputs=True) == ["maps"]


def test_what_an_interrupted_node_left_is_no_result(battery, tmp_path):
    left = tmp_path / "maps" / "left.txt"
    left.parent.mkdir()
    left.touch()
    maps_dir = (
        nodes.WriteMaps(**battery["WriteMaps"].inputs).run(cwd=str(tmp_path)).outputs.maps_dir
    )
    assert content(maps_dir) == content(battery["WriteMaps"].outputs["maps_dir"])
    assert not list(tmp_path.rglob("left.txt"))


def test_nodes_feed_functions_of_others(battery, tmp_path):
    workflow = Workflow("foreign", base_dir=str(tmp_path))
    fit = node(battery, "Decompose", tmp_path)
    size = Node(Function(["folder"], ["n"], _files), name="size")
    workflow.connect(fit, "factorization_dir", size, "folder")
    graph = workflow.run("Linear")
    (last,) = [one for one in graph.nodes if one.name == "size"]
    assert last.result.outputs.n == 3  # W.npy, H.npy, factorization.json


def _files(folder):
    from pathlib import Path

    return len(list(Path(folder).iterdir()))


def test_a_model_in_place_of_a_fit(battery, tmp_path):
    given = dict(battery["ProjectSubjects"].inputs)
    fit = Path(given.pop("factorization_dir")) / "factorization.json"
    adjustment = Path(given.pop("matrix_dir")) / "adjustment.json"
    model = write_model(tmp_path / "model", fit, given.pop("mask_file"), adjustment=adjustment)
    interface = nodes.ProjectSubjects(model_file=model / "model.json", **given)
    found = Node(interface, name="projected", base_dir=str(tmp_path)).run().outputs.loadings_file
    expected = battery["ProjectSubjects"].outputs["loadings_file"]
    pd.testing.assert_frame_equal(*(pd.read_csv(path, sep="\t") for path in (found, expected)))
