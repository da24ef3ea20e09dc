"""Missing values from the images to the matrix: NaN, and masks of single images."""

import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from opnmf_pipeline.config import InputsConfig, MaskConfig, MatrixConfig, PipelineConfig
from opnmf_pipeline.exceptions import CohortError, ImageError
from opnmf_pipeline.images.check import check_images
from opnmf_pipeline.images.cohort import find_cohort
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.images.missing import find_masks, read_masks, write_masks
from opnmf_pipeline.images.space import ImageMask
from opnmf_pipeline.images.volumes import Grid, open_mask
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from tests.builders import AFFINE, SHAPE, write_image

MASKED = MatrixConfig(nan="masked")
ALL = MaskConfig(method="mean", threshold=0.0, within="none")
GRID = Grid(SHAPE, AFFINE)
LESION = np.s_[1:3, 2, 1]


def built(cohort, tmp_path, options=MASKED, mask=ALL, masks_file=None):
    """Return the matrix, and the rows as voxels of the grid."""
    values = tmp_path / "values"
    values.mkdir()
    mask_file = make_mask(
        cohort.images,
        tmp_path / "mask.nii.gz",
        mask,
        options,
        masks_file=masks_file,
        values_dir=values,
    )
    file = build_matrix(
        cohort.images, cohort.subjects, mask_file, tmp_path, options, values_dir=values
    )
    return read_matrix(file)[0], open_mask(mask_file).inside


def with_lesions(cohort, subjects=(0, 1), value=1, name="label-lesion_mask.nii.gz", shape=SHAPE):
    """Write masks with a lesion of two voxels for some subjects."""
    for number in subjects:
        lesion = np.zeros(shape, dtype=np.uint8)
        lesion[LESION] = value
        subject = cohort.subjects[number]
        write_image(cohort.root / subject / "anat" / f"{subject}_space-MNI152_{name}", lesion)


def inputs_of(cohort, missing="nonzero", **masks):
    """Return the settings of the tiny cohort with masks."""
    masks = masks or {"filters": {"label": "lesion"}}
    return InputsConfig(
        bids=cohort.root,
        filters={"label": ["GM"], "suffix": ["probseg"]},
        masks={"missing": missing, **masks},
    )


