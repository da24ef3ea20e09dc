import logging

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.tables.files import read_features
from opnmf_pipeline.images.tables.split import split_table
from opnmf_pipeline.tables import read_table
from tests.features import REGIONS, planted, rows_of, subjects, write_csv

VALUES = planted(4)


def split(folder, *paths, **settings):
    """Return the table of the subjects, and the values of all subjects, one row each."""
    out = folder / "split"
    out.mkdir(exist_ok=True)
    people = read_table(split_table(InputsConfig(features=paths, **settings), out))
    found = [read_features(out / name) for name in people["features_file"]]
    names = {one.names for one in found}
    assert len(names) == 1
    return people, list(names.pop()), np.array([one.values[:, 0] for one in found])


def refused(folder, rows, **settings):
    path = write_csv(folder / "table.csv", rows)
    with pytest.raises(CohortError) as caught:
        split(folder, path, **settings)
    return str(caught.value)


def test_enigma(tmp_path, test_data):
    source = test_data / "surfaces" / "metr2_CortThick.csv"
    people, names, values = split(tmp_path, source)
    frame = pd.read_csv(source)
    assert names == [name for name in frame if name.endswith("_thickavg")]
    np.testing.assert_array_equal(values, frame[names])
    assert people["participant_id"].tolist() == frame["SubjID"].tolist()
    assert people["LThickness"].astype(float).tolist() == frame["LThickness"].tolist()


def test_subcortical_volumes_have_no_head_size(tmp_path, test_data):
    people, names, _ = split(tmp_path, test_data / "surfaces" / "metr1_SubVol.csv")
    assert (names[:3], len(names)) == (["LLatVent", "RLatVent", "Lthal"], 16)
    assert "ICV" in people


@pytest.mark.parametrize("turned", [False, True], ids=["subjects", "transposed"])
def test_freesurfer_writes_one_table_per_hemisphere(tmp_path, turned):
    paths = []
    for side in ("lh", "rh"):
        chosen = [number for number, name in enumerate(REGIONS) if name.startswith(side)]
        names = [f"{REGIONS[number]}_thickness" for number in chosen]
        names += [f"{side}_MeanThickness_thickness", "BrainSegVolNotVent", "eTIV"]
        table = np.column_stack([VALUES[:, chosen], VALUES[:, chosen].mean(1), VALUES[:, :2]])
        rows = rows_of(table, names, f"{side}.aparc.thickness")
        rows = [list(row) for row in zip(*rows, strict=True)] if turned else rows
        paths.append(write_csv(tmp_path / f"{side}.txt", rows, "\t"))
    people, names, values = split(tmp_path, *paths)
    assert names == [f"{name}_thickness" for name in REGIONS]
    np.testing.assert_array_equal(values, VALUES)
    means = ["lh_MeanThickness_thickness", "rh_MeanThickness_thickness"]
    totals = ["BrainSegVolNotVent", "eTIV"]
    assert sorted(people) == sorted(["participant_id", "features_file", *means, *totals])


def test_uk_biobank(tmp_path):
    names = ["26755-2.0", "26756-2.0", "31-0.0", "21003-2.0"]
    rows = rows_of(VALUES[:, :4], names, "eid")
    people, found, _ = split(tmp_path, write_csv(tmp_path / "ukb.csv", rows))
    assert found == ["26755-2.0", "26756-2.0"]
    assert "31-0.0" in people


def test_chosen_features_and_covariates(tmp_path):
    path = write_csv(tmp_path / "table.csv", rows_of(VALUES))
    people, names, values = split(tmp_path, path, feature_names=("rh_*", "lh_region3"))
    assert names == ["lh_region3", *REGIONS[12:]]
    np.testing.assert_array_equal(values, VALUES[:, [3, *range(12, 24)]])
    assert people["lh_region0"].tolist() == list(map(str, VALUES[:, 0]))


def test_columns_of_the_participants_are_not_repeated(tmp_path):
    rows = [[*row, extra] for row, extra in zip(rows_of(VALUES), ["ICV", *"1234"], strict=True)]
    people = write_csv(tmp_path / "participants.tsv", [["participant_id", "ICV"]], "\t")
    found, _, _ = split(tmp_path, write_csv(tmp_path / "table.csv", rows), participants=people)
    assert list(found) == ["participant_id", "features_file"]


def test_excel(tmp_path):
    pytest.importorskip("openpyxl")
    header, *rows = rows_of(VALUES)
    frame = pd.DataFrame([[row[0], *map(float, row[1:])] for row in rows], columns=header)
    frame.to_excel(tmp_path / "table.xlsx", index=False)
    _, names, values = split(tmp_path, tmp_path / "table.xlsx")
    assert names == REGIONS
    np.testing.assert_allclose(values, VALUES, rtol=1e-15)  # openpyxl writes 16 digits


def test_sessions_are_rows_of_their_own(tmp_path):
    rows = [[row[0], "ses-1", *row[1:]] for row in rows_of(VALUES)]
    rows[0][1] = "session_id"
    rows[2][:2] = ["sub-01", "ses-2"]
    people, names, _ = split(tmp_path, write_csv(tmp_path / "table.csv", rows))
    assert names == REGIONS
    assert people["session_id"].tolist() == ["ses-1", "ses-2", "ses-1", "ses-1"]


def test_every_digit_is_kept(tmp_path):
    text = ["0.1234567890123456", "1e-7", "2.5", "1234567890.125"]
    path = write_csv(tmp_path / "table.csv", [["participant_id", *"abcd"], ["sub-01", *text]])
    _, _, values = split(tmp_path, path)
    assert values[0].tolist() == list(map(float, text))


