import numpy as np
import pytest

from opnmf_pipeline.images.volumes import Grid
from opnmf_pipeline.images.volumes.standard import standard_space
from tests.builders import SHAPE, write_image

SMALL = np.ones(SHAPE, dtype=np.float32)


def image_of(path, shape, affine, codes=(2, 2)):
    return write_image(path, np.broadcast_to(np.uint8(1), shape).copy(), affine, codes)


def affine(edge, origin, flipped=False):
    made = np.diag([-edge if flipped else edge, edge, edge, 1.0])
    made[:3, 3] = origin
    return made


GRIDS = {
    "FSL, 1 mm": ((182, 218, 182), affine(1, (90, -126, -72), True)),
    "FSL, 2 mm": ((91, 109, 91), affine(2, (90, -126, -72), True)),
    "FSL, 3 mm": ((61, 73, 61), affine(3, (90, -126, -72), True)),
    "SPM, 1.5 mm": ((121, 145, 121), affine(1.5, (90, -126, -72), True)),
    "SPM, blocks of 3 mm without the last row": (
        (60, 72, 60),
        affine(3, (89.25, -125.25, -71.25), True),
    ),
    "SPM, default bounding box": ((79, 95, 79), affine(2, (78, -112, -70), True)),
    "CAT12": ((113, 137, 113), affine(1.5, (84, -120, -72), True)),
    "MNI152NLin2009cAsym, 1 mm": ((193, 229, 193), affine(1, (-96, -132, -78))),
    "MNI152NLin2009cAsym, 2 mm": ((97, 115, 97), affine(2, (-96, -132, -78))),
    "nilearn, 2 mm": ((99, 117, 95), affine(2, (-98, -134, -72))),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("codes", [(1, 1), (0, 2)])
def test_grids_of_templates_are_recognized(tmp_path, name, codes):
    found = standard_space(image_of(tmp_path / "a.nii", *GRIDS[name], codes))
    assert found is not None
    assert str(found).startswith("MNI152, according to a grid with the field of view of ")
    assert name.split(",")[0] in found.evidence


@pytest.mark.parametrize("voxel_size", [2, 3, 4, 6, 8])
def test_coarser_grids_of_the_same_field_of_view_are_recognized(tmp_path, voxel_size):
    grid = Grid(*GRIDS["MNI152NLin2009cAsym, 1 mm"]).coarser(voxel_size)
    assert standard_space(image_of(tmp_path / "a.nii", grid.shape, grid.affine)) is not None


def test_the_order_of_the_axes_does_not_matter(tmp_path):
    shape, given = GRIDS["FSL, 2 mm"]
    order = [2, 0, 1]
    moved = given[:, [*order, 3]]
    path = image_of(tmp_path / "a.nii", tuple(shape[axis] for axis in order), moved)
    assert standard_space(path) is not None


def tilted(given):
    angle = np.deg2rad(2)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ given


@pytest.mark.parametrize(
    ("shape", "given"),
    [
        ((176, 256, 256), affine(1, (-87.5, -127.5, -127.5))),  # a scan around its centre
        ((182, 218, 182), affine(1, (0, 0, 0))),
        ((91, 109, 91), affine(2, (90, -126, -66), True)),  # three voxels too high
        ((91, 109, 88), affine(2, (90, -126, -72), True)),
        ((91, 109, 91), tilted(affine(2, (90, -126, -72), True))),
        ((12, 15, 12), affine(15, (82, -119, -65), True)),
    ],
)
def test_other_grids_are_not(tmp_path, shape, given):
    assert standard_space(image_of(tmp_path / "a.nii", shape, given)) is None


@pytest.mark.parametrize(
    ("name", "codes", "expected"),
    [
        ("a.nii.gz", (4, 4), "MNI152, according to the headers of the images"),
        ("a.nii.gz", (3, 4), None),  # the affine in use is in Talairach space
        ("a.nii.gz", (1, 4), None),
        ("sub-1_space-T1w_x.nii.gz", (4, 4), None),
        ("sub-1_space-MNIPediatricAsym_x.nii.gz", (4, 4), None),
        (
            "sub-1_space-MNI152NLin6Asym_x.nii.gz",
            (1, 1),
            "MNI152, according to space-MNI152NLin6Asym in the file names",
        ),
    ],
)
def test_the_name_is_stronger_than_the_header(tmp_path, name, codes, expected):
    found = standard_space(write_image(tmp_path / name, SMALL, codes=codes))
    assert (str(found) if found else None) == expected