def found(cohort, **masks):
    inputs = inputs_of(cohort, **masks)
    return find_masks(inputs, find_cohort(inputs)[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinite_values_are_missing_in_the_matrix(cohort, tmp_path, value):
    values = cohort.values[1].copy()
    values[LESION] = value
    cohort.damage(1, values)
    X, inside = built(cohort, tmp_path)
    expected = np.where(np.isfinite(values), values, np.nan)[inside]
    np.testing.assert_array_equal(X[:, 1], expected)
    assert np.isnan(X).sum() == 2
    np.testing.assert_array_equal(X[:, 0], cohort.values[0][inside])


def test_means_and_fractions_of_the_mask_are_over_observed_subjects(cohort, tmp_path):
    for number in (0, 1, 2):
        values = cohort.values[number].copy()
        values[LESION] = np.nan
        cohort.damage(number, values)
    mean = cohort.values[3:, 1, 2, 1].mean()
    for mask in (
        MaskConfig(threshold=float(mean) - 0.01, within="none"),
        MaskConfig(method="coverage", threshold=0.01, coverage=1.0, within="none"),
    ):
        folder = tmp_path / mask.method
        folder.mkdir()
        _, inside = built(cohort, folder, mask=mask)
        assert inside[LESION].any()


def test_voxels_that_most_subjects_lack_are_outside_the_mask(cohort, tmp_path, caplog):
    for number in range(4):
        values = cohort.values[number].copy()
        values[LESION] = np.nan
        cohort.damage(number, values)
    with caplog.at_level("INFO", logger="opnmf_pipeline"):
        X, inside = built(cohort, tmp_path)
    assert not inside[LESION].any()
    assert not np.isnan(X).any()
    assert "without 2 voxels that are missing (NaN) in more than 50% of the subjects" in caplog.text


def test_a_subject_without_most_voxels_is_refused_by_name(cohort, tmp_path):
    values = np.full(SHAPE, np.nan, dtype=np.float32)
    values[0, 1:3, 1] = 0.5
    cohort.damage(2, values)
    with pytest.raises(ImageError, match=r"sub-03: .*57 of 59 voxels are missing(?s:.*)leave out"):
        built(cohort, tmp_path)


def test_smoothing_averages_observed_values_only(tmp_path):
    values = np.full((9, 9, 9), 2.0, dtype=np.float32)
    image = write_image(tmp_path / "whole.nii.gz", values)
    options = MatrixConfig(nan="masked", smoothing_fwhm=4)
    grid = Grid((9, 9, 9), AFFINE)
    np.testing.assert_array_equal(
        grid.read(image, options), grid.read(image, MatrixConfig(smoothing_fwhm=4))
    )
    values[3:6, 3:6, 3:6] = np.nan
    smooth = grid.read(write_image(tmp_path / "lesion.nii.gz", values), options)
    assert np.isnan(smooth[4, 4, 4])
    inner = smooth[2:7, 2:7, 2:7]
    seen = ~np.isnan(inner)
    assert seen.sum() > 60
    # not lowered towards the lesion; zeros would give less than 1.6 next to it
    np.testing.assert_allclose(inner[seen], 2, rtol=0.03)


def test_masks_make_their_voxels_missing(cohort, tmp_path):
    with_lesions(cohort)
    masks_file = write_masks(found(cohort), tmp_path / "masks.json")
    X, inside = built(cohort, tmp_path, masks_file=masks_file)
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[LESION] = True
    np.testing.assert_array_equal(np.isnan(X[:, 0]), lesion[inside])
    assert np.isnan(X).sum(axis=0).tolist() == [2, 2, 0, 0, 0, 0]


def test_zero_voxels_of_a_field_of_view_are_missing(cohort, tmp_path):
    with_lesions(cohort, range(6), name="desc-brain_mask.nii.gz")
    masks = found(cohort, missing="zero", filters={"desc": "brain"})
    values = GRID.read(cohort.images[0], MASKED, masks[str(cohort.images[0])])
    assert np.count_nonzero(~np.isnan(values)) == 2


def test_a_mask_is_turned_with_its_image(cohort, tmp_path):
    with_lesions(cohort, [0])
    path = found(cohort)[str(cohort.images[0])].path
    expected = GRID.read(cohort.images[0], MASKED, ImageMask(path, zero=False))
    image = nb.load(path)
    flipped = nb.as_closest_canonical(nb.Nifti1Image(np.asarray(image.dataobj), image.affine))
    turned = tmp_path / "turned.nii.gz"
    flipped.to_filename(turned)
    assert not np.allclose(flipped.affine, image.affine)
    got = GRID.read(cohort.images[0], MASKED, ImageMask(str(turned), zero=False))
    np.testing.assert_array_equal(got, expected)


def test_a_mask_on_another_grid_is_refused(cohort):
    with_lesions(cohort, [0], shape=(5, 4, 4))
    mask = found(cohort)[str(cohort.images[0])]
    with pytest.raises(ImageError, match=r"its mask .*lesion_mask.* is on another grid: shape"):
        GRID.read(cohort.images[0], MASKED, mask)


def test_masks_are_found_in_a_table(cohort, tmp_path):
    with_lesions(cohort, [1])
    lesion = cohort.root / "sub-02" / "anat" / "sub-02_space-MNI152_label-lesion_mask.nii.gz"
    table = tmp_path / "table.tsv"

    def masks(cell):
        rows = {"participant_id": cohort.subjects, "path": map(str, cohort.images), "lesion": ""}
        frame = pd.DataFrame(rows)
        frame.loc[1, "lesion"] = cell
        frame.to_csv(table, sep="\t", index=False)
        inputs = InputsConfig(table=table, masks={"missing": "nonzero", "column": "lesion"})
        return find_masks(inputs, find_cohort(inputs)[0])

    assert masks(str(lesion)) == {str(cohort.images[1]): ImageMask(str(lesion), zero=False)}
    with pytest.raises(CohortError, match=r"inputs.masks: .*1 path.* 'lesion' do not exist.*x.nii"):
        masks("x.nii")


def test_masks_are_found_by_a_pattern(cohort):
    with_lesions(cohort, [0, 3])
    masks = found(cohort, glob=str(cohort.root / "*" / "anat" / "*lesion*"))
    assert list(masks) == [str(cohort.images[0]), str(cohort.images[3])]


def test_a_mask_without_session_holds_for_all_sessions(cohort):
    with_lesions(cohort, [0])
    rows = pd.DataFrame(
        {
            "participant_id": ["sub-01", "sub-01", "sub-02"],
            "session_id": ["ses-1", "ses-2", "ses-1"],
            "image": ["a", "b", "c"],
        }
    )
    assert list(find_masks(inputs_of(cohort), rows)) == ["a", "b"]


def test_masks_of_nobody_are_refused(cohort):
    with pytest.raises(CohortError, match=r"inputs.masks: .*no image in .* matches the filters"):
        found(cohort)
    with_lesions(cohort, [0])
    inputs = inputs_of(cohort)
    others = find_cohort(inputs)[0].iloc[1:]
    with pytest.raises(CohortError, match="none of the 1 masks belongs to a subject of the cohort"):
        find_masks(inputs, others)


def test_a_changed_mask_is_another_file(cohort, tmp_path):
    with_lesions(cohort, [0])
    masks = found(cohort)
    before = write_masks(masks, tmp_path / "masks.json").read_text()
    with_lesions(cohort, [0], value=2)
    assert write_masks(masks, tmp_path / "masks.json").read_text() != before
    assert read_masks(tmp_path / "masks.json") == masks
    assert read_masks(None) == {}


def test_the_check_counts_missing_values(cohort):
    with_lesions(cohort, [0])
    images = [str(path) for path in cohort.images]
    checked = check_images(images, cohort.subjects, GRID, ALL, MASKED, masks=found(cohort))
    assert checked.missing[0] == pytest.approx(2 / 59)
    assert not checked.missing[1:].any()


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"missing": "zero"}, "set exactly one of filters, column, glob; none is set"),
        ({"missing": "zero", "glob": "a", "column": "b"}, "got column and glob"),
        ({"glob": "a"}, "Field required"),
        ({"missing": "zero", "column": "lesion"}, "`masks.column` requires `table`"),
        ({"missing": "zero", "glob": "a"}, "inputs.masks needs matrix.nan: masked"),
    ],
)
def test_impossible_settings(masks, message):
    with pytest.raises(ValidationError, match=message):
        PipelineConfig.model_validate({"inputs": {"bids": "x", "masks": masks}})


def test_tables_have_no_masks():
    with pytest.raises(ValidationError, match="`masks` are for images; set NaN in a table"):
        InputsConfig(features=["a.tsv"], masks={"missing": "zero", "glob": "a"})
