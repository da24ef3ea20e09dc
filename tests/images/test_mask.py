import nibabel as nb
import numpy as np
import pytest
from nibabel.affines import apply_affine

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.mask import group_mask
from opnmf_pipeline.images.volumes import Grid
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.spaces import open_mask
from tests.builders import AFFINE, SHAPE, write_image

GRID = Grid(SHAPE, AFFINE)


def volumes(*rows):
    """One volume per argument, whose first voxels have these values and the others 0."""
    made = []
    for row in rows:
        volume = np.zeros(SHAPE, dtype=np.float32)
        volume.flat[: len(row)] = row
        made.append(volume)
    return made


def inside(mask):
    return np.flatnonzero(mask).tolist()


def test_mean():
    # means 0.5, 0.3, 0.75, 0.1
    images = volumes([0.5, 0.1, 1.0, 0.1], [0.5, 0.5, 0.5, 0.1])
    assert inside(group_mask(images, GRID, MaskConfig(threshold=0.25))) == [0, 1, 2]
    assert inside(group_mask(images, GRID, MaskConfig(threshold=0.5))) == [2]


def test_coverage():
    images = volumes([1, 1, 1, 0.1], [1, 1, 0, 0.1], [1, 1, 0, 0.1], [1, 0, 0, 0.1])
    for coverage, expected in [(1, [0]), (0.75, [0, 1]), (0.5, [0, 1]), (0.25, [0, 1, 2])]:
        options = MaskConfig(method="coverage", threshold=0.1, coverage=coverage)
        assert inside(group_mask(images, GRID, options)) == expected


def test_coverage_is_not_lost_to_rounding():
    images = volumes(*[[1]] * 7, *[[0]] * 3)
    options = MaskConfig(method="coverage", coverage=0.7)
    assert inside(group_mask(images, GRID, options)) == [0]


def test_number_of_subjects():
    images = volumes([1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0])
    for n_subjects, expected in [(1, [0, 1, 2]), (2, [0, 1]), (3, [0])]:
        options = MaskConfig(method="coverage", n_subjects=n_subjects, coverage=0.9)
        assert inside(group_mask(images, GRID, options)) == expected
    with pytest.raises(ImageError, match=r"at most 3 of 4 .*; lower mask.n_subjects \(now 4\)"):
        group_mask(images, GRID, MaskConfig(method="coverage", n_subjects=4))


def head_cohort(folder, codes=(0, 2)):
    """Two constant images with the field of view of SPM, 6 mm, and without a space in the name."""
    affine = np.diag([-6.0, 6, 6, 1])
    affine[:3, 3] = 87.75, -123.75, -69.75
    ones = np.ones((30, 36, 30), dtype=np.float32)
    return [write_image(folder / f"{name}.nii.gz", ones, affine, codes) for name in "ab"]


@pytest.mark.parametrize(
    ("codes", "options", "in_brain"),
    [
        ((0, 2), MaskConfig(), True),
        ((4, 4), MaskConfig(method="coverage"), True),
        ((4, 4), MaskConfig(within="none"), False),
        ((4, 4), MaskConfig(method="template", threshold=-1), False),
        ((3, 3), MaskConfig(), False),
        ((3, 3), MaskConfig(within="brain"), True),
    ],
)
def test_voxels_outside_the_brain_are_excluded(tmp_path, codes, options, in_brain, caplog):
    images = head_cohort(tmp_path, codes)
    with caplog.at_level("INFO", logger="opnmf_pipeline"):
        mask = open_mask(make_mask(images, tmp_path / "m.nii.gz", options, MatrixConfig()))
    brain = mask.grid.read_brain()
    np.testing.assert_array_equal(mask.inside, brain if in_brain else np.ones_like(brain))
    assert 1.8e6 < brain.sum() * 6**3 < 1.95e6  # mm³ of the brain mask of nilearn at 1 mm: 1.88e6
    assert ("within the MNI152 brain mask" in caplog.text) == in_brain
    assert mask.in_standard_space == (codes != (3, 3))


def test_images_far_from_the_brain(tmp_path):
    far = AFFINE.copy()
    far[:3, 3] += 500
    images = [write_image(tmp_path / "a.nii.gz", np.ones(SHAPE, dtype=np.float32), far)]
    with pytest.raises(ImageError, match=r"outside the MNI152 brain mask; .* mask.within: none"):
        make_mask(images, tmp_path / "m.nii.gz", MaskConfig(), MatrixConfig())


def test_image_and_never_anywhere(tmp_path):
    given = np.zeros(SHAPE, dtype=np.uint8)
    given.flat[[0, 2, 3]] = 1
    path = write_image(tmp_path / "m.nii.gz", given)
    options = MaskConfig(method="image", image=path)
    images = volumes([0, 1, 1, 0], [0, 1, 0, -1])
    assert inside(group_mask(images, GRID, options)) == [2, 3]


