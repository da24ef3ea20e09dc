import logging

import pandas as pd
import pytest
import yaml

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.cohort import find_cohort, read_cohort
from opnmf_pipeline.stages.collect import collect_cohort
from opnmf_pipeline.tables import write_table


def found(**options):
    return find_cohort(InputsConfig(**options))[0]


def problem(**options):
    with pytest.raises(CohortError) as info:
        find_cohort(InputsConfig(**options))
    return str(info.value)


@pytest.fixture
def table(cohort):
    """Write a table of the cohort; returns the path. Two subjects swap places on purpose."""

    def write(name="cohort.tsv", sep="\t", **changes):
        frame = pd.DataFrame(
            {
                "participant_id": cohort.subjects,
                "path": [str(path.relative_to(cohort.root)) for path in cohort.images],
                "age": range(20, 26),
            }
        )
        for column, values in changes.items():
            frame[column] = values
        path = cohort.root / name
        frame.iloc[::-1].to_csv(path, sep=sep, index=False, na_rep="n/a")
        return path

    return write


def test_bids(cohort):
    frame = found(bids=cohort.root, filters={"label": "GM"})
    assert frame["participant_id"].tolist() == cohort.subjects
    assert frame["image"].tolist() == [str(path) for path in cohort.images]
    assert frame["age"].tolist() == ["20", "21", "22", "23", "24", "25"]


def test_bids_participants_without_prefix_in_another_order(cohort):
    rows = [f"{number:02d}\t{20 + number}" for number in range(6, 0, -1)]
    (cohort.root / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]))
    frame = found(bids=cohort.root)
    assert frame["participant_id"].tolist() == cohort.subjects
    assert frame["age"].tolist() == ["21", "22", "23", "24", "25", "26"]


def test_bids_without_participants_file(cohort):
    (cohort.root / "participants.tsv").unlink()
    assert found(bids=cohort.root)["participant_id"].tolist() == cohort.subjects
    (cohort.root / "sub-99").mkdir()
    assert "1 of 7 subjects have no image: sub-99" in problem(bids=cohort.root)


def test_a_covariate_called_image_is_kept_apart(cohort, table):
    (cohort.root / "participants.tsv").write_text(
        "\n".join(["participant_id\timage", *(f"{subject}\tscan" for subject in cohort.subjects)])
    )
    frame = found(bids=cohort.root)
    assert frame["image"].tolist() == [str(path) for path in cohort.images]
    assert frame["image_covariate"].tolist() == ["scan"] * 6
    frame = found(table=table(image="scan"))
    assert frame["image"].tolist() == [str(path) for path in cohort.images]
    assert frame["image_covariate"].tolist() == ["scan"] * 6


def test_two_images(cohort):
    second = cohort.images[2].with_name(cohort.images[2].name.replace("GM", "WM"))
    second.write_bytes(cohort.images[2].read_bytes())
    message = problem(bids=cohort.root)
    assert message.startswith("1 subject(s) have more than one matching image")
    assert "sub-03" in message
    assert str(second) in message
    assert "inputs.filters" in message
    assert len(found(bids=cohort.root, filters={"label": "GM"})) == 6


@pytest.mark.parametrize("source", ["bids", "table", "glob"])
def test_missing_image(cohort, table, source, caplog, tmp_path):
    options = {
        "bids": {"bids": cohort.root},
        "table": {"table": table()},
        "glob": {
            "glob": cohort.root / "*" / "anat" / "*.nii.gz",
            "participants": cohort.root / "participants.tsv",
        },
    }[source]
    cohort.images[1].unlink()
    message = problem(**options)
    assert message.startswith("1 of 6 subjects have no image: sub-02\n")
    assert "inputs.on_missing: drop" in message
    frame, dropped = find_cohort(InputsConfig(on_missing="drop", **options))
    assert dropped == ["sub-02"]
    assert frame["participant_id"].tolist() == cohort.subjects[:1] + cohort.subjects[2:]
    assert frame["age"].tolist()[0] == "20"
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        collect_cohort(InputsConfig(on_missing="drop", **options), tmp_path / "out.tsv")
    assert "sub-02" in caplog.text
    assert len(read_cohort(tmp_path / "out.tsv")) == 5


