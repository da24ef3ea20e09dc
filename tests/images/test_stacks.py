"""Maps of several measures: written and read again, and measured as the maps of each of them."""

import shutil

import numpy as np
import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.stacks import STACK, part_file, part_files, write_index
from opnmf_pipeline.stages.spaces import STACKS, open_mask, space_of
from tests.builders import write_image
from tests.surfaces import write_cifti


@pytest.fixture
def masks(tmp_path):
    """Masks of two measures on different grids."""
    inside = {"gm": np.ones((4, 3, 2)), "fa": np.ones((5, 3, 3))}
    inside["fa"][0] = 0
    path = tmp_path / f"mask{STACK}"
    for name, values in inside.items():
        write_image(part_file(path, name, ".nii.gz"), values.astype(np.uint8))
    write_index(path, dict.fromkeys(inside, ".nii.gz"))
    return path


def test_maps_are_read_as_they_were_written(masks, tmp_path):
    mask = open_mask(masks)
    W = np.random.default_rng(0).random((24 + 36, 2)).astype(np.float32)
    path = tmp_path / f"components{STACK}"
    mask.write(W, path)
    np.testing.assert_array_equal(mask.masked(path), W)
    own = open_mask(part_files(masks)["fa"])
    np.testing.assert_array_equal(own.masked(part_files(path)["fa"]), W[24:])
    assert space_of(path) is STACKS
    names = [file.rpartition("/")[2] for file in space_of(path).images.image_files(path)]
    assert names == [
        "components.stack.json",
        "measure-gm_components.nii.gz",
        "measure-fa_components.nii.gz",
    ]


def test_what_is_measured_is_that_of_the_measures(masks):
    mask = open_mask(masks)
    parts = [open_mask(file) for file in part_files(masks).values()]
    labels = np.tile([1, 2, 1], 20).astype(np.int16)
    halves = labels[:24], labels[24:]
    pieces = sum(one.n_pieces(of_one) for one, of_one in zip(parts, halves, strict=True))
    np.testing.assert_array_equal(mask.n_pieces(labels), pieces)
    positions = np.concatenate([one.positions() for one in parts])
    np.testing.assert_array_equal(mask.positions(), positions)
    first, second = mask.mirrored_rows()
    np.testing.assert_allclose(positions[first] * [-1, 1, 1], positions[second], atol=1e-6)
    assert (first < 24).any()
    assert (first >= 24).any()
    assert ((first < 24) == (second < 24)).all()


def test_surfaces_and_volumes_are_below_each_other(masks, tmp_path):
    path = tmp_path / f"both{STACK}"
    endings = {"thickness": ".dscalar.nii", "gm": ".nii.gz"}
    write_cifti(part_file(path, "thickness", ".dscalar.nii"), np.ones((2, 642), np.float32))
    shutil.copy(part_files(masks)["gm"], part_file(path, "gm", ".nii.gz"))
    write_index(path, endings)
    mask = open_mask(path)
    assert (mask.grid.elements, mask.rows["gm"]) == ("places", slice(1284, 1308))
    labels = np.arange(1308, dtype=np.int16) % 3
    target = tmp_path / f"dseg{STACK}"
    mask.write_labels(labels, [(1, 0, 0), (0, 1, 0)], target)
    np.testing.assert_array_equal(mask.masked(target), labels)
    assert part_files(target)["thickness"].name == "measure-thickness_dseg.dlabel.nii"
    table = mask.label_table(np.eye(3, dtype=np.float32)[labels][:, 1:], labels)
    sizes = table[["n_vertices_thickness", "n_voxels_gm"]]
    assert table["n_places"].tolist() == sizes.sum(axis=1).tolist()


def test_the_file_differs_if_a_map_differs(masks, tmp_path):
    mask, files = open_mask(masks), []
    for number in (0, 1):
        W = np.zeros((60, 1), np.float32)
        W[59] = number
        files.append(tmp_path / f"{number}{STACK}")
        mask.write(W, files[-1])
    assert files[0].read_bytes() != files[1].read_bytes()


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / f"mask{STACK}"
    path.write_text("[]")
    with pytest.raises(ImageError, match=r"mask\.stack\.json: is no list of the maps"):
        open_mask(path)
