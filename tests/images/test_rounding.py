"""Storage in float16: what is rounded, by how much, and what is refused."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.rounding import Rounding
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.quality import assess_cohort
from tests.builders import three_parts, write_cohort

HALF = MatrixConfig(dtype="float16")


def build(cohort, root, options=HALF, *, keep=True):
    """Return the paths of the mask and of the matrix."""
    values, out = (root / name for name in ("values", "matrix"))
    values.mkdir(parents=True)
    out.mkdir()
    kept = values if keep else None
    mask_file = make_mask(
        cohort.images, root / "mask.nii.gz", MaskConfig(threshold=1e-9), options, values_dir=kept
    )
    matrix_file = build_matrix(
        cohort.images, cohort.subjects, mask_file, out, options, values_dir=kept
    )
    return mask_file, matrix_file


@pytest.mark.parametrize("keep", [True, False])
def test_values_are_rounded_once(cohort, tmp_path, keep):
    X, _ = read_matrix(build(cohort, tmp_path / "whole", MatrixConfig(), keep=keep)[1])
    stored, sidecar = read_matrix(build(cohort, tmp_path / "half", keep=keep)[1])
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored, X.astype(np.float16))
    change = np.linalg.norm(X - stored.astype(np.float32)) / np.linalg.norm(X)
    assert 0 < change <= 2**-11
    assert sidecar["Rounding"] == pytest.approx(change, rel=0.1 if keep else 1e-2)


def test_disk(cohort, tmp_path):
    build(cohort, tmp_path / "whole", MatrixConfig())
    build(cohort, tmp_path / "half")
    for name, bits in (("matrix/matrix.npy", 0), ("values/values.bin", 60 // 8 + 1)):
        sizes = [(tmp_path / kind / name).stat().st_size for kind in ("whole", "half")]
        fixed = 128 if name.endswith("npy") else bits * len(cohort.images)
        assert sizes[1] - fixed == (sizes[0] - fixed) / 2


def test_components_and_quality_are_those_of_float32(tmp_path):
    cohort = write_cohort(tmp_path / "dataset", three_parts(n_subjects=12))
    fits, tables = [], []
    for options in (MatrixConfig(), HALF):
        root = tmp_path / options.dtype
        mask_file, matrix_file = build(cohort, root, options)
        for name in ("fit", "quality"):
            (root / name).mkdir()
        fit = decompose(matrix_file, root / "fit", 3, DecompositionConfig())
        fits.append(read_factorization(fit))
        out = assess_cohort(matrix_file, mask_file, root / "quality")
        tables.append(np.genfromtxt(next(out.glob("*.tsv")), skip_header=1)[:, 1:4])
    one, half = fits
    assert adjusted_rand_score(one.W.argmax(axis=1), half.W.argmax(axis=1)) == 1
    np.testing.assert_allclose(half.H, one.H, rtol=1e-3)
    assert half.W.dtype == np.float32
    assert half.info["ReconstructionError"] == pytest.approx(
        one.info["ReconstructionError"], rel=1e-3
    )
    np.testing.assert_allclose(*tables, rtol=1e-3)


def test_shift_leaves_no_negative_value(cohort, tmp_path):
    values = cohort.values[2].copy()
    values[1, 1, 1] = -0.30001  # rounded away from zero
    cohort.damage(2, values)
    options = MatrixConfig(dtype="float16", negative="shift")
    X, sidecar = read_matrix(build(cohort, tmp_path / "half", options)[1])
    assert X.min() == 0
    assert sidecar["Shift"] == float(np.float16(-0.30001))


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1e6, "sub-01.*: has the value .* up to 65504; set"), (1e-7, "since they are too small")],
    ids=["large", "small"],
)
@pytest.mark.parametrize("keep", [True, False])
def test_values_out_of_range_are_refused(tmp_path, factor, message, keep):
    data = three_parts()
    cohort = write_cohort(tmp_path / "dataset", data)
    for number, volume in enumerate(cohort.values):
        cohort.damage(number, volume * np.float32(factor))
    with pytest.raises(ImageError, match=message):
        build(cohort, tmp_path / "half", keep=keep)


def test_missing_values_stay_missing():
    rounding = Rounding("float16")
    stored = rounding.rounded(np.array([np.nan, 1, 0.1], np.float32), "x")
    np.testing.assert_array_equal(np.isnan(stored), [True, False, False])
    assert rounding.error == pytest.approx(
        abs(0.1 - float(np.float16(0.1))) / np.hypot(1, 0.1), rel=1e-3
    )