@pytest.mark.parametrize("source", ["bids", "indexed", "prefix", "table", "glob"])
def test_links_without_content(cohort, table, source, tmp_path):
    if source == "prefix":
        for number, path in enumerate(cohort.images):
            cohort.images[number] = path.rename(path.with_name(f"mwp1{path.name}"))
    options = {
        "bids": {"bids": cohort.root},
        "indexed": {"bids": cohort.root, "database_dir": tmp_path / "index"},
        "prefix": {"bids": cohort.root, "filters": {"prefix": "mwp1"}},
        "table": {"table": table()},
        "glob": {"glob": cohort.root / "*" / "anat" / "*.nii.gz"},
    }[source]
    link = cohort.images[1]
    link.unlink()
    link.symlink_to("../../.git/annex/objects/aa/bb/key/key")
    message = problem(**options)
    assert message.startswith(f"the images of 1 of 6 subjects have no content, such as {link}: ")
    assert "datalad get" in message
    assert message.endswith("inputs.on_missing: drop to leave these subjects out: sub-02")
    frame, dropped = find_cohort(InputsConfig(on_missing="drop", **options))
    assert dropped == ["sub-02"]
    assert frame["participant_id"].tolist() == cohort.subjects[:1] + cohort.subjects[2:]


def test_a_dataset_of_links_without_content(cohort):
    for path in cohort.images:
        path.unlink()
        path.symlink_to("nowhere")
    for on_missing in ("error", "drop"):
        assert "datalad get" in problem(bids=cohort.root, on_missing=on_missing)


def test_two_template_spaces_are_told(cohort, caplog, tmp_path):
    options = InputsConfig(bids=cohort.root)
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        collect_cohort(options, tmp_path / "a.tsv")
        assert caplog.text == ""
        for path in cohort.images[4:]:
            path.rename(path.with_name(path.name.replace("MNI152", "MNI152Lin")))
        collect_cohort(options, tmp_path / "b.tsv")
    assert "(space: MNI152 (4 images), MNI152Lin (2 images))" in caplog.text


def test_many_missing_images_are_counted(cohort):
    rows = [f"sub-x{number}" for number in range(9)]
    (cohort.root / "participants.tsv").write_text("\n".join(["participant_id", *rows]))
    message = problem(bids=cohort.root)
    assert "9 of 9 subjects have no image: sub-x0" in message
    assert "sub-x4 and 4 more" in message


