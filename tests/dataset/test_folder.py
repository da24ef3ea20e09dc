import json

import pytest

from opnmf_pipeline.dataset.description import dataset_description
from opnmf_pipeline.dataset.folder import FinishedRun, OutputFolder
from opnmf_pipeline.dataset.names import OUTPUTS
from opnmf_pipeline.exceptions import OutputError

SETTINGS = {"mask": {"threshold": 0.1}, "decomposition": {"n_components": [2, 3], "tol": 1e-5}}


def changed(**options):
    return SETTINGS | {"decomposition": SETTINGS["decomposition"] | options}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_text("new")
    return path


@pytest.fixture
def finished(tmp_path, source):
    """A folder that a run has filled."""
    folder = OutputFolder(tmp_path / "out", SETTINGS)
    folder.space = "space-MNI_"
    for k in (2, 3):
        folder.publish("dseg", source, k)
    folder.publish("metrics", source)
    folder.register("finished")
    return folder


def registry(folder):
    return json.loads((folder.root / "logs" / "run.json").read_text())


def test_paths(tmp_path):
    folder = OutputFolder(tmp_path / "out", SETTINGS)
    assert folder.path("dseg", 20).name == "desc-opnmfK20_dseg.nii.gz"
    folder.space = "space-MNI152_res-3mm_"
    expected = "group/space-MNI152_res-3mm_desc-opnmfK20_components.nii.gz"
    assert folder.path("components", 20) == tmp_path / "out" / expected
    assert not (tmp_path / "out").exists()


def test_names_do_not_collide():
    names = [name for name, _, _ in OUTPUTS.values()]
    assert len(set(names)) == len(names)


def test_registry(finished):
    written = registry(finished)
    assert written["Status"] == "finished"
    assert written["Settings"] == SETTINGS
    assert (
        written["Outputs"]["group/space-MNI_desc-opnmfK2_dseg.nii.gz"]
        == OUTPUTS["dseg"].description
    )
    assert all((finished.root / name).is_file() for name in written["Outputs"])


def test_the_same_run_may_go_on(finished):
    OutputFolder(finished.root, SETTINGS)


@pytest.mark.parametrize("ks", [[2, 3, 4], [4, 3, 2]])
def test_more_components_belong_to_the_same_run(finished, ks):
    OutputFolder(finished.root, changed(n_components=ks))


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        (changed(tol=1e-4), "decomposition.tol: 1e-05, now 0.0001"),
        (SETTINGS | {"mask": {}}, "mask.threshold: 0.1, now None"),
        (SETTINGS | {"inputs": {"filters": {}}}, "inputs: None, now {'filters': {}}"),
    ],
)
def test_another_run_is_refused(finished, settings, difference):
    with pytest.raises(OutputError) as info:
        OutputFolder(finished.root, settings)
    assert f"{finished.root} contains the results of a different run ({difference})" in str(
        info.value
    )
    assert "pass --overwrite" in str(info.value)


