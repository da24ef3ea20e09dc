from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.reporting.tables import (
    cell,
    images_table,
    measures,
    parts_table,
    regions_table,
    subjects_table,
)


def test_the_table_is_turned_round_and_means_have_their_spread():
    metrics = pd.DataFrame(
        {
            "n_components": [2, 30],
            "label_ari": [0.51234567, 0.25],
            "label_ari_sd": [0.05, np.nan],
            "n_iter": [12345, 7],
            "converged": [True, False],
        }
    )
    found = measures(metrics, {"n_iter": "Iterations of the fit"})
    assert [(one.name, one.description) for one in found] == [
        ("label ARI", ""),
        ("iterations", "Iterations of the fit"),
        ("converged", ""),
    ]
    assert [one.cells for one in found] == [
        ["0.5123 ± 0.05", "0.25"],
        ["12\u202f345", "7"],
        ["yes", "no"],
    ]


def test_parts_have_their_volume_in_cm3_and_their_nearest_by_number():
    parts = {"index": [1, 2, 3], "n_voxels": [100, 50, 7], "volume": [2700.0, 1350.0, 189.0]}
    peaks = {"peak_x": [-3.0, 0, 3], "peak_y": [1.0, 2, 3], "peak_z": [9.0, 8, 7]}
    fit = SimpleNamespace(
        parts=pd.DataFrame(parts | peaks),
        overlaps=np.array([0.25, 0.25, 0.0001]),
        nearest=np.array([1, 0, 0]),
        reliability=None,
    )
    table = parts_table(fit)
    assert "reproduced" not in table
    assert table["volume (cm³)"].tolist() == ["2.7", "1.4", "0.2"]
    assert table["peak x (mm)"].tolist() == [-3, 0, 3]
    assert table["peak z (mm)"].tolist() == [9, 8, 7]
    assert table["largest overlap (cosine)"].tolist() == ["0.250", "0.250", "0.000"]
    assert table["with component"].tolist() == ["2", "1", "none"]
    fit.reliability = SimpleNamespace(table=pd.DataFrame({"reproduced": ["yes", "no", None]}))
    assert parts_table(fit)["reproduced"].tolist() == ["yes", "no", "n/a"]


def test_the_worst_reconstructed_subject_comes_first():
    names = ["sub-01", "sub-02", "sub-03"]
    subjects = pd.DataFrame(
        {"coverage": [1, 0.5, 0.75], "nearest": names[::-1], "correlation": [0.9, 0.8, np.nan]},
        index=names,
    )
    errors = pd.DataFrame({5: [0.1, 0.3, 0.2], 10: [0.05, 0.06, 0.07]}, index=names)
    table = subjects_table(subjects, errors)
    assert table["subject"].tolist() == ["sub-03", "sub-02", "sub-01"]  # by the largest k
    assert table["error, k = 5"].tolist() == ["0.2000", "0.3000", "0.1000"]
    assert table["coverage"].tolist() == ["75.0%", "50.0%", "100.0%"]
    assert table["nearest"].tolist() == ["sub-01", "sub-02", "sub-03"]
    assert table["correlation"].tolist() == ["n/a", "0.8000", "0.9000"]  # n/a: a constant image


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, "n/a"), (0.000123456, "0.0001235"), (9999, "9999"), (True, "yes"), ("a", "a")],
)
def test_cells(value, text):
    assert cell(value) == text


def test_images_are_listed_where_their_checksums_are_known():
    images = pd.DataFrame({"participant_id": ["sub-01"], "age": [3], "image": ["a.nii"]})
    assert images_table(images) is None
    listed = images_table(images.assign(sha256="ab"))
    assert list(listed) == ["participant_id", "image", "sha256"]


def test_the_five_first_regions_of_each_component_are_shown():
    regions = pd.DataFrame(
        {
            "component": [1] * 7 + [2],
            "region": [*"abcdefg", "outside the atlas"],
            "percent_of_component": [30.0, 20, 10, 9, 8, 7, 6, 100],
            "percent_of_region": [1.25, 2, 3, 4, 5, 6, 7, np.nan],
        }
    )
    table = regions_table(regions)
    assert table["region"].tolist() == [*"abcde", "outside the atlas"]
    assert table["% of the component"].tolist()[-2:] == [8, 100]
    assert table["% of the region"].tolist()[-2] == 5
