import gzip
import json
import logging
import os

import nibabel as nb
import numpy as np
import pytest
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nilearn.image import resample_img, smooth_img

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes import (
    Grid,
    analysis_grid,
    check_grids,
    open_image,
    read_values,
)
from tests.builders import AFFINE, SHAPE, three_parts, write_image

VALUES = three_parts(1)[0]
PLAIN = MatrixConfig()


def read_volume(path, grid, options):
    return grid.read(path, options)


def read(path, options=PLAIN, grid=None):
    return read_volume(path, grid or Grid(SHAPE, AFFINE), options)


def problem(path):
    with pytest.raises(ImageError) as info:
        read(path)
    assert str(info.value).startswith(f"{path}: ")
    return str(info.value)


def big_endian(values, affine):
    header = nb.Nifti1Header(endianness=">")
    header.set_data_dtype(">f4")
    return nb.Nifti1Image(values, affine, header)


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "pair.img", "pair.hdr", "mgh.mgz", "big.nii", "two.nii.gz"]
)
def test_formats(tmp_path, name):
    path = tmp_path / name
    kinds = {"pair": nb.Nifti1Pair, "mgh": nb.MGHImage, "big": big_endian, "two": nb.Nifti2Image}
    kind = kinds.get(path.name.split(".")[0], nb.Nifti1Image)
    kind(VALUES, AFFINE).to_filename(path)
    values = read(path)
    assert values.dtype == np.float32
    assert values.dtype.isnative
    np.testing.assert_array_equal(values, VALUES)


def test_analyze_is_read_by_its_sizes(tmp_path):
    nb.AnalyzeImage(VALUES, np.diag([-3.0, 3, 3, 1])).to_filename(tmp_path / "a.img")
    image = open_image(tmp_path / "a.img")
    np.testing.assert_array_equal(read_values(image, "a.img"), VALUES)
    np.testing.assert_array_equal(voxel_sizes(image.affine), [3, 3, 3])


