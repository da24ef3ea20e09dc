"""Damaged images: each is refused by an error of ours, or has the values that its file says."""

import gzip
import random
import struct
import tracemalloc

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.volumes import analysis_grid, check_grids, open_image, read_values
from tests.builders import AFFINE, write_image
from tests.robustness.generated import tried
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
        message = str(error)
    assert message.startswith(f"{path}: ")
    assert "check the file or copy it again" in message or "split it" in message
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
            tried()
            content, what = damaged(good, random.Random(seed))
            path.write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
            compare(path, content, f"seed {seed}: {what}")
            resample(path, folder / "good.nii")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_damaged_headers_and_lengths(folder, suffix):
    try_damages(folder, range(300), suffix)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_many_damaged_headers_and_lengths(folder, suffix):
    try_damages(folder, range(300, 5300), suffix)


def flip_bits(image, path, n_flips, seed=0):
    """Return how many of the flips are refused; require the true values of the others."""
    rng, content = random.Random(seed), image.read_bytes()
    right = read_values(open_image(image), image)
    n_refused = 0
    for _ in range(n_flips):
        tried()
        flipped, bit = bytearray(content), rng.randrange(8 * len(content))
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if (found := read(path)) is None:
            n_refused += 1
        else:
            np.testing.assert_array_equal(found[0], right, err_msg=f"bit {bit}")
    return n_refused


def real_map(test_data):
    return sorted((test_data / "mcic-vbm").glob("sub-*/anat/*.nii.gz"))[0]


def test_a_flipped_bit_in_a_real_map_is_refused(test_data, tmp_path):
    # The others do no harm: the time in the header of gzip, or a copy of equal bytes elsewhere
    assert flip_bits(real_map(test_data), tmp_path / "a.nii.gz", 100) >= 97


@pytest.mark.slow
def test_many_flipped_bits_in_a_real_map_are_refused(test_data, tmp_path):
    assert flip_bits(real_map(test_data), tmp_path / "a.nii.gz", 4000, seed=1) >= 3940


KINDS = {
    "two.nii": nb.Nifti2Image,
    "pair.img": nb.Nifti1Pair,
    "pair.hdr": nb.Nifti1Pair,
    "analyze.img": nb.AnalyzeImage,
    "spm.hdr": nb.Spm99AnalyzeImage,
    "surfer.mgh": nb.MGHImage,
}


# nibabel leaves a damaged MGH file open
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", KINDS)
def test_flipped_bits_in_other_formats_are_no_foreign_errors(folder, name):
    path = folder / name
    KINDS[name](VALUES, np.diag([-3.0, 3, 3, 1])).to_filename(path)
    content, rng = path.read_bytes(), random.Random(0)
    with np.errstate(all="ignore"):
        for _ in range(150):
            tried()
            flipped, bit = bytearray(content), rng.randrange(8 * min(len(content), 540))
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            if (found := read(path)) is not None:
                assert np.prod(found[0].shape) == VALUES.size, f"bit {bit}"
            resample(path, folder / "good.nii")


HALF = 300  # a member may end anywhere: in the header or between two voxels


@pytest.mark.parametrize(
    ("pack", "valid"),
    [
        (lambda raw: gzip.compress(raw[:HALF]) + gzip.compress(raw[HALF:]), True),
        (lambda raw: gzip.compress(raw) + bytes(512), True),  # the padding of tapes
        (lambda raw: gzip.compress(raw) + b"garbage", False),
        (lambda raw: gzip.compress(raw) + gzip.compress(raw), False),
        (lambda raw: gzip.compress(raw + b"\0"), False),
        (lambda raw: gzip.compress(raw)[:-1], False),
        (lambda raw: gzip.compress(raw)[:-8], False),
        (lambda raw: gzip.compress(raw)[:-8] + bytes(8), False),
    ],
    ids=["members", "padding", "garbage", "twice", "longer", "cut", "no checksum", "zeros"],
)
def test_members_of_gzip(folder, tmp_path, pack, valid):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(pack((folder / "good.nii").read_bytes()))
    found = read(path)
    assert (found is not None) == valid
    if found is not None:
        np.testing.assert_array_equal(found[0], VALUES)


def with_fields(path, **changes):
    """Write the good image with other fields in its header."""
    image = nb.Nifti1Image(VALUES, AFFINE)
    image.set_sform(AFFINE, 4)
    image.set_qform(AFFINE, 4)
    content = bytearray(image.to_bytes())
    header = nb.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in changes.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