def test_another_version_is_refused(finished, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.dataset.folder.__version__", "99.0")
    with pytest.raises(OutputError, match=r"opnmf-pipeline \S+, this is 99\.0"):
        OutputFolder(finished.root, SETTINGS)


def test_overwrite_replaces_and_removes_what_is_left_over(finished, source):
    source.write_text("newer")
    folder = OutputFolder(finished.root, changed(n_components=[2], tol=0.1), overwrite=True)
    folder.space = "space-MNI_"
    folder.register("running")
    assert folder.path("dseg", 3).exists()
    folder.publish("dseg", source, 2)
    folder.register("finished")
    assert folder.path("dseg", 2).read_text() == "newer"
    assert not folder.path("dseg", 3).exists()
    assert not folder.path("metrics").exists()
    labels = "group/space-MNI_desc-opnmfK2_dseg.nii.gz"
    assert set(registry(folder)["Outputs"]) == {labels, "logs/run.json"}


STUDY = {"selection": {"candidates": [2, 3], "n_splits": 4}}


def test_runs_of_one_cohort_share_a_folder_and_replace_only_their_own_files(finished, source):
    source.write_text("of the study")
    study = OutputFolder(finished.root, changed(n_components=[]) | STUDY)
    study.space = "space-MNI_"
    for name in ("metrics", "splits"):
        study.publish(name, source)
    study.register("finished")
    assert study.kept_ks == [2, 3]
    assert finished.path("dseg", 3).read_text() == "new"
    assert registry(study)["Settings"] == SETTINGS | STUDY
    source.write_text("of k = 4")
    more = OutputFolder(finished.root, changed(n_components=[4]))
    more.space = "space-MNI_"
    more.publish("dseg", source, 4)
    more.register("finished")
    assert more.keeps_comparison
    assert more.path("splits").read_text() == "of the study"
    assert [more.path("dseg", k).read_text() for k in (2, 4)] == ["new", "of k = 4"]
    assert registry(more)["Settings"]["decomposition"]["n_components"] == [4, 2, 3]
    assert "group/desc-opnmf_splits.tsv" in registry(more)["Outputs"]


def test_overwrite_of_a_comparison_keeps_the_maps(finished, source):
    study = OutputFolder(finished.root, SETTINGS | STUDY)
    study.space = "space-MNI_"
    study.publish("dseg", source, 2)
    study.publish("splits", source)
    study.register("finished")
    other = {"selection": {"candidates": [3, 2, 5], "n_splits": 9}}
    with pytest.raises(OutputError, match=r"comparison .*\(selection\.n_splits: 4, now 9\)"):
        OutputFolder(finished.root, changed(n_components=[]) | other)
    folder = OutputFolder(finished.root, changed(n_components=[]) | other, overwrite=True)
    folder.publish("metrics", source)
    folder.register("failed")
    assert study.path("dseg", 2).exists()
    assert not study.path("splits").exists()


def test_sets_are_compared_as_sets(finished, source):
    filters = {"inputs": {"filters": {"label": ["GM", "WM"]}}}
    first = OutputFolder(finished.root, SETTINGS | STUDY | filters, overwrite=True)
    first.publish("metrics", source)
    first.register("finished")
    filters = {"inputs": {"filters": {"label": ["WM", "GM"]}}}
    study = {"selection": {"candidates": [3, 2], "n_splits": 4}}
    OutputFolder(finished.root, SETTINGS | study | filters)


def test_results_of_two_settings_never_stand_side_by_side(finished, source):
    folder = OutputFolder(finished.root, changed(tol=0.1), overwrite=True)
    folder.space = "space-MNI_"
    folder.register("running")
    folder.publish("dseg", source, 2)
    folder.register("failed")
    assert folder.path("dseg", 2).exists()
    assert not folder.path("dseg", 3).exists()
    assert not folder.path("metrics").exists()


def test_a_run_that_fails_before_it_has_results_removes_none(finished):
    folder = OutputFolder(finished.root, changed(tol=0.1), overwrite=True)
    folder.space = "space-MNI_"
    folder.register("running")
    folder.register("failed")
    assert folder.path("dseg", 3).exists()
    assert registry(folder)["Outputs"]["group/desc-opnmf_metrics.tsv"] == "From an earlier run"


def test_a_failed_addition_keeps_what_was_there(finished, source):
    folder = OutputFolder(finished.root, changed(n_components=[2, 3, 4]))
    folder.space = "space-MNI_"
    folder.publish("dseg", source, 2)
    folder.register("failed")
    assert folder.path("dseg", 3).exists()


def test_a_run_without_results_protects_nothing(tmp_path):
    OutputFolder(tmp_path / "out", SETTINGS).register("failed")
    OutputFolder(tmp_path / "out", changed(tol=0.1))


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_is_refused(tmp_path, overwrite):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(OutputError, match="is not empty and contains no run of opnmf-pipeline"):
        OutputFolder(tmp_path, SETTINGS, overwrite=overwrite)


def test_folder_with_intermediate_results_only_is_taken(tmp_path):
    (tmp_path / "work").mkdir()
    OutputFolder(tmp_path, SETTINGS)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SystemExit(143)])
def test_interrupted_copy_leaves_the_old_file(finished, source, monkeypatch, error):
    def interrupted(source, target):
        target.write_text("ha")
        raise error

    monkeypatch.setattr("shutil.copyfile", interrupted)
    with pytest.raises(OutputError if isinstance(error, OSError) else SystemExit):
        finished.publish("dseg", source, 2)
    assert finished.path("dseg", 2).read_text() == "new"
    assert [path for path in finished.root.rglob("*") if "partial" in path.name] == []


def test_a_file_where_a_folder_is_needed(tmp_path, source):
    folder = OutputFolder(tmp_path / "out", SETTINGS)
    folder.root.mkdir()
    (folder.root / "group").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        folder.publish("dseg", source, 2)


def test_dataset_description():
    description = json.loads(dataset_description({"inputs": {"bids": "/data/my study"}}))
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "opnmf-pipeline"
    assert description["SourceDatasets"] == [{"URL": "file:///data/my%20study"}]
    assert "SourceDatasets" not in json.loads(dataset_description({"inputs": {}}))