def test_scaled_integers(tmp_path):
    image = nb.Nifti1Image(np.arange(60, dtype=np.uint8).reshape(SHAPE), AFFINE)
    image.header.set_slope_inter(1 / 255, 0.5)
    image.to_filename(tmp_path / "a.nii.gz")
    written = nb.load(tmp_path / "a.nii.gz")
    assert written.get_data_dtype() == np.uint8
    expected = np.arange(60).reshape(SHAPE) / 255 + 0.5
    np.testing.assert_allclose(read(tmp_path / "a.nii.gz"), expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_volume_in_four_dimensions(tmp_path, name):
    path = write_image(tmp_path / name, VALUES[..., None])
    np.testing.assert_array_equal(read(path), VALUES)
    assert Grid.of(open_image(path)).same_as(Grid(SHAPE, AFFINE))


@pytest.mark.parametrize("shape", [(5, 4, 3, 2), (5, 4), (5, 4, 3, 1, 3)])
def test_not_one_volume(tmp_path, shape):
    path = write_image(tmp_path / "a.nii.gz", np.ones(shape, dtype=np.float32))
    message = problem(path)
    assert f"has shape {shape}" in message
    assert "expected one 3D volume" in message


def test_missing_file(tmp_path):
    assert "no such file; check the path" in problem(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("axes", [3, 4])
@pytest.mark.parametrize("n_bytes", [0, 5, 60, 200, -9])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_truncated(tmp_path, name, n_bytes, axes):
    values = np.random.default_rng(0).random(SHAPE + (1,) * (axes - 3), dtype=np.float32)
    path = write_image(tmp_path / name, values)
    path.write_bytes(path.read_bytes()[:n_bytes])
    assert "check the file or copy it again" in problem(path)


def test_flipped_bits(tmp_path):
    path = write_image(tmp_path / "a.nii.gz", VALUES)
    content = bytearray(path.read_bytes())
    content[-60:-40] = bytes(20)
    path.write_bytes(content)
    assert "check the file or copy it again" in problem(path)


@pytest.mark.parametrize(
    "content",
    [b"<html>moved</html>", gzip.compress(b"words" * 999), b"version https://git-lfs"],
    ids=["page", "gzip", "pointer"],
)
def test_not_an_image(tmp_path, content):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    assert "cannot be read as an image" in problem(path)


def test_an_image_of_another_kind(tmp_path):
    (tmp_path / "a.txt").write_text("0 1 2")
    assert "cannot be read as an image" in problem(tmp_path / "a.txt")
    assert "cannot be read as an image" in problem(tmp_path)


def test_the_grid_of_a_freesurfer_volume_can_be_stored(tmp_path):
    path = tmp_path / "thickness.mgz"
    nb.freesurfer.MGHImage(three_parts(1)[0], AFFINE).to_filename(path)
    described = json.loads(json.dumps(Grid.of(open_image(path)).describe()))
    assert described["GridShape"] == list(SHAPE)


def test_a_freesurfer_surface_without_hemisphere_is_refused(tmp_path):
    path = tmp_path / "left.thickness.mgz"
    nb.freesurfer.MGHImage(np.ones((162, 1, 1), np.float32), AFFINE).to_filename(path)
    with pytest.raises(ImageError, match=r"162 vertices .* such as lh.left.thickness.mgz"):
        open_image(path)


def test_surface_is_refused(tmp_path):
    array = nb.gifti.GiftiDataArray(np.ones(9, dtype=np.float32))
    nb.GiftiImage(darrays=[array]).to_filename(tmp_path / "a.func.gii")
    assert "expected one 3D volume" in problem(tmp_path / "a.func.gii")


def test_check_grids_names_the_first_that_differ(tmp_path):
    good = [write_image(tmp_path / f"{n}.nii.gz", VALUES) for n in range(3)]
    wide = [write_image(tmp_path / f"w{n}.nii.gz", np.ones((6, 4, 3))) for n in range(3)]
    shift = AFFINE.copy()
    shift[0, 3] += 0.5
    moved = write_image(tmp_path / "moved.nii.gz", VALUES, shift)
    check_grids(good, good[0])
    with pytest.raises(ImageError) as info:
        check_grids([*good, moved, *wide], good[0])
    message = str(info.value)
    assert "4 of 7 images are not on the grid of" in message
    assert "shape (5, 4, 3), voxels 3 x 3 x 3 mm, origin (6, -9, 12) mm" in message
    assert f"{moved}: origin at (6.5, -9, 12) mm, not (6, -9, 12) mm\n" in message
    assert f"{wide[1]}: shape (6, 4, 3), not (5, 4, 3)\n" in message
    assert "matrix.resample: to-first" in message


def test_a_wrong_grid_is_told_by_what_differs():
    grid = Grid(SHAPE, AFFINE)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.1), -np.sin(0.1)], [np.sin(0.1), np.cos(0.1)]]
    turned = Grid(SHAPE, AFFINE @ turn)
    assert grid.differences(turned) == "axes turned by 5.7 degrees"
    finer = Grid((10, 4, 3), AFFINE @ np.diag([0.5, 1, 1, 1]))
    expected = "shape (10, 4, 3), not (5, 4, 3), voxels of 1.5 x 3 x 3 mm, not 3 x 3 x 3 mm"
    assert grid.differences(finer) == expected


AXES = {"RAS": "left-right flipped", "LPS": "two flips", "SAL": "permuted", "IPR": "both"}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("options", [PLAIN, MatrixConfig(smoothing_fwhm=6)])
def test_voxels_of_flipped_and_permuted_axes_are_reordered_exactly(tmp_path, axes, options, caplog):
    image = nb.Nifti1Image(VALUES, AFFINE)
    plain = write_image(tmp_path / "plain.nii", VALUES)
    turn = ornt_transform(io_orientation(AFFINE), axcodes2ornt(axes))
    stored = image.as_reoriented(turn)
    assert nb.aff2axcodes(stored.affine) == tuple(axes)
    turned = write_image(tmp_path / "turned.nii", np.asarray(stored.dataobj), stored.affine)
    with caplog.at_level("WARNING", logger="opnmf_pipeline"):
        check_grids([plain, turned], plain)
    assert f"1 of 2 images, such as {turned}, store their axes in another order" in caplog.text
    np.testing.assert_array_equal(read(turned, options), read(plain, options))
    assert read(turned, options).flags.c_contiguous