@pytest.mark.parametrize(("name", "sep"), [("t.tsv", "\t"), ("t.csv", ","), ("T.CSV", ",")])
def test_table(cohort, table, name, sep, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    frame = found(table=table(name, sep))
    assert frame["participant_id"].tolist() == cohort.subjects
    assert frame["image"].tolist() == [str(path) for path in cohort.images]
    assert frame["age"].tolist() == [str(age) for age in range(20, 26)]
    assert "path" not in frame


def test_table_with_another_path_column_and_absolute_paths(cohort, table):
    path = table(scan=[str(path) for path in cohort.images], path="elsewhere.nii")
    frame = found(table=path, path_column="scan")
    assert frame["image"].tolist() == [str(path) for path in cohort.images]


def test_ids_keep_their_zeros(cohort, table, tmp_path):
    frame = found(table=table(participant_id=[f"{number:03d}" for number in range(6)]))
    assert frame["participant_id"].tolist() == [f"sub-{number:03d}" for number in range(6)]
    write_table(frame, tmp_path / "cohort.tsv")
    assert read_cohort(tmp_path / "cohort.tsv")["participant_id"].tolist()[1] == "sub-001"


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan"])
def test_ids_that_look_like_nothing(cohort, table, tmp_path, word):
    frame = found(table=table(participant_id=[*cohort.subjects[:5], word]))
    assert f"sub-{word}" in frame["participant_id"].tolist()
    write_table(frame, tmp_path / "cohort.tsv")
    assert f"sub-{word}" in read_cohort(tmp_path / "cohort.tsv")["participant_id"].tolist()


def test_row_without_id(cohort, table):
    message = problem(table=table(participant_id=[*cohort.subjects[:5], None]))
    assert "cohort.tsv: 1 row(s) have no participant_id" in message


def test_id_twice(cohort, table):
    message = problem(table=table(participant_id=[*cohort.subjects[:5], "sub-01"]))
    assert "cohort.tsv: 1 duplicate participant_id value(s): sub-01" in message


def test_id_twice_once_without_prefix(cohort):
    with (cohort.root / "participants.tsv").open("a") as stream:
        stream.write("01\t44\n")
    assert "duplicate participant_id value(s): sub-01" in problem(bids=cohort.root)


def test_a_file_of_two_subjects(cohort, table):
    paths = [str(path) for path in cohort.images]
    paths[4] = str(cohort.root / "sub-01" / ".." / cohort.images[1].relative_to(cohort.root))
    message = problem(table=table(path=paths))
    assert f"1 file(s) are given for several rows, such as {cohort.images[1]} for " in message
    assert "sub-05, sub-02; give each row an image of its own" in message


def test_no_path_column(table):
    message = problem(table=table(), path_column="image_file")
    assert "has no column 'image_file'; set inputs.path_column to the column" in message
    assert "the columns are participant_id, path, age" in message


def test_a_table_of_values_that_is_given_as_a_table_of_paths(cohort):
    names = ["participant_id", *(f"region{n:02}" for n in range(30))]
    values = ["sub-01", *30 * "1"]
    (cohort.root / "t.tsv").write_text("\n".join(["\t".join(names), "\t".join(values), ""]))
    message = problem(table=cohort.root / "t.tsv")
    assert "set inputs.features in place of inputs.table" in message
    assert message.endswith("region18 and 11 more")


def test_no_id_column(cohort):
    (cohort.root / "t.tsv").write_text("subject\tpath\nsub-01\ta.nii\n")
    message = problem(table=cohort.root / "t.tsv")
    assert "t.tsv: has no column 'participant_id'; set inputs.id_column to the column" in message
    assert "the columns are subject, path" in message


def test_an_id_column_of_another_name(cohort, table):
    path = table(participant_id=[f"row{n}" for n in range(6)], Code=cohort.subjects)
    frame = found(table=path, id_column="Code")
    assert frame["participant_id"].tolist() == cohort.subjects
    assert sorted(frame["participant_id_covariate"]) == [f"row{n}" for n in range(6)]
    assert "has no column 'code'" in problem(table=path, id_column="code")
    (cohort.root / "people.csv").write_text("Code;age\n02;44\n")
    images = {"glob": cohort.root / "sub-02/*/*.nii.gz", "participants": cohort.root / "people.csv"}
    assert found(**images, id_column="Code")["age"].tolist() == ["44"]


def test_participants_add_covariates_to_a_table_of_images(cohort, table):
    path = table(participant_id=cohort.subjects)
    columns = set(found(table=path))
    rows = [f"{name}\t{number}" for number, name in enumerate(reversed(cohort.subjects))]
    people = cohort.root / "people.tsv"
    people.write_text("\n".join(["participant_id\tscore", *rows]))
    frame = found(table=path, participants=people)
    assert set(frame) - columns == {"score"}
    assert frame["score"].tolist() == list("543210")
    assert set(found(table=path, participants=path)) == columns


def test_bare_ids_get_the_prefix_and_this_is_told(cohort, table, caplog):
    path = table(participant_id=["01", "02", "03", "sub-04", "sub-05", "sub-06"])
    with caplog.at_level("WARNING", logger="opnmf_pipeline"):
        frame = found(table=path)
    assert frame["participant_id"].tolist() == cohort.subjects
    assert (
        "3 participant_id value(s) get the prefix sub-, as BIDS requires: 03 becomes" in caplog.text
    )


@pytest.mark.parametrize(
    ("names", "pattern", "ids"),
    [
        ("mri/mwp1S1{}_T1w.nii", "mri/mwp1*.nii", ["S11", "S12", "S13"]),
        ("mri/mwp1sub-0{}_T1w.nii", "mri/mwp1*.nii", ["sub-01", "sub-02", "sub-03"]),
        ("S00{}/mri/mwp1T1.nii", "S*/mri/mwp1*.nii", ["001", "002", "003"]),
        ("a's/S00{}/mri/mwp1T1.nii", "**/S*/mri/mwp1T1.nii", ["001", "002", "003"]),
    ],
)
def test_a_pattern_is_proposed_that_works(tmp_path, names, pattern, ids):
    for number in (1, 2, 3):
        path = tmp_path / names.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    message = problem(glob=tmp_path / pattern, pattern="(?P<participant_id>X)")
    proposed = yaml.safe_load(message.splitlines()[-1])["pattern"]
    frame = found(glob=tmp_path / pattern, pattern=proposed)
    assert frame["participant_id"].tolist() == [f"sub-{name.removeprefix('sub-')}" for name in ids]
    assert f"({', '.join(ids)})" in message


def test_a_proposed_pattern_gives_both_hemispheres_one_subject(tmp_path):
    for name in ("A/lh.t.gii", "A/rh.t.gii", "B/lh.t.gii", "B/rh.t.gii"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    message = problem(glob=tmp_path / "*/?h.t.gii")
    assert "(A, B)" in message
    proposed = yaml.safe_load(message.splitlines()[-1])["pattern"]
    frame = found(glob=tmp_path / "*/?h.t.gii", pattern=proposed)
    assert frame["participant_id"].tolist() == ["sub-A", "sub-B"]


def test_the_hemispheres_of_one_subject_are_not_two_subjects(tmp_path):
    for name in ("lh.t.gii", "rh.t.gii"):
        (tmp_path / name).touch()
    assert "this line" not in problem(glob=tmp_path / "?h.t.gii")


def test_no_pattern_is_proposed_if_no_part_is_different_in_all_paths(tmp_path):
    for name in ("A/1/m.nii", "A/2/m.nii", "B/1/m.nii"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    message = problem(glob=tmp_path / "*/*/m.nii")
    assert "or use inputs.table" in message
    assert "this line" not in message


def test_one_id_for_all_paths_is_no_id(tmp_path):
    folder = tmp_path / "sub-study"
    folder.mkdir()
    for number in (1, 2, 3):
        (folder / f"mwp1S{number}.nii").touch()
    message = problem(glob=folder / "mwp1*.nii")
    assert "finds 'sub-study' in all paths" in message
    assert r"pattern: '/mwp1(?P<participant_id>[^/]+)\.nii$'" in message


@pytest.mark.parametrize("content", [None, "", b"\xff\xfe\x00"])
def test_unreadable_table(tmp_path, content):
    path = tmp_path / "t.tsv"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert f"{path}: cannot be read as a table" in problem(table=path)


def test_table_of_no_rows(tmp_path):
    (tmp_path / "t.tsv").write_text("participant_id\tpath\n")
    assert "t.tsv: has no subjects" in problem(table=tmp_path / "t.tsv")


def test_table_whose_paths_lead_nowhere(table):
    message = problem(table=table(path="nowhere.nii.gz"))
    assert "none of the paths in column 'path' is a file" in message
    assert "relative paths start at the folder of the table" in message


def test_glob(cohort):
    frame = found(glob=cohort.root / "**" / "*_probseg.nii.gz")
    assert frame["participant_id"].tolist() == cohort.subjects
    assert frame["image"].tolist() == [str(path) for path in cohort.images]


def test_glob_with_a_pattern(cohort):
    frame = found(glob=cohort.root / "*/*/*.nii.gz", pattern=r"sub-(?P<participant_id>\d+)_")
    assert frame["participant_id"].tolist() == cohort.subjects


def test_glob_joins_covariates_of_ids_without_prefix(cohort):
    rows = [f"{number:02d}\t{20 + number}" for number in range(6, 0, -1)]
    (cohort.root / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]))
    frame = found(glob=cohort.root / "*/*/*.nii.gz", participants=cohort.root / "participants.tsv")
    assert frame["participant_id"].tolist() == cohort.subjects
    assert frame["age"].tolist() == ["21", "22", "23", "24", "25", "26"]


def test_glob_matches_two_images_of_a_subject(cohort):
    second = cohort.images[2].with_name("sub-03_T1w.nii.gz")
    second.write_bytes(cohort.images[2].read_bytes())
    assert "sub-03" in problem(glob=cohort.root / "*/*/*.nii.gz")


@pytest.mark.parametrize("pattern", ["(unclosed", r"sub-\d+", r"(?P<subject>sub-\d+)"])
def test_glob_with_a_bad_pattern(cohort, pattern):
    message = problem(glob=cohort.root / "*/*/*.nii.gz", pattern=pattern)
    assert f"inputs.pattern: {pattern!r} must be a regular expression" in message


def test_glob_with_a_pattern_that_finds_nothing(cohort):
    message = problem(glob=cohort.root / "*/*/*.nii.gz", pattern=r"(?P<participant_id>subj\d+)")
    assert "finds no participant_id in " in message
    assert str(cohort.images[0]) in message


def test_glob_of_nothing(cohort):
    assert "inputs.glob: no file matches" in problem(glob=cohort.root / "*.mgz")


def write_rows(cohort, *rows):
    (cohort.root / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")


def test_both_halves_of_a_mismatch_are_named(cohort, caplog):
    write_rows(cohort, *(f"{number}\t2{number}" for number in range(1, 7)))
    message = problem(bids=cohort.root)
    assert message.startswith("6 of 6 subjects have no image: sub-1, sub-2")
    assert "6 subject(s) have an image but no row in the table of participants: sub-01" in message
    assert "(row sub-1 may be sub-01: spreadsheets remove leading zeros)" in message
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        frame = found(bids=cohort.root, on_missing="drop")
    assert frame["participant_id"].tolist() == cohort.subjects
    assert "6 subject(s) have an image but no row" in caplog.text


def test_an_image_without_a_row_is_told(cohort, caplog):
    write_rows(cohort, *(f"{subject}\t20" for subject in cohort.subjects[1:]))
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        frame = found(bids=cohort.root)
    assert frame["age"].isna().tolist() == [True, *[False] * 5]
    assert (
        "1 subject(s) have an image but no row in the table of participants: sub-01" in caplog.text
    )


def test_a_row_for_each_image_is_not_worth_a_message(cohort, caplog):
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        found(bids=cohort.root)
    assert caplog.text == ""


def test_a_session_in_the_identifier_is_a_session(cohort, table):
    ids = ["sub-01_ses-1", "sub-01_ses-2", *(f"sub-0{n}_ses-1" for n in range(2, 6))]
    frame = found(table=table(participant_id=ids))
    assert frame["participant_id"].tolist()[:3] == ["sub-01", "sub-01", "sub-02"]
    assert frame["session_id"].tolist()[:3] == ["ses-1", "ses-2", "ses-1"]
    message = problem(table=table(participant_id=[*ids[:5], "sub-06"]))
    assert "participant_id 'sub-04_ses-1' contains a session" in message
    assert "must contain only the subject (sub-04)" in message


def test_a_subject_with_many_sessions_is_told(cohort, table, caplog):
    sessions = [f"ses-{number}" for number in range(1, 5)] + ["ses-1", "ses-1"]
    ids = ["sub-01"] * 4 + ["sub-02", "sub-03"]
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        found(table=table(participant_id=ids, session_id=sessions))
    assert "1 subject(s) have many more sessions than the others, such as sub-01 (4" in caplog.text


def test_participants_may_have_values_of_each_session(cohort, table, tmp_path):
    sessions = ["ses-1", "ses-2"] * 3
    ids = [f"sub-{1 + number // 2}" for number in range(6)]
    images = table(participant_id=ids, session_id=sessions, age=0)
    people = pd.DataFrame({"participant_id": ids, "session_id": [1, 2] * 3, "years": range(6)})
    people.iloc[::-1].to_csv(tmp_path / "people.csv", index=False)
    frame = found(table=images, participants=tmp_path / "people.csv")
    assert frame["session_id"].tolist() == sessions
    assert frame["years"].tolist() == [str(number) for number in range(6)]
    people[["participant_id", "years"]][::2].to_csv(tmp_path / "people.csv", index=False)
    frame = found(table=images, participants=tmp_path / "people.csv")
    assert frame["years"].tolist() == ["0", "0", "2", "2", "4", "4"]
    people.assign(session_id=1).to_csv(tmp_path / "people.csv", index=False)
    text = problem(table=images, participants=tmp_path / "people.csv")
    assert "3 duplicate participant_id with session_id value(s): sub-1 ses-1" in text


def test_ages_that_are_cut_off_are_told(cohort, tmp_path, caplog):
    write_rows(
        cohort, *(f"{s}\t{80 + n}" for n, s in enumerate(cohort.subjects[1:])), "sub-01\t89+"
    )
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        collect_cohort(InputsConfig(bids=cohort.root), tmp_path / "cohort.tsv")
    assert "age: 1 value(s) such as 89+ are read as 89" in caplog.text
    assert read_cohort(tmp_path / "cohort.tsv")["age"].tolist()[0] == "89+"


def test_a_bracket_in_a_pattern_is_explained(cohort):
    assert "write [[] for the character [" in problem(glob=cohort.root / "a[b]" / "*.nii")
