"""Datasets named as the programs of the field name them: is the right image of each found?"""

import json

import pytest

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.bids import check_dataset, find_images
from opnmf_pipeline.images.cohort import find_cohort, identifiers, read_cohort, row_names
from tests.images.test_bids import touch

FMRIPREP = (
    "anat/{row}_desc-preproc_T1w.nii.gz",
    "anat/{row}_label-GM_probseg.nii.gz",
    "anat/{row}_space-MNI152NLin2009cAsym_label-GM_probseg.nii.gz",
    "anat/{row}_space-MNI152NLin2009cAsym_res-2_label-GM_probseg.nii.gz",
    "anat/{row}_space-MNI152NLin2009cAsym_res-2_label-WM_probseg.nii.gz",
    "anat/{row}_space-MNI152NLin2009cAsym_res-2_label-GM_probseg.json",
    "anat/{row}_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5",
    "anat/{row}_hemi-L_thickness.shape.gii",
    "func/{row}_task-rest_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz",
)
CAT12 = (
    "mri/mwp1{row}_T1w.nii",
    "mri/mwp2{row}_T1w.nii",
    "mri/s6mwp1{row}_T1w.nii",
    "mri/p0{row}_T1w.nii",
    "report/cat_{row}_T1w.xml",
)
QSIRECON = (
    "dwi/{row}_space-ACPC_model-tensor_param-fa_dwimap.nii.gz",
    "dwi/{row}_space-MNI152NLin2009cAsym_model-tensor_param-fa_dwimap.nii.gz",
    "dwi/{row}_space-MNI152NLin2009cAsym_model-tensor_param-md_dwimap.nii.gz",
    "dwi/{row}_space-MNI152NLin2009cAsym_model-noddi_param-icvf_dwimap.nii.gz",
)
ASLPREP = (
    "perf/{row}_space-MNI152NLin2009cAsym_cbf.nii.gz",
    "perf/{row}_space-MNI152NLin2009cAsym_desc-timeseries_cbf.nii.gz",
    "perf/{row}_space-MNI152NLin2009cAsym_desc-basil_cbf.nii.gz",
)
XCPD = (
    "func/{row}_task-rest_space-MNI152NLin2009cAsym_stat-alff_boldmap.nii.gz",
    "func/{row}_task-rest_space-MNI152NLin2009cAsym_stat-reho_boldmap.nii.gz",
    "func/{row}_task-nback_space-MNI152NLin2009cAsym_stat-alff_boldmap.nii.gz",
    "func/{row}_task-rest_space-MNI152NLin2009cAsym_desc-smooth_stat-alff_boldmap.nii.gz",
)
PETPREP = (
    "pet/{row}_trc-PIB_space-MNI152NLin2009cAsym_desc-suvr_pet.nii.gz",
    "pet/{row}_trc-FDG_space-MNI152NLin2009cAsym_desc-suvr_pet.nii.gz",
    "pet/{row}_trc-PIB_desc-preproc_pet.nii.gz",
)
PROGRAMS = {
    "fmriprep-24.1": (
        FMRIPREP,
        {"suffix": "probseg", "label": "GM", "space": "MNI152NLin2009cAsym", "res": "2"},
        3,
    ),
    "smriprep, native space": (
        FMRIPREP,
        {"suffix": "probseg", "label": "GM", "space": [None]},
        1,
    ),
    "smriprep, resolution not named": (
        FMRIPREP,
        {"suffix": "probseg", "label": "GM", "space": "*", "resolution": [None]},
        2,
    ),
    "CAT12.9": (CAT12, {"prefix": "mwp1"}, 0),
    "CAT12.9, smoothed": (CAT12, {"prefix": "s6mwp1", "suffix": "T1w", "extension": ".nii"}, 2),
    "qsirecon-DIPYDKI": (QSIRECON, {"param": "fa", "space": "MNI152NLin2009cAsym"}, 1),
    "aslprep": (ASLPREP, {"suffix": "cbf", "description": [None]}, 0),
    "xcp_d": (XCPD, {"stat": "alff", "task": "rest", "desc": [None]}, 0),
    "petprep": (PETPREP, {"tracer": "PIB", "suffix": "pet", "desc": "suvr"}, 0),
}


@pytest.fixture
def write_dataset(tmp_path):
    """Return a function that writes empty files of two subjects, with sessions or without."""

    def write(name, files, sessions=("",)):
        root = tmp_path / "derivatives" / name
        for subject in ("sub-01", "sub-02"):
            for session in sessions:
                row = f"{subject}_{session}" if session else subject
                folder = f"{subject}/{session}/" if session else f"{subject}/"
                touch(root, *(folder + file.format(row=row) for file in files))
        return root

    return write


@pytest.mark.parametrize("sessions", [("",), ("ses-BL", "ses-01")])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_image_of_each(write_dataset, program, sessions):
    files, filters, number = PROGRAMS[program]
    root = write_dataset(program, files, sessions)
    cohort, _ = find_cohort(InputsConfig(bids=root, filters=filters))
    expected = [
        str(root / subject / session / files[number].format(row=row))
        for subject in ("sub-01", "sub-02")
        for session in sorted(sessions)
        for row in [f"{subject}_{session}" if session else subject]
    ]
    assert cohort["image"].tolist() == expected
    assert ("session_id" in cohort) == (sessions != ("",))


def test_several_images_of_one_session_are_refused(write_dataset):
    root = write_dataset("aslprep", ASLPREP, ["ses-1", "ses-2"])
    with pytest.raises(CohortError) as info:
        find_cohort(InputsConfig(bids=root, filters={"suffix": "cbf"}))
    message = str(info.value)
    assert message.startswith("4 session(s) have more than one matching image:\n  sub-01_ses-1: ")
    assert message.endswith("to select one image per session")