def write_coded(tmp_path, codes):
    return [
        write_image(tmp_path / f"{number}.nii.gz", VALUES, codes=pair)
        for number, pair in enumerate(codes)
    ]


@pytest.mark.parametrize("resampled", [False, True])
def test_headers_of_two_templates_are_told(tmp_path, caplog, resampled):
    paths = write_coded(tmp_path, [(4, 4), (4, 1), (3, 4), (0, 3)])
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        check_grids(paths, paths[0], resampled=resampled)
    assert f"Talairach (such as {paths[2]}), MNI152 (such as {paths[0]})" in caplog.text


def test_headers_without_a_template_are_not_told(tmp_path, caplog):
    paths = write_coded(tmp_path, [(4, 4), (0, 0), (2, 1), (1, 3), (0, 4)])
    with caplog.at_level(logging.WARNING, "opnmf_pipeline"):
        check_grids(paths, paths[0], resampled=True)
    assert caplog.text == ""


def test_affines_that_differ_by_rounding_are_one_grid(tmp_path):
    nearly = AFFINE.copy()
    nearly[:3, 3] += 1e-4
    paths = [tmp_path / "a.nii", tmp_path / "b.nii"]
    for path, affine in zip(paths, [AFFINE, nearly], strict=True):
        write_image(path, VALUES, affine)
    check_grids(paths, paths[0])


@pytest.mark.parametrize("affine", [AFFINE, np.diag([1.7, 1.7, 1.7, 1.0])])
@pytest.mark.parametrize("factor", [2, 2.5, 1])
def test_coarser_keeps_the_field_of_view(affine, factor):
    grid = Grid((60, 48, 36), affine.astype(np.float32).astype(np.float64))
    size = voxel_sizes(affine)[0] * factor
    coarse = grid.coarser(size)
    np.testing.assert_allclose(voxel_sizes(coarse.affine), size)
    first_corner = apply_affine(grid.affine, [-0.5] * 3)
    np.testing.assert_allclose(apply_affine(coarse.affine, [-0.5] * 3), first_corner, atol=1e-5)
    assert coarse.shape == tuple(int(n) for n in np.ceil(np.array(grid.shape) / factor))


def test_coarser_keeps_a_point_in_place(tmp_path):
    values = np.zeros((12, 12, 12), dtype=np.float32)
    values[3:6, 6:9, 0:3] = 1
    path = write_image(tmp_path / "a.nii.gz", values)
    options = MatrixConfig(voxel_size=9)
    grid = analysis_grid(path, None, options)
    coarse = read_volume(path, grid, options)
    assert coarse.shape == (4, 4, 4)
    assert np.unravel_index(coarse.argmax(), coarse.shape) == (1, 2, 0)
    np.testing.assert_allclose(
        apply_affine(grid.affine, [1, 2, 0]), apply_affine(AFFINE, [4, 7, 1]), atol=1e-9
    )


