"""The cohort of several measures: who has all of them, and what is refused."""

import pandas as pd
import pytest

from opnmf_pipeline.config import InputsConfig
from opnmf_pipeline.exceptions import CohortError
from opnmf_pipeline.images.cohort import identifiers, row_names
from opnmf_pipeline.images.measures import find_measures, long_cohort


def inputs_of(root, **settings):
    measures = ({"name": name, "glob": root / name / "*.nii"} for name in ("gm", "fa"))
    return InputsConfig(measures=tuple(measures), participants=root / "people.tsv", **settings)


@pytest.fixture
def root(tmp_path):
    """Images of two measures of three subjects; only their names are read."""
    for name in ("gm", "fa"):
        (tmp_path / name).mkdir()
        for number in (1, 2, 3):
            (tmp_path / name / f"sub-{number}_x.nii").touch()
    rows = [f"sub-{number}\t{20 + number}" for number in (1, 2, 3)]
    (tmp_path / "people.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    return tmp_path


def test_each_subject_has_the_image_of_each_measure(root):
    cohort, dropped = find_measures(inputs_of(root))
    assert list(cohort) == ["participant_id", "image_gm", "image_fa", "age"]
    assert cohort["image_fa"].tolist() == [str(root / f"fa/sub-{n}_x.nii") for n in (1, 2, 3)]
    assert dropped == []


def test_a_subject_without_a_measure_is_listed_or_left_out(root):
    (root / "fa/sub-2_x.nii").unlink()
    (root / "gm/sub-3_x.nii").unlink()
    with pytest.raises(CohortError, match="2 of 3 subjects lack a measure") as caught:
        find_measures(inputs_of(root))
    assert "\n  sub-2: no fa\n  sub-3: no gm\n" in str(caught.value)
    cohort, dropped = find_measures(inputs_of(root, on_missing="drop"))
    assert cohort["participant_id"].tolist() == ["sub-1"]
    assert dropped == ["sub-2", "sub-3"]


def test_an_error_names_the_measure(root):
    (root / "fa/sub-2_y.nii").touch()
    with pytest.raises(CohortError, match=r"inputs\.measures: fa: 1 subject\(s\) have more than"):
        find_measures(inputs_of(root))


def test_measures_with_and_without_sessions_are_refused(root):
    for number in (1, 2, 3):
        (root / f"fa/sub-{number}_x.nii").rename(root / f"fa/sub-{number}_ses-1_x.nii")
    rows = [
        f"sub-{n}\tses-1\t{root}/fa/sub-{n}_ses-1_x.nii\t{root}/gm/sub-{n}_x.nii" for n in (1, 2)
    ]
    (root / "fa.tsv").write_text("\n".join(["participant_id\tsession_id\tfa\tgm", *rows]) + "\n")
    measures = ({"name": "gm", "glob": root / "gm/*.nii"}, {"name": "fa", "table": root / "fa.tsv"})
    options = InputsConfig(measures=measures, path_column="fa")
    with pytest.raises(CohortError, match="images of fa have sessions, and those of gm do not"):
        find_measures(options.model_copy(update={"measures": _own_columns(options)}))


def _own_columns(options):
    first, second = options.measures
    return first, second.model_copy(update={"path_column": "fa"})


def test_one_table_with_a_column_for_each_measure(root):
    rows = [f"sub-{n}\tgm/sub-{n}_x.nii\tfa/sub-{n}_x.nii\t{n}" for n in (1, 2, 3)]
    table = root / "all.tsv"
    table.write_text("\n".join(["participant_id\tgm\tfa\tage", *rows]) + "\n")
    measures = tuple({"name": name, "path_column": name} for name in ("gm", "fa"))
    cohort, _ = find_measures(InputsConfig(table=table, measures=measures))
    assert cohort["image_gm"].str.endswith("gm/sub-1_x.nii")[0]
    assert cohort["image_fa"].str.endswith("fa/sub-3_x.nii")[2]
    assert cohort["age"].tolist() == ["1", "2", "3"]


def test_names_of_rows_and_their_parts_are_inverse():
    cohort = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-2"],
            "session_id": ["ses-a", "ses-b"],
            "image_gm": ["1", "2"],
            "image_fa": ["3", "4"],
            "age": ["5", "6"],
        }
    )
    table = long_cohort(cohort, ["gm", "fa"])
    assert row_names(table)[1:3] == ["sub-2_ses-b_measure-gm", "sub-1_ses-a_measure-fa"]
    assert table["image"].tolist() == ["1", "2", "3", "4"]
    columns = ["participant_id", "session_id", "measure_id"]
    pd.testing.assert_frame_equal(identifiers(row_names(table)), table[columns])
