"""Values that the mask stage keeps, and the matrix that is made from them."""

import hashlib
import json

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.config import MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images import reading
from opnmf_pipeline.images.values import image_digests, image_paths, keep_values, kept_columns
from opnmf_pipeline.images.volumes import Mask, grid
from opnmf_pipeline.images.volumes.grid import Grid
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from tests.builders import AFFINE, SHAPE, three_parts, write_cohort, write_image

PLAIN = MatrixConfig()
GRID = Grid(SHAPE, AFFINE)
EVERYWHERE = Mask(nb.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), AFFINE))


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that were decoded, in order."""
    paths, read_values = [], grid.read_values

    def counted(image, path):
        paths.append(path)
        return read_values(image, path)

    monkeypatch.setattr(grid, "read_values", counted)
    return paths


def folder(root, name):
    (root / name).mkdir(parents=True)
    return root / name


def build(cohort, root, options=PLAIN, mask=None, *, keep, **keywords):
    """Return the bytes of the mask, and of the matrix and its side-car."""
    values = folder(root, "values") if keep else None
    mask_file = make_mask(
        cohort.images,
        folder(root, "mask") / "mask.nii.gz",
        mask or MaskConfig(),
        options,
        values_dir=values,
        **keywords,
    )
    out = folder(root, "matrix")
    build_matrix(
        cohort.images, cohort.subjects, mask_file, out, options, values_dir=values, **keywords
    )
    return [path.read_bytes() for path in (mask_file, *sorted(out.iterdir()))]


def own_file(path):
    return [str(path)]


def keep(images, paths, root, options=PLAIN):
    return list(keep_values(images, paths, root, GRID, options, own_file))


@pytest.mark.parametrize("keeping", [True, False])
def test_each_image_is_decoded_once(cohort, tmp_path, decoded, keeping):
    build(cohort, tmp_path / "a", keep=keeping)
    assert decoded == cohort.images * (1 if keeping else 2)


OPTIONS = {
    "plain": PLAIN,
    "clip": MatrixConfig(negative="clip"),
    "shift": MatrixConfig(negative="shift"),
    "smoothed": MatrixConfig(smoothing_fwhm=5),
    "coarser": MatrixConfig(voxel_size=4.7),
    "resampled": MatrixConfig(resample="to-first"),
    "all": MatrixConfig(resample="to-first", voxel_size=4.7, smoothing_fwhm=4, negative="shift"),
}


@pytest.mark.parametrize("n_procs", [1, 2])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_matrix_is_the_same_to_the_bit(cohort, tmp_path, options, n_procs, monkeypatch):
    monkeypatch.setattr(reading, "PROCESS_START_S", 0)
    if options.negative != "error":
        values = cohort.values[2].copy()
        values[1, 1, 1] = -0.5
        cohort.damage(2, values)
    if options.resample:
        moved = AFFINE.copy()
        moved[:3, 3] += [1, -0.5, 0.3]
        write_image(cohort.images[1], cohort.values[1], moved)
    expected = build(cohort, tmp_path / "a", options, keep=False)
    assert build(cohort, tmp_path / "b", options, keep=True, n_procs=n_procs) == expected


def test_the_same_with_a_given_mask_and_nan_as_zero(tmp_path):
    cohort = write_cohort(tmp_path / "dataset", three_parts())
    values = cohort.values[1].copy()
    values[1, 1, :2] = np.nan, np.inf
    cohort.damage(1, values)
    given = np.zeros(SHAPE, dtype=np.uint8)
    given[1:, :, 1:] = 1
    mask = MaskConfig(method="image", image=write_image(tmp_path / "m.nii.gz", given))
    options = MatrixConfig(nan="zero")
    expected = build(cohort, tmp_path / "a", options, mask, keep=False)
    assert build(cohort, tmp_path / "b", options, mask, keep=True) == expected


def test_nan_and_negative_values_are_refused_as_without_kept_values(cohort, tmp_path):
    values = cohort.values[1].copy()
    values[1:4, 2, 1] = np.nan
    values[2, 2, 2] = -0.1
    cohort.damage(1, values)
    messages = []
    for name, keeping in (("a", False), ("b", True)):
        with pytest.raises(ImageError, match="3 NaN or infinite and 1 negative of 59") as info:
            build(cohort, tmp_path / name, keep=keeping)
        messages.append(str(info.value))
    assert messages[0] == messages[1]


def test_every_bit_comes_back(tmp_path):
    image = np.zeros(SHAPE, dtype=np.float32)
    image.flat[:6] = [np.nan, -0.0, np.inf, -np.inf, 1e-45, -3]
    image.view(np.uint32).flat[6] = 0x7FC00001  # a NaN with a payload
    images = [image, np.zeros_like(image), np.asfortranarray(three_parts(1)[0])]
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.write_text(path.name)
    passed = keep(images, paths, tmp_path)
    for one, image in zip(passed, images, strict=True):
        np.testing.assert_array_equal(one, image)
    columns = list(kept_columns(tmp_path, paths, EVERYWHERE, PLAIN, own_file))
    for column, one in zip(columns, images, strict=True):
        np.testing.assert_array_equal(column.view(np.uint32), one.ravel().view(np.uint32))


def test_what_is_stored(tmp_path):
    image = np.zeros(SHAPE, dtype=np.float32)
    image.flat[[3, 9]] = 1, 2
    path = tmp_path / "image"
    path.write_text("x")
    keep([image, image], [path, path], tmp_path)
    sidecar = json.loads((tmp_path / "values.json").read_text())
    n_bytes = -(-image.size // 8) + 2 * 4
    digest = hashlib.sha256(b"x").hexdigest()
    assert sidecar["Images"] == [
        {"Image": str(path), "Offset": number * n_bytes, "NonZero": 2, "SHA256": digest}
        for number in range(2)
    ]
    assert image_paths(tmp_path) == [str(path)] * 2
    assert image_digests(tmp_path) == [digest] * 2
    assert sidecar["GridShape"] == list(SHAPE)
    assert sidecar["Preprocessing"] == {"negative": "error", "nan": "error", "dtype": "float32"}
    assert (tmp_path / sidecar["Values"]).stat().st_size == 2 * n_bytes


def test_values_appear_when_the_last_image_has_passed(cohort, tmp_path):
    kept = keep_values(
        iter(cohort.values), cohort.images, tmp_path, GRID, PLAIN, lambda path: [path]
    )
    for _ in range(len(cohort.images)):
        next(kept)
        assert not (tmp_path / "values.json").exists()
        assert not (tmp_path / "values.bin").exists()
    assert next(kept, None) is None
    assert {path.name for path in tmp_path.iterdir()} >= {"values.json", "values.bin"}


def test_a_damaged_image_leaves_nothing_behind(cohort, tmp_path):
    cohort.images[4].write_bytes(cohort.images[4].read_bytes()[:-20])
    with pytest.raises(ImageError, match=str(cohort.images[4])):
        build(cohort, tmp_path / "a", keep=True)
    assert list((tmp_path / "a" / "values").iterdir()) == []


@pytest.mark.parametrize(
    ("n_images", "options", "mask"),
    [
        (5, PLAIN, EVERYWHERE),
        (6, MatrixConfig(nan="zero"), EVERYWHERE),
        (6, PLAIN, Mask(nb.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), np.eye(4)))),
    ],
    ids=["number", "preparation", "grid"],
)
def test_values_of_something_else_are_refused(cohort, tmp_path, n_images, options, mask):
    keep(cohort.values, cohort.images, tmp_path)
    with pytest.raises(
        ImageError, match=rf"values.json: has values of 6 .* expected {n_images} im"
    ):
        next(kept_columns(tmp_path, cohort.images[:n_images], mask, options, own_file))


def test_values_of_other_images_or_of_another_order_are_refused(cohort, tmp_path):
    keep(cohort.values, cohort.images, tmp_path)
    first, second, *rest = cohort.images
    message = f"image 2 is {second}, expected {rest[0]}; connect the same list"
    for others in ([first, *rest, second], [first, rest[0], *rest]):
        with pytest.raises(ImageError, match=message):
            next(kept_columns(tmp_path, others, EVERYWHERE, PLAIN, own_file))


def test_images_that_were_moved_keep_their_values(cohort, tmp_path):
    keep(cohort.values, cohort.images, tmp_path)
    moved = [path.rename(path.with_name(f"moved_{path.name}")) for path in cohort.images]
    columns = kept_columns(tmp_path, moved, EVERYWHERE, PLAIN, own_file)
    np.testing.assert_array_equal(list(columns), [image.ravel() for image in cohort.values])
