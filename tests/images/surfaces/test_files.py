import nibabel as nb
import numpy as np
import pytest
from nibabel.cifti2 import LabelAxis, ParcelsAxis, ScalarAxis

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.surfaces.files import image_files, read_axis, read_values
from tests.surfaces import (
    write_cifti,
    write_gifti,
    write_mgh,
    write_morphometry,
    write_subject,
)

N = 642


@pytest.fixture
def values():
    return np.random.default_rng(0).uniform(1, 4, (2, N)).astype(np.float32)


@pytest.mark.parametrize("kind", ["gifti", "mgh", "morphometry", "cifti"])
def test_every_format_gives_the_same_values_left_then_right(tmp_path, values, kind):
    path = write_subject(tmp_path, "sub-01", values, kind)
    axis, found = read_axis(path), read_values(path)
    np.testing.assert_array_equal(found, values.ravel())
    assert found.dtype == np.float32
    assert axis.nvertices == {"CIFTI_STRUCTURE_CORTEX_LEFT": N, "CIFTI_STRUCTURE_CORTEX_RIGHT": N}
    assert (axis.vertex == np.tile(np.arange(N), 2)).all()


def test_a_file_of_both_hemispheres(tmp_path, values):
    path = write_gifti(tmp_path / "s12.mesh.thickness.resampled.sub01.gii", values.ravel())
    np.testing.assert_array_equal(read_values(path), values.ravel())


def test_real_thickness_is_the_same_in_three_formats(test_data):
    folder = test_data / "surfaces"
    found = [
        np.nan_to_num(read_values(folder / f"lh.conte69_32k_thickness{ending}"))
        for ending in ("", ".mgh", ".gii")
    ]
    assert found[0].shape == (2 * 32492,)
    assert 2 < found[0][found[0] > 0].mean() < 3.5
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_right_file_names_the_same_image(tmp_path, values):
    left = write_subject(tmp_path, "sub-01", values, "mgh")
    right = left.with_name(left.name.replace("lh", "rh"))
    assert image_files(left) == image_files(right) == [str(left), str(right)]


def test_a_missing_hemisphere_is_named(tmp_path, values):
    left = write_subject(tmp_path, "sub-01", values, "gifti")
    right = left.with_name(left.name.replace("hemi-L", "hemi-R"))
    right.unlink()
    with pytest.raises(ImageError, match=f"the other hemisphere, {right}, no such file"):
        read_values(left)


def test_hemispheres_with_different_meshes(tmp_path, values):
    left = write_gifti(tmp_path / "lh.area.gii", values[0])
    write_gifti(tmp_path / "rh.area.gii", values[1, :162])
    with pytest.raises(ImageError, match=r"rh.area.gii: has 162 vertices, but the other .* 642"):
        read_axis(left)


def labels(path, values):
    return write_gifti(path, np.ones(N, np.int32), "NIFTI_INTENT_LABEL")


def mesh(path, values):
    return write_gifti(path, np.ones((N, 3), np.float32), "NIFTI_INTENT_POINTSET")


def two_maps(path, values):
    return write_mgh(path, np.stack([values[0], values[0]], axis=1))


def short(path, values):
    write_mgh(path, values[0])
    path.write_bytes(path.read_bytes()[:1000])
    return path


def long_morphometry(path, values):
    write_morphometry(path, values[0])
    path.write_bytes(path.read_bytes() + b"\0")
    return path


def text(path, values):
    path.write_text("thickness")
    return path


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("lh.aparc.label.gii", labels, "contains labels, expected one value per vertex"),
        ("lh.aparc.annot", text, "contains labels, expected one value per vertex"),
        ("lh.pial.gii", mesh, "contains a mesh, expected one value per vertex"),
        ("lh.pial", text, "not in FreeSurfer's format of thickness"),
        ("lh.thickness", long_morphometry, "its size differs from the size in its header"),
        ("lh.thickness.mgh", short, "cannot be read as a surface"),
        ("lh.thickness.gii", text, "cannot be read as a surface"),
        ("a.dscalar.nii", text, "cannot be read as a surface"),
    ],
)
def test_files_with_other_content(tmp_path, values, name, write, message):
    path = write(tmp_path / name, values)
    (tmp_path / name.replace("lh", "rh")).touch()
    with pytest.raises(ImageError, match=rf"{name}: .*{message}"):
        read_values(path)


def test_several_maps(tmp_path, values):
    path = tmp_path / "lh.thickness.mgh"
    nb.MGHImage(np.ones((N, 1, 1, 2), np.float32), np.eye(4)).to_filename(path)
    write_mgh(tmp_path / "rh.thickness.mgh", values[1])
    with pytest.raises(ImageError, match="contains 2 maps, expected one"):
        read_axis(path)


def test_a_name_without_hemisphere(tmp_path, values):
    path = write_gifti(tmp_path / "thickness.shape.gii", values[0])
    with pytest.raises(ImageError, match=r"does not tell the hemisphere .* 642 values"):
        read_axis(path)


def test_a_file_of_the_wrong_hemisphere(tmp_path, values):
    path = write_gifti(tmp_path / "lh.area.gii", values[0])
    image = nb.load(path)
    image.meta["AnatomicalStructurePrimary"] = "CortexRight"
    image.to_filename(path)
    write_gifti(tmp_path / "rh.area.gii", values[1])
    with pytest.raises(ImageError, match="belongs to CortexRight, but its name says CortexLeft"):
        read_axis(path)


def test_cifti_of_labels_parcels_and_several_maps(tmp_path, values):
    path = write_cifti(tmp_path / "a.dscalar.nii", values)
    axis = nb.load(path).header.get_axis(1)
    table = {0: ("none", (0, 0, 0, 0)), 1: ("a", (1, 0, 0, 1))}
    parcels = ParcelsAxis.from_brain_models([("a", axis[:5]), ("b", axis[5:9])])
    for axes, message in (
        ((LabelAxis(["a"], [table]), axis), "contains labels"),
        ((ScalarAxis(["a"]), parcels), "values of parcels or a matrix"),
        ((ScalarAxis(["a", "b"]), axis), "contains 2 maps"),
    ):
        header = nb.Cifti2Header.from_axes(axes)
        data = np.ones([len(one) for one in axes], np.float32)
        nb.Cifti2Image(data, header).to_filename(path)
        with pytest.raises(ImageError, match=message):
            read_axis(path)