def test_coarser_keeps_the_mean_of_a_flat_image(tmp_path):
    path = write_image(tmp_path / "a.nii.gz", np.full((12, 12, 12), 0.7, dtype=np.float32))
    options = MatrixConfig(voxel_size=6)
    coarse = read_volume(path, analysis_grid(path, None, options), options)
    np.testing.assert_allclose(coarse[2:-2, 2:-2, 2:-2], 0.7, rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_coarser_voxels_hold_means_and_not_samples(tmp_path, axis):
    # stripes of one voxel: the centre of every coarse voxel lies in a stripe of 0 or of 1
    stripes = np.zeros((30, 30, 30), dtype=np.float32)
    np.moveaxis(stripes, axis, 0)[::2] = 1
    path = write_image(tmp_path / "a.nii.gz", stripes)
    options = MatrixConfig(voxel_size=9)
    coarse = read_volume(path, analysis_grid(path, None, options), options)
    np.testing.assert_allclose(coarse[2:-2, 2:-2, 2:-2], 0.5, atol=0.1)


def test_smoothing_is_that_of_nilearn(tmp_path):
    path = write_image(tmp_path / "a.nii.gz", VALUES)
    expected = smooth_img(nb.load(path), 6).get_fdata(dtype=np.float32)
    np.testing.assert_allclose(read(path, MatrixConfig(smoothing_fwhm=6)), expected, rtol=1e-6)
    assert not np.allclose(expected, VALUES)


def test_resampling_puts_a_voxel_where_it_belongs(tmp_path):
    flipped = AFFINE @ np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    values = np.zeros(SHAPE, dtype=np.float32)
    values[1, 2, 1] = 0.7
    path = write_image(tmp_path / "a.nii.gz", values, flipped)
    result = read(path, MatrixConfig(resample="to-first"))
    expected = np.zeros(SHAPE, dtype=np.float32)
    expected[3, 2, 1] = 0.7
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_resampling_is_that_of_nilearn(tmp_path):
    shifted = AFFINE.copy()
    shifted[:3, 3] += [1, -0.5, 0.3]
    path = write_image(tmp_path / "a.nii.gz", VALUES, shifted)
    expected = resample_img(
        nb.load(path),
        AFFINE,
        SHAPE,
        interpolation="linear",
        force_resample=True,
        copy_header=True,
    ).get_fdata()
    np.testing.assert_allclose(read(path, MatrixConfig(resample="to-first")), expected, atol=1e-6)


def test_analysis_grid(tmp_path):
    first = write_image(tmp_path / "a.nii.gz", VALUES)
    mask = write_image(tmp_path / "m.nii.gz", np.ones((3, 3, 3), dtype=np.uint8), np.eye(4))
    assert analysis_grid(first, None, PLAIN).shape == SHAPE
    assert analysis_grid(first, mask, PLAIN).shape == SHAPE
    assert analysis_grid(first, mask, MatrixConfig(resample="to-first")).shape == SHAPE
    to_mask = analysis_grid(first, mask, MatrixConfig(resample="to-mask"))
    assert to_mask.same_as(Grid((3, 3, 3), np.eye(4)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan(tmp_path, bad):
    values = VALUES.copy()
    values[1:3, 1, 1] = bad
    path = write_image(tmp_path / "a.nii.gz", values)
    assert np.count_nonzero(~np.isfinite(read(path))) == 2
    with pytest.raises(ImageError, match=r"has 2 NaN or infinite values.*matrix\.nan: zero"):
        read(path, MatrixConfig(smoothing_fwhm=3))
    zeroed = np.where(np.isfinite(values), values, 0)
    np.testing.assert_array_equal(read(path, MatrixConfig(nan="zero")), zeroed)
    clean = write_image(tmp_path / "b.nii.gz", zeroed)
    np.testing.assert_array_equal(
        read(path, MatrixConfig(nan="zero", smoothing_fwhm=3)),
        read(clean, MatrixConfig(smoothing_fwhm=3)),
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads every file")
def test_no_permission(tmp_path):
    path = write_image(tmp_path / "a.nii.gz", VALUES)
    path.chmod(0)
    assert "Permission denied" in problem(path)


@pytest.mark.parametrize(
    ("codes", "expected"), [((4, 4), 4), ((2, 0), 2), ((0, 1), 1), ((0, 0), 2), ((1, 4), 1)]
)
def test_space_of_the_mask_is_that_of_the_affine_in_use(tmp_path, codes, expected):
    path = write_image(tmp_path / "a.nii.gz", three_parts(1)[0], codes=codes)
    Grid(SHAPE, AFFINE).write_mask(np.ones(SHAPE, dtype=bool), path, tmp_path / "m.nii.gz")
    mask = nb.load(tmp_path / "m.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert mask.header["sform_code"] == mask.header["qform_code"] == expected
    assert mask.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(mask.get_sform(), AFFINE)
    np.testing.assert_allclose(mask.get_qform(), AFFINE, atol=1e-5)