def test_whoever_reads_a_file_sees_the_old_one_or_the_new_one(finished, source):
    source.write_text("newer")
    with finished.path("dseg", 2).open() as reader:
        finished.publish("dseg", source, 2)
        assert reader.read() == "new"
    assert finished.path("dseg", 2).read_text() == "newer"


def test_jobs_that_write_the_same_file_do_not_share_a_partial_one(finished, source, monkeypatch):
    def meanwhile(this, target):
        """Let another job write the same file before the first has finished."""
        monkeypatch.undo()
        target.write_text("ha")
        finished.publish("dseg", this, 2)
        assert target.read_text() == "ha"
        target.write_text("half and half")

    monkeypatch.setattr("shutil.copyfile", meanwhile)
    finished.publish("dseg", source, 2)
    assert finished.path("dseg", 2).read_text() == "half and half"
    assert [path for path in finished.root.rglob("*") if "partial" in path.name] == []


@pytest.fixture
def several(tmp_path, source):
    """The folder of a finished run with k = 10, 9 and 2, in this order."""
    folder = OutputFolder(tmp_path / "out", SETTINGS)
    folder.space = "space-MNI_"
    folder.endings = {"image": ".nii", "labels": ".nii"}
    for k in (10, 9, 2):
        folder.publish("fit", source, k)
        folder.publish("dseg", source, k)
    folder.register("finished")
    return folder


@pytest.mark.parametrize("opened", [FinishedRun, OutputFolder.of_run])
def test_a_finished_run_is_found_as_it_was_left(several, opened):
    found = opened(several.root)
    assert found.ks == [2, 9, 10]
    assert found.path("dseg", 10) == several.path("dseg", 10)
    assert found.path("dseg", 10).exists()


def test_what_was_removed_from_a_finished_run_is_not_there(several):
    several.path("fit", 9).unlink()
    assert FinishedRun(several.root).ks == [2, 10]
    for k in (2, 10):
        several.path("fit", k).unlink()
    with pytest.raises(OutputError, match="contains no component maps"):
        FinishedRun(several.root)


def test_loadings_of_images_go_with_the_components_that_they_are_of(several, source):
    places = {"folder": "sub-01/ses-a/anat", "row": "sub-01_ses-a"}
    several.write_text("image_loadings", "1", 2, **places)
    several.write_text("image_loadings_json", "{}", 2, **places)
    loadings = [
        several.path(name, 2, **places) for name in ("image_loadings", "image_loadings_json")
    ]
    same = OutputFolder(several.root, SETTINGS)
    same.publish("dseg", source, 2)
    same.register("finished")
    assert all(path.exists() for path in loadings)
    other = OutputFolder(several.root, changed(tol=0.1), overwrite=True)
    other.publish("dseg", source, 2)
    other.register("finished")
    assert not any(path.exists() for path in loadings)


LEFT_AT_THE_START = ["work/.lock", ".lock", "logs/opnmf-pipeline.log", "logs/.run.json.1.partial"]


@pytest.mark.parametrize("text", [None, "", '{"Version": "0.1", "Stat', "[]", "3", "{}"])
def test_what_a_run_left_that_was_killed_at_its_start_is_taken(tmp_path, text):
    for name in LEFT_AT_THE_START:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    if text is not None:
        (tmp_path / "logs" / "run.json").write_text(text)
    folder = OutputFolder(tmp_path, SETTINGS)
    folder.sweep()
    assert not list(tmp_path.rglob("*.partial"))
    folder.register("finished")
    assert registry(folder)["Settings"] == SETTINGS


def test_results_whose_record_is_damaged_are_replaced_only_if_asked(finished, source):
    (finished.root / "logs" / "run.json").write_text('{"Version": "0.1", "Stat')
    with pytest.raises(OutputError, match=r"the record of their run cannot be read.*--overwrite"):
        OutputFolder(finished.root, SETTINGS)
    folder = OutputFolder(finished.root, SETTINGS, overwrite=True)
    folder.space = "space-MNI_"
    folder.publish("dseg", source, 2)
    folder.register("finished")
    assert folder.path("dseg", 2).exists()
    assert not folder.path("dseg", 3).exists()


def test_results_without_a_record_are_of_another_program(finished):
    (finished.root / "logs" / "run.json").unlink()
    with pytest.raises(OutputError, match="contains no run of opnmf-pipeline"):
        OutputFolder(finished.root, SETTINGS, overwrite=True)


def test_partial_files_of_jobs_that_write_loadings_stay(finished):
    theirs = finished.root / "sub-01" / "anat" / ".loadings.tsv.1.partial"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    finished.sweep()
    assert theirs.exists()
