import json

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.stages import quality
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.quality import assess_cohort


@pytest.fixture
def assess(cohort, tmp_path):
    """Return a function that gives X, the mask, the folder of the stage and its table."""

    def assess(options=None):
        options = options or MatrixConfig()
        mask = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), options)
        for name in ("matrix", "out"):
            (tmp_path / name).mkdir()
        matrix = build_matrix(cohort.images, cohort.subjects, mask, tmp_path / "matrix", options)
        out = assess_cohort(matrix, mask, tmp_path / "out")
        inside = np.asarray(nb.load(mask).dataobj) != 0
        values = cohort.values[:, inside].T.astype(np.float64)
        return values, inside, out, pd.read_csv(out / "subjects.tsv", sep="\t", index_col=0)

    return assess


def read(out, name, inside):
    image = np.asarray(nb.load(out / f"{name}.nii.gz").dataobj)
    assert not image[~inside].any()
    return image[inside]


@pytest.mark.parametrize("block_bytes", [64, 2**26])
def test_maps_and_table(assess, cohort, monkeypatch, block_bytes):
    monkeypatch.setattr(quality, "BLOCK_BYTES", block_bytes)
    cohort.values[2, 1, 1, 1] = 0
    cohort.damage(2, cohort.values[2])
    X, inside, out, subjects = assess()
    np.testing.assert_allclose(read(out, "mean", inside), X.mean(1), rtol=1e-6)
    np.testing.assert_allclose(read(out, "sd", inside), X.std(1), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(read(out, "coverage", inside), (X != 0).mean(1), rtol=1e-6)
    assert subjects.index.tolist() == cohort.subjects
    np.testing.assert_allclose(subjects["norm"], np.linalg.norm(X, axis=0), rtol=1e-6)
    np.testing.assert_allclose(subjects["mean"], X.mean(0), rtol=1e-6)
    assert subjects["coverage"].tolist() == [1, 1, 1 - 1 / len(X), 1, 1, 1]
    assert set(json.loads((out / "subjects.json").read_text())) == {
        "participant_id",
        *subjects.columns,
    }


def test_a_constant_image_has_no_correlation(assess, cohort):
    cohort.damage(2, np.full_like(cohort.values[2], 0.7))
    *_, subjects = assess()
    assert subjects["correlation"].isna().tolist() == [n == 2 for n in range(6)]


@pytest.mark.parametrize("block_subjects", [2, 1024])
def test_the_nearest_other_subject(assess, cohort, monkeypatch, block_subjects):
    monkeypatch.setattr(quality, "BLOCK_SUBJECTS", block_subjects)
    cohort.damage(4, cohort.values[1])
    cohort.values[4] = cohort.values[1]
    X, _, _, subjects = assess()
    R = np.corrcoef(X.T)
    np.fill_diagonal(R, -1)
    np.testing.assert_allclose(subjects["correlation"], R.max(1), atol=1e-6)
    assert subjects["nearest"].tolist() == [cohort.subjects[j] for j in R.argmax(1)]
    assert subjects["nearest"]["sub-02"] == "sub-05"
    assert subjects["correlation"]["sub-02"] > 1 - 1e-6


def test_a_shifted_matrix_is_described_in_the_units_of_the_images(assess, cohort):
    cohort.values[0, 2, 2, 2] = -0.5
    cohort.damage(0, cohort.values[0])
    X, inside, out, subjects = assess(MatrixConfig(negative="shift"))
    np.testing.assert_allclose(read(out, "mean", inside), X.mean(1), atol=1e-6)
    np.testing.assert_allclose(read(out, "coverage", inside), (X != 0).mean(1))
    np.testing.assert_allclose(subjects["norm"], np.linalg.norm(X + 0.5, axis=0), rtol=1e-6)


def test_missing_values_are_left_out(assess, cohort):
    values = cohort.values[2].copy()
    values[1:3, 2, 1] = np.nan
    cohort.damage(2, values)
    _, inside, out, table = assess(MatrixConfig(nan="masked"))
    shown = values[inside]
    assert table["missing"].tolist() == pytest.approx([0, 0, 2 / len(shown), 0, 0, 0])
    row = table.loc["sub-03"]
    assert row["mean"] == pytest.approx(np.nanmean(shown), rel=1e-6)
    assert row["norm"] == pytest.approx(np.sqrt(np.nansum(shown.astype(float) ** 2)), rel=1e-6)
    assert row["coverage"] == pytest.approx(1 - 2 / len(shown))
    everyone = np.stack([*cohort.values[:2], values, *cohort.values[3:]])[:, inside]
    np.testing.assert_allclose(read(out, "mean", inside), np.nanmean(everyone, axis=0), rtol=1e-5)
    np.testing.assert_allclose(read(out, "sd", inside), np.nanstd(everyone, axis=0), atol=1e-6)