def test_image_on_a_finer_grid(tmp_path):
    fine = np.zeros(tuple(2 * n for n in SHAPE), dtype=np.float32)
    fine_affine = AFFINE @ np.diag([0.5, 0.5, 0.5, 1])
    fine_affine[:3, 3] = apply_affine(AFFINE, [-0.25] * 3)
    fine[2:4, 4:6, 2:4] = 0.01
    path = write_image(tmp_path / "m.nii.gz", fine, fine_affine)
    options = MaskConfig(method="image", image=path)
    mask = group_mask([np.ones(SHAPE, dtype=np.float32)], GRID, options)
    assert np.argwhere(mask).tolist() == [[1, 2, 1]]


def test_image_with_nan_outside(tmp_path):
    given = np.full(SHAPE, np.nan, dtype=np.float32)
    given[1, 2, 1] = 1
    options = MaskConfig(method="image", image=write_image(tmp_path / "m.nii.gz", given))
    mask = group_mask([np.ones(SHAPE, dtype=np.float32)], GRID, options)
    assert np.argwhere(mask).tolist() == [[1, 2, 1]]


def test_template():
    from nilearn.datasets import load_mni152_gm_template

    template = load_mni152_gm_template(resolution=6)
    grid = Grid.of(template)
    ones = np.ones(grid.shape, dtype=np.float32)
    mask = group_mask([ones], grid, MaskConfig(method="template", threshold=0.2))
    expected = template.get_fdata() > 0.2
    assert (mask == expected).mean() > 0.97
    ones[: grid.shape[0] // 2] = 0
    half = group_mask([ones], grid, MaskConfig(method="template", threshold=0.2))
    assert not half[: grid.shape[0] // 2].any()
    np.testing.assert_array_equal(half[grid.shape[0] // 2 :], mask[grid.shape[0] // 2 :])


def test_nan_counts_as_zero():
    images = volumes([np.nan, 1, np.inf], [1, 1, 0])
    assert inside(group_mask(images, GRID, MaskConfig(threshold=0.6))) == [1]
    assert inside(group_mask(images, GRID, MaskConfig(threshold=0.4))) == [0, 1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            MaskConfig(threshold=2),
            "the mean over 2 subjects is at most 0.75; lower mask.threshold (now 2)",
        ),
        (
            MaskConfig(method="coverage", threshold=0.6, coverage=1),
            "at most 1 of 2 subjects exceed the threshold in one voxel; lower mask.threshold",
        ),
        (MaskConfig(method="template", threshold=2), "MNI152"),
    ],
)
def test_empty(options, expected):
    with pytest.raises(ImageError) as info:
        group_mask(volumes([0.5, 1.0], [0.5, 0.5]), GRID, options)
    assert str(info.value).startswith("the mask is empty: ")
    assert expected in str(info.value)


def test_empty_because_the_image_is_elsewhere(tmp_path):
    far = AFFINE.copy()
    far[:3, 3] += 500
    path = write_image(tmp_path / "m.nii.gz", np.ones(SHAPE, dtype=np.uint8), far)
    with pytest.raises(ImageError, match=rf"{path} is not zero; check that mask and images are in"):
        group_mask(volumes([1]), GRID, MaskConfig(method="image", image=path))


def test_stage(cohort, tmp_path):
    out = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), MatrixConfig())
    mask = nb.load(out)
    np.testing.assert_array_equal(np.asarray(mask.dataobj) != 0, cohort.values.mean(axis=0) > 0.1)
    assert not mask.dataobj[0, 0, 0]
    np.testing.assert_array_equal(mask.affine, AFFINE)


def test_stage_refuses_mixed_grids(cohort, tmp_path):
    write_image(cohort.images[3], np.ones((6, 4, 3), dtype=np.float32))
    with pytest.raises(ImageError, match=str(cohort.images[3])):
        make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), MatrixConfig())
    assert not (tmp_path / "mask.nii.gz").exists()


def test_stage_brings_images_to_the_mask(cohort, tmp_path):
    given = np.ones((4, 4, 3), dtype=np.uint8)
    affine = AFFINE.copy()
    affine[0, 3] -= 3
    path = write_image(tmp_path / "given.nii.gz", given, affine)
    options = MaskConfig(method="image", image=path)
    out = make_mask(
        cohort.images, tmp_path / "mask.nii.gz", options, MatrixConfig(resample="to-mask")
    )
    mask = nb.load(out)
    np.testing.assert_array_equal(mask.affine, affine)
    np.testing.assert_array_equal(mask.dataobj, np.any(cohort.values[:, 1:] > 0, axis=0))
