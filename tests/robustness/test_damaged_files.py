"""Files that others wrote or damaged: each ends in one of our errors, or in a report."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opnmf_pipeline.cli import bids_main, main
from opnmf_pipeline.exceptions import ExitCode, FileError
from opnmf_pipeline.files import read_object
from tests.builders import three_parts, write_cohort
from tests.robustness.generated import cases

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

CONTENTS = {
    "3": b"3",
    "null": b"null",
    "list": b"[]",
    "empty": b"",
    "deep": b"[" * 100_000,
    "NaN": b'{"Name": NaN}',
    "not UTF-8": b'{"Name": "M\xfcller"}',
    "half": b'{"Name": "x", "BI',
    "digits": b'{"Name": ' + b"9" * 5000 + b"}",
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_json_without_an_object_is_an_error_with_the_file(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(CONTENTS[content])
    with pytest.raises(FileError) as info:
        read_object(path)
    assert str(info.value).startswith(f"{path}: ")
    assert len(str(info.value)) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@cases(quick=60)
@given(content=JSON | st.dictionaries(st.sampled_from(["Name", "age", "DatasetDOI"]), JSON))
def test_any_json_is_an_object_or_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    text = path.read_text()
    if isinstance(content, dict) and "NaN" not in text and "Infinity" not in text:
        assert read_object(path) == content
    elif not isinstance(content, dict):
        with pytest.raises(FileError, match=r"any\.json: "):
            read_object(path)


@pytest.mark.parametrize("name", ["dataset_description.json", "participants.json"])
@pytest.mark.parametrize("content", ["3", "deep", "not UTF-8"])
def test_json_of_the_input_is_refused_before_the_run(
    name, content, cohort, settings, write_config, tmp_path, capfd
):
    (cohort.root / name).write_bytes(CONTENTS[content])
    for command in ("check", "run"):
        code = main([command, str(write_config(settings)), "-o", str(tmp_path / "out")])
        assert code == 2
        message = capfd.readouterr().err
        assert str(cohort.root / name) in message
        assert "Traceback" not in message
    assert not (tmp_path / "out").exists()


def test_descriptions_of_any_kind_are_no_obstacle(cohort, settings, write_config, tmp_path):
    (cohort.root / "participants.json").write_text('{"age": 3, "x": null}')
    (cohort.root / "dataset_description.json").write_text('{"DatasetDOI": [1], "GeneratedBy": 3}')
    assert main(["run", str(write_config(settings)), "-o", str(tmp_path / "out"), "-q"]) == 0
    described = json.loads((tmp_path / "out" / "participants.json").read_text())
    assert "Description" in described["age"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The output folder of a run."""
    root = tmp_path_factory.mktemp("finished")
    cohort = write_cohort(root / "dataset", three_parts())
    config = root / "config.yaml"
    config.write_text(
        f"inputs: {{bids: {cohort.root}, filters: {{label: GM}}}}\n"
        "decomposition: {n_components: [2, 3], max_iter: 50, tol: 1e-3}\n"
        "selection: {n_splits: 2}\nreport: {figures: false}\n"
        "execution: {n_procs: 1}\n"
    )
    assert main(["run", str(config), "-o", str(root / "out"), "-q", "-w", str(root / "work")]) == 0
    return root / "out"


def damaged(path, kind):
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        changed = {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "other type": b"null",
            "one byte": b"#" + content[1:],
            "binary": bytes(range(256)) * 4,
        }
        path.write_bytes(changed[kind])


FILES = (
    *("logs/run.json", "logs/config.yaml", "logs/cohort.tsv"),
    "logs/desc-opnmfK2_factorization.json",
    *("group/desc-opnmf_metrics.tsv", "group/desc-opnmf_metrics.json"),
    *("group/desc-opnmf_subjects.tsv", "group/desc-opnmf_selection.json"),
    "group/desc-opnmfK3_loadings.tsv",
    *("group/{space}desc-opnmf_mask.nii.gz", "group/{space}desc-opnmfK2_components.nii.gz"),
    *("group/{space}desc-opnmfK2_dseg.tsv", "group/{space}desc-opnmf_mean.nii.gz"),
)
RARE = ("truncated", "other type", "folder", "binary")
KINDS = ("missing", "empty", "one byte", *(pytest.param(k, marks=pytest.mark.slow) for k in RARE))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", FILES)
def test_report_on_a_damaged_output(finished, tmp_path, capfd, file, kind):
    name = file.format(space="space-MNI152_res-3mm_")
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    damaged(out / name, kind)
    assert main(["report", str(out)]) == 2
    message = capfd.readouterr().err
    assert str(out if name == "logs/run.json" else out / name) in message
    assert "Traceback" not in message


def test_report_does_not_need_the_other_files(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for name in ("participants.tsv", "dataset_description.json", "README.md"):
        (out / name).unlink()
    assert main(["report", str(out)]) == 0


FIT = "logs/desc-opnmfK2_factorization.json"
REGISTRIES = st.fixed_dictionaries(
    {},
    optional={
        "Version": st.sampled_from(["0", 3, None]),
        "Settings": st.sampled_from([{}, 3, [], {"a": 1}]),
        "Outputs": st.sampled_from(
            [{}, [], {FIT: "x"}, {FIT: 3}, {FIT: "x", "../../x": "x"}, {FIT: "x", "/x": "x"}]
        ),
        "Runs": st.sampled_from([[], 3, [3], [{}]]),
        "Space": st.sampled_from(["", "../../", 3, "a_"]),
        "Image": st.sampled_from([".nii.gz", "/../../x", None]),
        "SHA256": st.sampled_from([{}, 3, {"logs/config.yaml": 3}]),
    },
)


@cases(quick=25)
@given(registry=REGISTRIES)
def test_report_on_any_registry(registry, finished, tmp_path_factory):
    out = tmp_path_factory.getbasetemp() / "registry" / "out"
    if not out.exists():
        shutil.copytree(finished, out)
    (out / "logs" / "run.json").write_text(json.dumps(registry))
    assert main(["report", str(out)]) == 2


def test_a_registry_cannot_remove_files_of_others(finished, tmp_path, capfd):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    precious = tmp_path / "precious"
    precious.touch()
    path = out / "logs" / "run.json"
    registry = json.loads(path.read_text())
    registry["Outputs"]["../precious"] = "x"
    path.write_text(json.dumps(registry))
    config = str(out / "logs" / "config.yaml")
    command = ["run", config, "-o", str(out), "--set", "mask.threshold=0.15"]
    assert main(command) == ExitCode.INPUT
    assert f"the record of their run cannot be read ({path})" in capfd.readouterr().err
    assert main([*command, "--overwrite"]) == ExitCode.SUCCESS
    assert precious.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["components.nii.gz", "model.json"])
def test_a_damaged_model_gives_no_loadings(finished, tmp_path, capfd, kind, name):
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    (path,) = out.rglob(f"*K3_{name}")
    damaged(path, kind)
    data = finished.parent / "dataset"
    code = bids_main([str(data), str(tmp_path / "new"), "participant", "--model", str(out), "-q"])
    message = capfd.readouterr().err
    if name == "model.json" and kind == "missing":
        assert code == 0  # K = 3 is then no result of the model
    else:
        assert (code, str(path) in message) == (2, True), message
