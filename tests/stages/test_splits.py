"""Who is in which half, from the participants table."""

import json

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import SelectionConfig
from opnmf_pipeline.exceptions import CohortError, ConfigError, SelectionError
from opnmf_pipeline.images.cohort import row_names
from opnmf_pipeline.stages.splits import MAKE_SPLITS, make_splits, split_cohort, with_covariates
from opnmf_pipeline.stages.stage import Call
from opnmf_pipeline.tables import write_table


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{number:02d}" for number in range(40)],
            "image": "map.nii.gz",
            "age": rng.integers(20, 80, 40),
            "sex": ["F", "M", "F", "F"] * 10,
            "site": ["A"] * 10 + ["B"] * 12 + ["C"] * 18,
            "family": [f"f{number // 3}" for number in range(40)],
        }
    )


def sexes(table, names):
    return table.set_index("participant_id").loc[names, "sex"].value_counts()


def test_halves_part_the_cohort_and_more_only_add(table):
    five = split_cohort(table, SelectionConfig(n_splits=5))
    for _, (first, second) in five:
        assert sorted(first + second) == table["participant_id"].tolist()
        assert len(first) == len(second) == 20
    assert len({tuple(split.halves[0]) for split in five}) == 5
    assert split_cohort(table, SelectionConfig(n_splits=3)) == five[:3]
    assert split_cohort(table, SelectionConfig(n_splits=5, random_state=1)) != five


def test_stratified_halves_are_alike(table):
    for _, halves in split_cohort(table, SelectionConfig(n_splits=6, stratify=("sex",))):
        first, second = (sexes(table, half) for half in halves)
        assert (first - second).abs().max() <= 1
    plain = split_cohort(table, SelectionConfig(n_splits=6))
    gaps = [abs(np.subtract(*(sexes(table, half)["M"] for half in halves))) for _, halves in plain]
    assert max(gaps) > 1


def test_a_family_is_in_one_half(table):
    families = table.set_index("participant_id")["family"]
    for _, (first, second) in split_cohort(table, SelectionConfig(n_splits=4, groups="family")):
        assert set(families[first]).isdisjoint(families[second])
        assert abs(len(first) - len(second)) <= 3


def test_sessions_of_a_subject_are_in_one_half(table):
    table["session_id"] = [f"ses-{number % 2}" for number in range(40)]
    table["participant_id"] = [f"sub-{number // 2:02d}" for number in range(40)]
    for _, (first, second) in split_cohort(table, SelectionConfig(n_splits=4)):
        assert sorted(first + second) == row_names(table)
        subjects = [{name.split("_")[0] for name in half} for half in (first, second)]
        assert subjects[0].isdisjoint(subjects[1])


def test_each_site_is_left_out_once(table):
    sites = table.set_index("participant_id")["site"]
    splits = split_cohort(table, SelectionConfig(leave_out="site"))
    assert [split.left_out for split in splits] == ["A", "B", "C"]
    for left_out, (others, left) in splits:
        assert set(sites[left]) == {left_out}
        assert sorted(others + left) == table["participant_id"].tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"n_splits": 1, "stratify": ["height"]},
        {"n_splits": 1, "groups": "height"},
        {"leave_out": "height"},
    ],
)
def test_a_column_that_is_not_there(table, settings):
    with pytest.raises(ConfigError, match=r"selection\.\w+: .* no column 'height'; it has: .*age"):
        split_cohort(table, SelectionConfig(**settings))


def test_a_site_that_is_not_known(table):
    table.loc[3, "site"] = None
    with pytest.raises(SelectionError, match=r"1 of 40 subjects .* 'site' \(sub-03\)"):
        split_cohort(table, SelectionConfig(leave_out="site"))


def test_sessions_of_one_subject():
    sessions = [f"ses-{number}" for number in range(6)]
    table = pd.DataFrame({"participant_id": "sub-01", "session_id": sessions})
    with pytest.raises(SelectionError, match=r"one subject, sub-01, .*selection\.n_splits: 0"):
        split_cohort(table, SelectionConfig(n_splits=2))
    assert split_cohort(table, SelectionConfig(n_splits=0)) == []
    splits = split_cohort(table, SelectionConfig(n_splits=2, groups="session_id"))
    assert [len(half) for split in splits for half in split.halves] == [3, 3, 3, 3]


def test_a_further_split_leaves_the_files_of_the_others(table, tmp_path):
    covariates = tmp_path / "cohort.tsv"
    write_table(table.sample(frac=1, random_state=0), covariates)  # in any order
    people = table["participant_id"].tolist()
    contents = []
    for n_splits in (2, 3):
        folder = tmp_path / str(n_splits)
        folder.mkdir()
        options = SelectionConfig(n_splits=n_splits, stratify=("age", "sex"))
        files = make_splits(people, folder, options, covariates)
        assert [path.name for path in files] == [
            f"split-{number:03d}.json" for number in range(1, n_splits + 1)
        ]
        contents.append([path.read_bytes() for path in files])
        expected = split_cohort(table, options)
        for path, split in zip(files, expected, strict=True):
            assert json.loads(path.read_text())["Halves"] == list(split.halves)
    assert contents[1][:2] == contents[0]


def test_the_table_names_the_subjects_if_nothing_else_does(table, tmp_path):
    write_table(table, tmp_path / "table.tsv")
    inputs = {"covariates": str(tmp_path / "table.tsv"), "n_splits": 2}
    (tmp_path / "splits").mkdir()
    files = MAKE_SPLITS(Call(inputs, tmp_path / "splits"))["split_files"]
    halves = [json.loads(path.read_text())["Halves"] for path in files]
    expected = split_cohort(table, SelectionConfig(n_splits=2))
    assert halves == [list(split.halves) for split in expected]
    with pytest.raises(ConfigError, match="give the subjects"):
        MAKE_SPLITS(Call({"n_splits": 2}, tmp_path / "splits"))


def test_the_table_has_one_row_for_each_subject_of_the_matrix(table, tmp_path):
    file, names = tmp_path / "people.tsv", ["sub-03", "sub-01"]
    write_table(table, file)
    assert with_covariates(names, file)["participant_id"].tolist() == names
    for people, message in (
        (table[table["participant_id"] != "sub-01"], "no row for 1 subject.*\n  sub-01\n"),
        (pd.concat([table, table[:2]]), "several rows for 1 subject.*\n  sub-01\n"),
        (table.rename(columns={"participant_id": "id"}), "has no column participant_id"),
    ):
        write_table(people, file)
        with pytest.raises(CohortError, match=rf"people\.tsv: has {message.removeprefix('has ')}"):
            with_covariates(names, file)
    write_table(table, file)
    with pytest.raises(CohortError, match="has no column session_id"):
        with_covariates([f"{name}_ses-1" for name in names], file)