NAN = float("nan")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": [3, -7, 6, 5, 1, 1, 1, 1]}, "the shape (-7, 6, 5); expected positive sizes"),
        ({"dim": [4, 7, 6, 5, 0, 1, 1, 1]}, "the shape (7, 6, 5, 0)"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "describes 140724603847004 bytes"),
        ({"datatype": 77}, "unknown datatype 77"),
        ({"bitpix": 16}, "16 bits per voxel (bitpix), but its datatype is float32"),
        ({"datatype": 32, "bitpix": 64}, "complex values"),
        ({"datatype": 128, "bitpix": 24}, "RGB values"),
        ({"vox_offset": NAN}, "start at byte nan (vox_offset)"),
        ({"vox_offset": 1e30}, "describes 1000000015047466219876688855880 bytes"),
        ({"scl_slope": NAN}, "the scale nan and intercept 0"),
        ({"scl_slope": 1, "scl_inter": float("inf")}, "the scale 1 and intercept inf"),
        ({"srow_x": [NAN, 0, 0, 0]}, "NaN or infinite"),
        ({"srow_x": [-3, 0, 0, 6], "srow_y": [3, 3, 3, 0], "srow_z": [0, 3, 3, 0]}, "is singular"),
        ({"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0]}, "its affine gives voxels of 0, 0, 3 mm"),
        ({"srow_x": [-3, 0, 0, 1e30]}, "at 1e+30, -9, 12 mm"),
        ({"sform_code": 9}, "the sform_code 9; expected 0 to 5"),
        ({"sform_code": 0, "pixdim": [1, 0, 3, 3, 1, 1, 1, 1]}, "the edges 0, 3, 3 (pixdim)"),
        ({"sform_code": 0, "pixdim": [7, 3, 3, 3, 1, 1, 1, 1]}, "third axis is 7 (pixdim[0])"),
    ],
)
def test_what_is_wrong_with_a_header_is_said(tmp_path, suffix, changes, message):
    path = with_fields(tmp_path / f"a{suffix}", **changes)
    with pytest.raises(ImageError) as info:
        open_image(path)
    assert message in str(info.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scl_slope": 0, "scl_inter": NAN},  # a slope of 0 means no scale
        {"sform_code": 0, "srow_x": [NAN] * 4},
        {"qform_code": 0, "quatern_b": NAN, "pixdim": [0] * 8},
        {"qform_code": 5},
        # some tools write a code, but no sform
        {"srow_x": [0] * 4, "srow_y": [0] * 4, "srow_z": [0] * 4, "sform_code": 1},
    ],
)
def test_unusual_headers_work(tmp_path, changes):
    values, affine = read(with_fields(tmp_path / "a.nii.gz", **changes))
    np.testing.assert_array_equal(values, VALUES)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("change", [lambda raw: raw[:-4], lambda raw: raw + bytes(4)])
def test_the_size_of_a_file_is_known_before_it_is_read(folder, tmp_path, change):
    path = tmp_path / "a.nii"
    content = (folder / "good.nii").read_bytes()
    path.write_bytes(change(content))
    with pytest.raises(ImageError, match=f"describes {len(content)} bytes, but .* has"):
        open_image(path)


def test_an_image_that_would_fill_the_memory_is_not_resampled(folder, tmp_path):
    path = tmp_path / "bomb.nii.gz"
    dims = [3, 160, 160, 160, 1, 1, 1, 1]
    header = gzip.decompress(with_fields(path, dim=dims, datatype=2, bitpix=8).read_bytes())[:352]
    path.write_bytes(gzip.compress(header + bytes(160**3)))
    with pytest.raises(ImageError, match="1 of 2 images have more than 64 times the voxels"):
        check_grids([folder / "good.nii", path], folder / "good.nii", resampled=True)


def test_an_endless_extension_is_not_read(tmp_path):
    path = with_fields(tmp_path / "bomb.nii.gz", vox_offset=368)
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[348:352] = b"\1\0\0\0"
    content[352:352] = struct.pack("<ii", 50 * 2**20, 6) + bytes(8)
    path.write_bytes(gzip.compress(bytes(content) + bytes(60 * 2**20)))
    tracemalloc.start()
    try:
        assert read(path) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
