from pathlib import Path

import pytest

from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.bids import common_entity, find_images


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def dataset(tmp_path):
    """Three subjects with two runs, two labels, a side-car and a transform each."""
    root = tmp_path / "derivatives" / "tool-1.2"
    for subject in ("sub-01", "sub-02", "sub-A3"):
        for run in (1, 2):
            touch(
                root,
                f"{subject}/anat/{subject}_run-{run:02d}_space-MNI_label-GM_probseg.nii.gz",
                f"{subject}/anat/{subject}_run-{run:02d}_space-MNI_label-GM_probseg.json",
            )
        touch(root, f"{subject}/anat/{subject}_run-01_space-MNI_label-WM_probseg.nii")
    (root / "dataset_description.json").write_text('{"Name": "d", "BIDSVersion": "1.8.0"}')
    return root


def names(root, **filters):
    return [Path(path).name for path in find_images(root, filters)["image"]]


@pytest.mark.parametrize(
    "filters",
    [
        {"label": "GM", "run": "1"},
        {"label": "GM", "run": "01"},
        {"label": ["GM"], "run": ["01"], "suffix": "probseg", "datatype": "anat"},
        {"space": "MNI", "label": "GM", "run": "1", "extension": ".nii.gz"},
        {"label": "GM", "run": "1", "ext": ".nii.gz"},
    ],
)
def test_filters(dataset, filters):
    found = sorted(names(dataset, **filters))
    assert found == [
        f"{subject}_run-01_space-MNI_label-GM_probseg.nii.gz"
        for subject in ("sub-01", "sub-02", "sub-A3")
    ]


@pytest.mark.parametrize("key", ["sub", "subject"])
def test_short_and_long_names(dataset, key):
    assert len(names(dataset, **{key: "A3"})) == 3


def test_several_values(dataset):
    assert len(names(dataset, label=["GM", "WM"], run="1")) == 6
    assert len(names(dataset, run=["1", "2"], label="GM")) == 6


def test_extension_is_nifti_unless_named(dataset):
    assert len(names(dataset)) == 9
    assert len(names(dataset, extension=".nii")) == 3


def test_subjects_and_paths(dataset):
    found = find_images(dataset, {"label": "WM"})
    assert sorted(found["participant_id"]) == ["sub-01", "sub-02", "sub-A3"]
    assert all(Path(path).is_file() for path in found["image"])
    assert all(Path(path).is_relative_to(dataset) for path in found["image"])


def test_unknown_entity(dataset):
    with pytest.raises(CohortError, match=r"unknown entity 'lable' \(did you mean 'label'\?\)"):
        find_images(dataset, {"lable": "GM"})


def test_nothing_matches_says_what_there_is(dataset):
    with pytest.raises(CohortError) as info:
        find_images(dataset, {"label": "CSF"})
    assert "matches the filters (label: CSF" in str(info.value)
    assert "label: GM, WM" in str(info.value)


def test_no_dataset(tmp_path):
    with pytest.raises(CohortError, match="no such folder; give the root of a BIDS dataset"):
        find_images(tmp_path / "nowhere", {})
    with pytest.raises(CohortError, match=r"contains no sub-\* folder; give the root"):
        find_images(tmp_path, {})


def test_common_entity():
    paths = ["/a/sub-1_space-M_res-2_T1w.nii", "/b/sub-2_space-M_res-3_T1w.nii"]
    assert common_entity(paths, "space") == "M"
    assert common_entity(paths, "res") is None
    assert common_entity(["/a/scan.nii"], "space") is None