@pytest.mark.parametrize("label", ["01", "sub-01"])
def test_subjects_and_sessions_that_are_asked_for(write_dataset, label):
    root = write_dataset("xcp_d", XCPD, ["ses-1", "ses-2"])
    filters = {"stat": "alff", "task": "rest", "desc": [None], "sub": label, "session": "ses-2"}
    cohort, _ = find_cohort(InputsConfig(bids=root, filters=filters))
    assert row_names(cohort) == ["sub-01_ses-2"]
    (root / "participants.tsv").write_text("participant_id\tage\n01\t30\n02\t31\nsub-03\t32\n")
    cohort, _ = find_cohort(InputsConfig(bids=root, filters=filters))
    assert cohort["age"].tolist() == ["30"]


def test_a_subject_that_is_asked_for_and_not_there_is_named(write_dataset):
    root = write_dataset("aslprep", ASLPREP)
    filters = {"suffix": "cbf", "desc": [None], "sub": ["01", "99"]}
    with pytest.raises(CohortError, match="1 of 2 subjects have no image: sub-99"):
        find_cohort(InputsConfig(bids=root, filters=filters))
    (root / "participants.tsv").write_text("participant_id\tage\nsub-01\t30\nsub-02\t31\n")
    with pytest.raises(CohortError, match="1 of 2 subjects have no image: sub-99"):
        find_cohort(InputsConfig(bids=root, filters=filters))


def test_one_subject_has_sessions_the_other_none(write_dataset, tmp_path):
    root = write_dataset("aslprep", ASLPREP[:1])
    touch(root, "sub-02/ses-1/perf/sub-02_ses-1_space-MNI152NLin2009cAsym_cbf.nii.gz")
    cohort, _ = find_cohort(InputsConfig(bids=root, filters={"suffix": "cbf"}))
    assert row_names(cohort) == ["sub-01", "sub-02_ses-1", "sub-02"]
    cohort.to_csv(tmp_path / "cohort.tsv", sep="\t", index=False, na_rep="n/a")
    again = read_cohort(tmp_path / "cohort.tsv")
    assert row_names(again) == row_names(cohort)
    assert identifiers(row_names(again)).equals(again[["participant_id", "session_id"]])


def test_sessions_of_a_table(tmp_path):
    touch(tmp_path, "a.nii", "b.nii")
    table = tmp_path / "cohort.tsv"
    table.write_text("participant_id\tsession_id\tpath\n01\t1\ta.nii\n01\tses-2\tb.nii\n")
    cohort, _ = find_cohort(InputsConfig(table=table))
    assert row_names(cohort) == ["sub-01_ses-1", "sub-01_ses-2"]
    table.write_text("participant_id\tsession_id\tpath\n01\t1\ta.nii\n01\tses-1\tb.nii\n")
    with pytest.raises(CohortError, match="participant_id with session_id value"):
        find_cohort(InputsConfig(table=table))


def test_raw_data_point_to_the_derivatives(write_dataset):
    root = write_dataset("raw", ["anat/{row}_T1w.nii.gz"])
    touch(root, "derivatives/smriprep/dataset_description.json")
    with pytest.raises(CohortError, match=r"derivatives: \S*raw/derivatives/smriprep\)"):
        find_images(root, {"suffix": "probseg"})


def test_an_index_is_kept(write_dataset, tmp_path, monkeypatch):
    root, index_dir = write_dataset("aslprep", ASLPREP), tmp_path / "index"
    filters = {"suffix": "cbf", "desc": [None]}
    first = find_images(root, filters, index_dir)
    monkeypatch.setattr("bids2table.index_dataset", None)  # to be called no more
    assert find_images(root, filters, index_dir).equals(first)
    monkeypatch.undo()

    touch(root, "sub-03/" + ASLPREP[0].format(row="sub-03"))
    assert len(find_images(root, filters, index_dir)) == 3
    (root / "sub-03" / ASLPREP[0].format(row="sub-03")).unlink()
    with pytest.raises(
        CohortError, match=r"no longer exist, such as \S+sub-03\S+; delete the index"
    ):
        find_images(root, filters, index_dir)


def test_an_index_of_another_dataset_or_damaged(write_dataset, tmp_path):
    index_dir = tmp_path / "index"
    find_images(write_dataset("one", ASLPREP[:1]), {}, index_dir)
    other = write_dataset("two", ASLPREP[:2])
    images = find_images(other, {}, index_dir)["image"]
    assert images.str.startswith(str(other)).all()
    assert len(images) == 4  # two of each subject, where the dataset before has one
    (index_dir / "opnmf-index.parquet").write_text("damaged")
    with pytest.raises(CohortError, match=r"opnmf-index.parquet: cannot be used .*; delete it"):
        find_images(other, {}, index_dir)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("{}", "has no Name and no BIDSVersion"),
        (json.dumps({"Name": "x"}), "has no BIDSVersion"),
    ],
)
def test_what_makes_a_dataset(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "dataset_description.json").write_text(content)
    with pytest.raises(CohortError, match=f"dataset_description.json: {expected}"):
        check_dataset(tmp_path)


def test_an_index_in_several_parts(write_dataset, monkeypatch):
    root = write_dataset("aslprep", ASLPREP[:1])
    whole = find_images(root, {"suffix": "cbf"})
    monkeypatch.setattr("opnmf_pipeline.images.bids.SUBJECTS_AT_A_TIME", 1)
    assert find_images(root, {"suffix": "cbf"}).equals(whole)
    assert len(whole) == 2
