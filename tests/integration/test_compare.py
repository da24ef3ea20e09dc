"""`opnmf-pipeline compare`: models that are equal, that split, on other grids, and refused ones."""

import json

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.cli.main import main
from opnmf_pipeline.reporting.comparison import render_comparison
from opnmf_pipeline.runs import comparison
from tests.builders import write_image
from tests.models import write_parts

SHAPE = (8, 6, 4)
AFFINE = nb.affines.from_matvec(np.eye(3) * 6, [-21, -15, -9])
PLACE = np.indices(SHAPE)
HALVES = 1 + (PLACE[0] >= 4)
QUARTERS = 1 + 2 * (PLACE[0] < 4) + (PLACE[1] >= 3)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing on the template takes seconds."""
    monkeypatch.setattr(comparison, "_draw", lambda *args: [])
    monkeypatch.setattr(comparison, "render_comparison", lambda facts: "\n".join(facts.messages))


@pytest.fixture
def page(no_pictures, monkeypatch):
    """Write the whole page, without pictures of the brain."""
    monkeypatch.setattr(comparison, "render_comparison", render_comparison)


@pytest.fixture
def two(tmp_path):
    return [
        write_parts(tmp_path / "halves", HALVES, AFFINE),
        write_parts(tmp_path / "quarters", QUARTERS, AFFINE),
    ]


def compare(*arguments):
    return main(["compare", *map(str, arguments), "--n-null", "3", "-q"])


def table(out, name):
    return pd.read_csv(out / "group" / f"desc-opnmf_{name}.tsv", sep="\t")


def test_report_says_that_the_folder_is_a_comparison(two, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(*two, "-o", out) == 0
    assert main(["report", str(out)]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"{out}: is the output of `opnmf-pipeline compare`" in message
    assert f"its report is {out}/report.html; to write it again, repeat `compare`" in message


def test_the_tables_say_which_part_is_split(two, tmp_path, page):
    out = tmp_path / "out"
    assert compare(*reversed(two), "-o", out) == 0
    (row,) = table(out, "agreement").to_dict("records")
    assert (row["model_a"], row["model_b"]) == ("halves, k = 2", "quarters, k = 4")
    assert row["containment"] == 1 > row["containment_null"]
    parents = table(out, "matches").set_index("component_b")["parent"]
    assert parents.to_dict() == {1: 2, 2: 2, 3: 1, 4: 1}
    for name in ("agreement", "matches", "overlaps", "models"):
        sidecar = json.loads((out / "group" / f"desc-opnmf_{name}.json").read_text())
        assert set(sidecar) == set(table(out, name))
    text = (out / "report.html").read_text()
    assert "component 1 (3, 4), component 2 (1, 2)" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_model_on_a_finer_grid_is_resampled(two, tmp_path):
    fine = np.kron(QUARTERS, np.ones((2, 2, 2), dtype=int))
    affine = AFFINE @ nb.affines.from_matvec(np.eye(3) / 2, [-0.25] * 3)
    other = write_parts(tmp_path / "fine", fine, affine)
    out = tmp_path / "out"
    assert compare(two[1], other, "-o", out) == 0
    (row,) = table(out, "agreement").to_dict("records")
    assert row["label_ari"] == 1
    assert row["cosine"] > 0.95
    assert table(out, "models")["resampled"].tolist() == [False, True]


def test_only_common_voxels_are_compared(two, tmp_path):
    part = np.where(PLACE[2] < 2, QUARTERS, 0)
    out = tmp_path / "out"
    assert compare(two[1], write_parts(tmp_path / "part", part, AFFINE), "-o", out) == 0
    assert table(out, "models")["compared"].tolist() == [0.5, 1]
    assert table(out, "agreement")["label_ari"].tolist() == [1]
    assert "50% of the voxels of quarters, k = 4 are in the masks" in (
        (out / "report.html").read_text()
    )


def test_all_models_of_a_folder(two, tmp_path):
    folder = tmp_path / "both"
    for labels in (HALVES, QUARTERS):
        write_parts(folder, labels, AFFINE, name=f"k{labels.max()}_model.json")
    out = tmp_path / "out"
    assert compare(folder, two[0], "-o", out) == 0
    assert len(table(out, "agreement")) == 3
    again = compare(folder, "--n-components", 4, "-o", tmp_path / "one")
    assert again == 2
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Entities": {"space": "T1w"}}, "is in the space T1w, but halves, k = 2 is in MNI152"),
        ({"shift": 1000}, "have no voxels in common"),
    ],
    ids=["space", "elsewhere"],
)
def test_models_that_cannot_be_compared(two, tmp_path, changes, message, capsys):
    affine = AFFINE.copy()
    affine[0, 3] += changes.pop("shift", 0)
    other = write_parts(tmp_path / "other", QUARTERS, affine, **changes)
    assert compare(two[0], other, "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_given_twice_is_not_dropped(two, tmp_path, capsys):
    assert compare(two[0], two[1], two[0], "-o", tmp_path / "out") == 2
    assert f"{two[0]}: was given twice" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_are_not_replaced_without_being_asked(two, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(*two, "-o", out) == 0
    assert compare(*two, "-o", out) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert compare(*two, "-o", out, "--overwrite") == 0
    write_image(tmp_path / "foreign" / "a.nii.gz", np.zeros(SHAPE, dtype=np.float32))
    assert compare(*two, "-o", tmp_path / "foreign") == 2
