import hashlib
import json

import nibabel as nb
import numpy as np
import pytest
from nilearn.maskers import NiftiMasker

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import matrix as matrix_module
from opnmf_pipeline.images import reading
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from tests.builders import AFFINE, three_parts, write_cohort, write_image


def build(cohort, options=None, mask=None, **keywords):
    """Build the matrix; returns it and its side-car."""
    options = options or MatrixConfig()
    folder = cohort.root.parent
    mask_file = folder / "mask.nii.gz"
    make_mask(cohort.images, mask_file, mask or MaskConfig(), options)
    out = folder / "matrix"
    out.mkdir(exist_ok=True)
    return read_matrix(
        build_matrix(cohort.images, cohort.subjects, mask_file, out, options, **keywords)
    )


def problem(cohort, options=None, mask=None):
    with pytest.raises(ImageError) as info:
        build(cohort, options, mask)
    assert list((cohort.root.parent / "matrix").iterdir()) == []
    return str(info.value)


@pytest.fixture
def everywhere(tmp_path):
    """A given mask of all voxels."""
    ones = np.ones((5, 4, 3), dtype=np.uint8)
    return MaskConfig(method="image", image=write_image(tmp_path / "everywhere.nii.gz", ones))


def test_file_and_sidecar(cohort):
    X, sidecar = build(cohort)
    path = cohort.root.parent / "matrix" / "matrix.npy"
    assert X.dtype == np.float32
    assert X.flags.c_contiguous
    inside = cohort.values.mean(axis=0) > 0.1
    np.testing.assert_array_equal(X, cohort.values[:, inside].T)
    assert sidecar["Participants"] == cohort.subjects
    assert sidecar["Affine"] == AFFINE.tolist()
    assert sidecar["GridShape"] == [5, 4, 3]
    assert sidecar["Shift"] == 0
    assert sidecar["Preprocessing"] == {"negative": "error", "nan": "error", "dtype": "float32"}
    assert sidecar["SHA256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["matrix.json", "matrix.npy"]


@pytest.mark.parametrize("fwhm", [None, 5.0])
def test_equals_the_masker_of_nilearn(cohort, fwhm):
    X, _ = build(cohort, MatrixConfig(smoothing_fwhm=fwhm))
    masker = NiftiMasker(
        cohort.root.parent / "mask.nii.gz", smoothing_fwhm=fwhm, dtype="float32", standardize=None
    )
    images = [nb.load(path) for path in cohort.images]
    expected = np.vstack([masker.fit_transform(image) for image in images]).T
    if fwhm is None:
        np.testing.assert_array_equal(X, expected)
    else:
        np.testing.assert_allclose(X, expected, rtol=2e-6)


def test_nan_is_refused_with_subjects_and_counts(cohort):
    values = cohort.values[1].copy()
    values[1:4, 2, 1] = np.nan
    values[1, 1, 1] = np.inf
    cohort.damage(1, values)
    message = problem(cohort)
    assert message.startswith("1 subject(s) have values in the mask")
    assert f"sub-02: {cohort.images[1]}: 4 NaN or infinite of 59 voxels" in message
    assert "matrix.nan: zero" in message
    assert "matrix.negative" not in message


def test_negative_values_are_refused_with_subjects_and_counts(cohort):
    for number in range(6):
        values = cohort.values[number].copy()
        values.flat[7 : 8 + number] = -0.5
        if number == 0:
            values.flat[40] = np.nan
        cohort.damage(number, values)
    message = problem(cohort, mask=MaskConfig(threshold=-1))
    assert message.startswith("6 subject(s) have values in the mask")
    assert "1 NaN or infinite and 1 negative of 59 voxels" in message
    assert f"sub-05: {cohort.images[4]}: 5 negative of 59 voxels" in message
    assert f"sub-06: {cohort.images[5]}: 6 negative" in message
    assert "matrix.nan: zero" in message
    assert "matrix.negative: clip (to 0) or shift" in message


def test_values_outside_the_mask_do_not_matter(cohort, tmp_path):
    values = cohort.values[1].copy()
    values[0, 0, 0] = -1
    cohort.damage(1, values)
    X, _ = build(cohort)
    assert X.min() > 0


def test_nan_to_zero(cohort):
    values = cohort.values[1].copy()
    values[1:4, 2, 1] = np.nan
    cohort.damage(1, values)
    X, sidecar = build(cohort, MatrixConfig(nan="zero"))
    inside = cohort.values.mean(axis=0) > 0.1
    np.testing.assert_array_equal(X[:, 1], np.nan_to_num(values)[inside])
    assert np.count_nonzero(X == 0) == 3
    assert sidecar["Preprocessing"]["nan"] == "zero"


def test_clip(cohort, everywhere):
    values = cohort.values.copy()
    values[2, 1, 1, 1] = -0.5
    values[:, 2, 2, 2] = -0.1
    for number, volume in enumerate(values):
        cohort.damage(number, volume)
    X, sidecar = build(cohort, MatrixConfig(negative="clip"), everywhere)
    assert sidecar["Shift"] == 0
    inside = (values > 0).any(axis=0)
    np.testing.assert_array_equal(X, np.maximum(values, 0)[:, inside].T)
    assert X.any(axis=1).all(), "a voxel that is 0 in every subject breaks the update"


def test_clip_leaves_nothing_of_a_subject(cohort, everywhere):
    cohort.damage(3, -cohort.values[3])
    message = problem(cohort, MatrixConfig(negative="clip"), everywhere)
    assert f"sub-04: {cohort.images[3]}: is zero everywhere in the mask" in message


def test_shift(cohort, everywhere, monkeypatch):
    monkeypatch.setattr(matrix_module, "BATCH_BYTES", 100)
    values = cohort.values.copy()
    values[2, 1, 1, 1] = -0.25
    values[4, 2, 2, 2] = -0.125
    for number, volume in enumerate(values):
        cohort.damage(number, volume)
    X, sidecar = build(cohort, MatrixConfig(negative="shift"), everywhere)
    assert sidecar["Shift"] == -0.25
    inside = (values != 0).any(axis=0)
    np.testing.assert_array_equal(X, values[:, inside].T + np.float32(0.25))
    assert X.min() == 0


def test_shift_of_positive_data_is_none(cohort):
    X, sidecar = build(cohort, MatrixConfig(negative="shift"))
    assert sidecar["Shift"] == 0
    assert X.min() > 0


def test_zero_image(cohort):
    cohort.damage(3, np.zeros((5, 4, 3), dtype=np.float32))
    message = problem(cohort, mask=MaskConfig(threshold=0.05))
    assert f"sub-04: {cohort.images[3]}: is zero everywhere in the mask" in message
    assert "inputs.on_empty: drop" in message


@pytest.mark.parametrize("n_procs", [1, 2])
def test_damaged_image_leaves_nothing_behind(cohort, n_procs, monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    build(cohort)
    for path in (cohort.root.parent / "matrix").iterdir():
        path.unlink()
    cohort.images[4].write_bytes(cohort.images[4].read_bytes()[:-20])
    mask, out = cohort.root.parent / "mask.nii.gz", cohort.root.parent / "matrix"
    with pytest.raises(ImageError, match=str(cohort.images[4])):
        build_matrix(cohort.images, cohort.subjects, mask, out, MatrixConfig(), n_procs=n_procs)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("n_bytes", [1, 4 * 59, 4 * 59 * 4, 4 * 59 * 6])
def test_batches_give_the_same_bits(cohort, n_bytes, monkeypatch):
    expected = np.array(build(cohort)[0])
    monkeypatch.setattr(matrix_module, "BATCH_BYTES", n_bytes)
    np.testing.assert_array_equal(build(cohort)[0], expected)


def test_processes_give_the_same_bits(tmp_path, monkeypatch):
    cohort = write_cohort(tmp_path / "dataset", three_parts(9))
    expected = np.array(build(cohort)[0])
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    monkeypatch.setattr(reading, "BATCH", 3)
    np.testing.assert_array_equal(build(cohort, n_procs=2)[0], expected)


def test_progress_counts_every_image(cohort):
    seen = []

    def track(items, description, total):
        for item in items:
            seen.append((description, total))
            yield item

    build(cohort, track=track)
    assert seen == [("matrix", 6)] * 6


def test_mixed_grids_resampled_to_the_first(cohort):
    shifted = AFFINE.copy()
    shifted[0, 3] -= 3
    moved = np.roll(cohort.values[2], -1, axis=0)
    write_image(cohort.images[2], moved, shifted)
    X, _ = build(cohort, MatrixConfig(resample="to-first"))
    inside = np.asarray(nb.load(cohort.root.parent / "mask.nii.gz").dataobj) != 0
    expected = cohort.values[2].copy()
    expected[0] = 0
    np.testing.assert_allclose(X[:, 2], expected[inside], atol=1e-6)
    np.testing.assert_array_equal(X[:, 1], cohort.values[1][inside])


def test_downsampled(cohort):
    X, sidecar = build(cohort, MatrixConfig(voxel_size=6))
    assert sidecar["GridShape"] == [3, 2, 2]
    assert np.abs(sidecar["Affine"][0][0]) == 6
    assert X.shape[1] == 6
    json.dumps(sidecar)