def test_missing_and_negative_values_are_named(tmp_path, caplog):
    rows = rows_of(VALUES)
    rows[1][2], rows[3][4], rows[4][1] = "NA", "", "-2"
    with caplog.at_level(logging.WARNING, logger="opnmf_pipeline"):
        _, _, values = split(tmp_path, write_csv(tmp_path / "table.csv", rows))
    assert "2 value(s) of features are missing: sub-01, lh_region1; sub-03, lh_region3" in (
        caplog.text
    )
    assert "1 value(s) of features are negative: sub-04, lh_region0" in caplog.text
    assert np.argwhere(np.isnan(values)).tolist() == [[0, 1], [2, 3]]


def test_wrong_tables_are_refused(tmp_path):
    rows = rows_of(VALUES)
    text = [[*row] for row in rows]
    text[2][3] = "high"
    assert "not numbers: sub-02, lh_region2: 'high'" in refused(tmp_path, text)
    twice = [*rows, rows[1]]
    assert "1 subject(s) have more than one row: sub-01" in refused(tmp_path, twice)
    assert "has no subjects" in refused(tmp_path, rows[:1])
    unnamed = [["who", *rows[0][1:]], *rows[1:]]
    assert "no column is known to hold the subjects" in refused(tmp_path, unnamed)
    turned = refused(tmp_path, rows, features_as="rows")
    assert "the table is transposed" in turned
    assert turned.endswith("set inputs.features_as: columns")
    assert "no column of" in refused(tmp_path, rows, feature_names=("xh_*",))
    assert "has one column (participant_id)" in refused(tmp_path, [row[:1] for row in rows])
    totals = [["participant_id", "ICV", "Age"], ["sub-01", "1", "2"]]
    assert "no column of numbers that is a feature" in refused(tmp_path, totals)
    broken = [["participant_id", "a\nb"], ["sub-01", "1"]]
    assert r"contain a tab or a line break: 'a\nb'; rename them" in refused(tmp_path, broken)
    nameless = [*rows, ["", *rows[1][1:]]]
    assert "1 row(s) have no subject in column 'participant_id'" in refused(tmp_path, nameless)


def test_tables_of_other_subjects(tmp_path):
    first = write_csv(tmp_path / "a.csv", rows_of(VALUES[:, :12], REGIONS[:12]))
    rows = rows_of(VALUES[:, 12:], REGIONS[12:])
    second = write_csv(tmp_path / "b.csv", [rows[0], *rows[:1:-1]])
    with pytest.raises(CohortError, match=r"b.csv: has no row for 1 subject\(s\).*: sub-01; add"):
        split(tmp_path, first, second)
    people, names, values = split(tmp_path, first, second, on_missing="drop")
    assert people["participant_id"].tolist() == subjects(4)[1:]
    assert names == REGIONS
    np.testing.assert_array_equal(values, VALUES[1:])
    with pytest.raises(CohortError, match="duplicate features, which are also in another table"):
        split(tmp_path, first, first)


class TestMatrix:
    X = planted(5, seed=1).T.astype(np.float32)

    def files(self, folder):
        h5py = pytest.importorskip("h5py")
        from scipy.io import savemat

        np.save(folder / "X.npy", self.X)
        np.savez(folder / "X.npz", X=self.X, tol=1e-5)
        savemat(folder / "X.mat", {"X": self.X, "tol": 1e-5, "note": "voxels by subjects"})
        with h5py.File(folder / "X.h5", "w") as file:
            file["group/X"] = self.X
        with h5py.File(folder / "v73.mat", "w", userblock_size=512) as file:
            file["X"] = self.X.T  # MATLAB writes the axes in its own order
        with (folder / "v73.mat").open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
        return [folder / name for name in ("X.npy", "X.npz", "X.mat", "X.h5", "v73.mat")]

    def test_every_format_has_the_same_values(self, tmp_path):
        for path in self.files(tmp_path):
            people, names, values = split(tmp_path, path, features_as="rows")
            np.testing.assert_array_equal(values.astype(np.float32).T, self.X, err_msg=str(path))
            assert names == [str(number) for number in range(1, 25)]
            assert people["participant_id"].tolist() == [f"sub-000{n}" for n in range(1, 6)]

    def test_the_orientation_must_be_set(self, tmp_path):
        np.save(tmp_path / "X.npy", self.X)
        with pytest.raises(CohortError, match=r"must be set for .*X.npy, a matrix of 24 x 5"):
            split(tmp_path, tmp_path / "X.npy")

    def test_a_table_names_the_subjects(self, tmp_path):
        np.save(tmp_path / "X.npy", self.X.T)
        rows = [["participant_id"], *([name] for name in "edcba")]
        people = write_csv(tmp_path / "people.tsv", rows, "\t")
        settings = {"features_as": "columns", "participants": people}
        found, _, _ = split(tmp_path, tmp_path / "X.npy", **settings)
        assert found["participant_id"].tolist() == list("edcba")
        write_csv(people, rows[:3], "\t")
        with pytest.raises(CohortError, match=r"has 2 rows, but .*X.npy has 5 subjects"):
            split(tmp_path, tmp_path / "X.npy", **settings)

    def test_a_file_must_have_one_matrix(self, tmp_path):
        from scipy.io import savemat

        savemat(tmp_path / "X.mat", {"X": self.X, "W": self.X[:, :2]})
        with pytest.raises(CohortError, match=r"2 matrices of numbers \(X 24 x 5, W 24 x 2\)"):
            split(tmp_path, tmp_path / "X.mat", features_as="rows")
        (tmp_path / "X.npy").write_bytes(b"no array")
        with pytest.raises(CohortError, match=r"X.npy: cannot be read as a matrix"):
            split(tmp_path, tmp_path / "X.npy", features_as="rows")
