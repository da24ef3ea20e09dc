"""Damaged images: each is refused by an error of ours, or has the values that its file says."""

import gzip
import random

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes import analysis_grid, check_grids, open_image, read_values
from tests.builders import AFFINE, write_image
from tests.robustness.nifti import damaged, meaning

SHAPE = (7, 6, 5)
VALUES = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
RESAMPLED = MatrixConfig(resample="to-first", nan="zero")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``good.nii`` in it."""
    folder = tmp_path_factory.mktemp("images")
    write_image(folder / "good.nii", VALUES)
    return folder


def read(path):
    """Return values and affine, or None if the image is refused by an error that names it."""
    try:
        image = open_image(path)
        return read_values(image, path), image.affine
    except ImageError as error:
        assert str(error).startswith(f"{path}: ")
        assert "check the file or copy it again" in str(error) or "split it" in str(error)
        return None


def compare(path, content, what):
    """Require what the independent reader says: the same values and affine, or a refusal."""
    right, found = meaning(content), read(path)
    assert (found is None) == (right is None), f"{what}: found {found}, expected {right}"
    if right is not None:
        with np.errstate(over="ignore"):
            expected = right[0].astype(np.float32)
        np.testing.assert_allclose(found[0], expected, rtol=1e-5, err_msg=what)
        np.testing.assert_allclose(found[1], right[1], rtol=1e-5, atol=1e-5, err_msg=what)


def resample(path, reference):
    """Read an image as a run does that resamples; it may be refused by an error of ours."""
    try:
        check_grids([path], reference, resampled=True)
        values = analysis_grid(reference, None, RESAMPLED).read(path, RESAMPLED)
    except ImageError:
        return
    assert values.shape == SHAPE


def try_damages(folder, seeds, suffix):
    good = (folder / "good.nii").read_bytes()
    path = folder / f"damaged{suffix}"
    with np.errstate(all="ignore"):
        for seed in seeds:
            content, what = damaged(good, random.Random(seed))
            path.write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
            compare(path, content, f"seed {seed}: {what}")
            resample(path, folder / "good.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_headers_and_lengths(folder, suffix):
    try_damages(folder, range(400), suffix)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_many_damaged_headers_and_lengths(folder, suffix):
    try_damages(folder, range(400, 5400), suffix)
