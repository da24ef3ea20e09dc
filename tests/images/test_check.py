"""The check of a cohort refuses what a run refuses."""

import numpy as np
import pytest

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import reading
from opnmf_pipeline.images.check import check_images, empty_images
from opnmf_pipeline.images.volumes import Grid, open_mask
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from tests.builders import AFFINE, SHAPE, three_parts, write_cohort

GRID = Grid(SHAPE, AFFINE)
MASK = MaskConfig(threshold=0.05)


def check(cohort, options, **keywords):
    return check_images(
        [str(path) for path in cohort.images], cohort.subjects, GRID, MASK, options, **keywords
    )


def message_of_run(cohort, options, tmp_path):
    mask_file = make_mask(cohort.images, tmp_path / "mask.nii.gz", MASK, options)
    with pytest.raises(ImageError) as info:
        build_matrix(cohort.images, cohort.subjects, mask_file, tmp_path, options)
    return str(info.value)


@pytest.mark.parametrize("n_procs", [1, 2])
def test_the_mask_is_that_of_a_run(cohort, tmp_path, n_procs, monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    mask_file = make_mask(cohort.images, tmp_path / "mask.nii.gz", MASK, MatrixConfig())
    inside = check(cohort, MatrixConfig(), n_procs=n_procs).inside
    np.testing.assert_array_equal(inside, open_mask(mask_file).inside)


def change(cohort, number, place, value):
    values = cohort.values[number].copy()
    values[place] = value
    cohort.damage(number, values)


EVERYWHERE, SOME, OUTSIDE = np.s_[:], np.s_[1:3, 2, 1], np.s_[0, 0, 0]


@pytest.mark.parametrize(
    ("place", "value", "options"),
    [
        (EVERYWHERE, 0, MatrixConfig()),
        (SOME, np.nan, MatrixConfig()),
        (SOME, np.inf, MatrixConfig()),
        (SOME, -0.1, MatrixConfig()),
        (EVERYWHERE, -0.1, MatrixConfig(negative="clip")),
        (EVERYWHERE, np.nan, MatrixConfig(nan="zero")),
    ],
)
def test_the_message_is_that_of_a_run(cohort, tmp_path, place, value, options):
    change(cohort, 4, place, value)
    expected = message_of_run(cohort, options, tmp_path)
    with pytest.raises(ImageError) as info:
        check(cohort, options)
    assert str(info.value) == expected
    assert f"sub-05: {cohort.images[4]}: " in expected


def test_an_image_that_is_zero_in_the_mask_only(cohort, tmp_path):
    values = np.zeros(SHAPE, dtype=np.float32)
    values[OUTSIDE] = 0.2  # the mean over the subjects is below the threshold of the mask
    cohort.damage(4, values)
    expected = message_of_run(cohort, MatrixConfig(), tmp_path)
    assert "is zero everywhere in the mask" in expected
    with pytest.raises(ImageError) as info:
        check(cohort, MatrixConfig())
    assert str(info.value) == expected


@pytest.mark.parametrize("value", [np.nan, -0.1])
def test_values_outside_the_mask_do_not_matter(cohort, value):
    change(cohort, 4, OUTSIDE, value)
    assert not check(cohort, MatrixConfig()).inside[OUTSIDE]


N_BAD = 12


@pytest.fixture
def many(tmp_path):
    """A cohort of which all but three subjects have an empty image."""
    values = three_parts(N_BAD + 3)
    values[3:] = 0
    return write_cohort(tmp_path / "many", values)


def test_all_subjects_with_a_problem_are_named_at_once(many, caplog):
    with (
        caplog.at_level("INFO", logger="opnmf_pipeline"),
        pytest.raises(ImageError, match=rf"^{N_BAD} subject\(s\) have values in the mask") as info,
    ):
        check(many, MatrixConfig())
    message = str(info.value)
    assert message.count("is zero everywhere in the mask") == 10
    assert "... and 2 more (the log lists all)" in message
    assert "set inputs.on_empty: drop" in message
    assert all(subject in caplog.text for subject in many.subjects[3:])


@pytest.mark.parametrize("n_procs", [1, 2])
def test_all_damaged_images_are_named_at_once(many, n_procs, monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    damaged = many.images[1:4]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ImageError, match=r"^3 of 15 images cannot be used:\n") as info:
        check(many, MatrixConfig(), n_procs=n_procs)
    assert all(f"  {path}: cannot be read" in str(info.value) for path in damaged)


def test_empty_images_are_those_that_are_zero_in_the_mask(many):
    values = np.zeros(SHAPE, dtype=np.float32)
    values[OUTSIDE] = 0.2
    many.damage(5, values)
    images = [str(path) for path in many.images]
    found = empty_images(images, GRID, MASK, MatrixConfig())
    assert found == list(range(3, N_BAD + 3))
