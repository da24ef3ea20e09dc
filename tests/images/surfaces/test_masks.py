import nibabel as nb
import numpy as np
import pytest
from nibabel.cifti2 import LabelAxis
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.surfaces.files import read_axis
from opnmf_pipeline.images.surfaces.masks import read_inside
from tests.surfaces import FREESURFER, write_cifti, write_gifti, write_mgh, write_subject

N = 642
NAMES = ["???", "precentral", "Medial_wall", "insula"]
KEYS = np.tile([0, 1, 2, 3], N)[: 2 * N].reshape(2, N)
CORTEX = KEYS % 2 == 1


def label_gii(folder):
    for keys, side in zip(KEYS, "LR", strict=True):
        table = GiftiLabelTable()
        for key, name in enumerate(NAMES):
            table.labels.append(GiftiLabel(key))
            table.labels[-1].label = name
        array = GiftiDataArray(keys.astype(np.int32), intent="NIFTI_INTENT_LABEL")
        image = GiftiImage(labeltable=table, darrays=[array])
        image.to_filename(folder / f"hemi-{side}_aparc.label.gii")
    return folder / "hemi-L_aparc.label.gii"


def annot(folder):
    colours = np.array([[n, n, n, 0, n * 65793] for n in range(4)])
    for keys, name in zip(KEYS, FREESURFER.values(), strict=True):
        nb.freesurfer.write_annot(folder / f"{name}.aparc.annot", keys, colours, NAMES, False)
    return folder / "lh.aparc.annot"


def cortex_label(folder):
    for inside, name in zip(CORTEX, FREESURFER.values(), strict=True):
        vertices = np.flatnonzero(inside)
        rows = "\n".join(f"{vertex} 0.0 0.0 0.0 0.0" for vertex in vertices)
        (folder / f"{name}.cortex.label").write_text(f"#!ascii label\n{len(vertices)}\n{rows}\n")
    return folder / "lh.cortex.label"


def dlabel(folder):
    path = write_cifti(folder / "aparc.dlabel.nii", KEYS.astype(np.float32))
    axis = nb.load(path).header.get_axis(1)
    table = {key: (name, (0, 0, 0, 1)) for key, name in enumerate(NAMES)}
    header = nb.Cifti2Header.from_axes((LabelAxis(["aparc"], [table]), axis))
    nb.Cifti2Image(KEYS.reshape(1, -1).astype(np.int32), header).to_filename(path)
    return path


def shape_gii(folder):
    values = np.where(CORTEX, 1, np.nan).astype(np.float32)
    for side, one in zip("LR", values, strict=True):
        write_gifti(folder / f"hemi-{side}_mask.shape.gii", one)
    return folder / "hemi-L_mask.shape.gii"


def mgh(folder):
    for name, inside in zip(FREESURFER.values(), CORTEX, strict=True):
        write_mgh(folder / f"{name}.mask.mgh", inside.astype(np.float32))
    return folder / "lh.mask.mgh"


@pytest.fixture
def axis(tmp_path):
    return read_axis(write_subject(tmp_path, "sub-01", np.ones((2, N), np.float32), "gifti"))


@pytest.mark.parametrize("write", [label_gii, annot, cortex_label, dlabel, shape_gii, mgh])
def test_the_medial_wall_is_outside(tmp_path, axis, write):
    np.testing.assert_array_equal(read_inside(write(tmp_path), axis), CORTEX.ravel())


def test_a_mask_on_images_without_medial_wall(tmp_path):
    keep = np.arange(2 * N).reshape(2, N) % 3 > 0
    voxels = np.ones((3, 4, 5), np.float32)
    image = write_cifti(tmp_path / "a.dscalar.nii", np.ones((2, N), np.float32), keep, voxels)
    inside = read_inside(mgh(tmp_path), read_axis(image))
    np.testing.assert_array_equal(inside[: keep.sum()], CORTEX[keep])
    assert not inside[keep.sum() :].any()


def test_voxels_of_a_mask(tmp_path):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 2, (3, 4, 5)).astype(np.float32)
    hemispheres = rng.integers(0, 2, (2, N)).astype(np.float32)
    path = write_cifti(tmp_path / "mask.dscalar.nii", hemispheres, voxels=voxels)
    expected = np.concatenate([hemispheres.ravel(), voxels.ravel()]) > 0
    np.testing.assert_array_equal(read_inside(path, read_axis(path)), expected)
    other = write_cifti(tmp_path / "b.dscalar.nii", hemispheres, voxels=voxels[:, :, :2])
    with pytest.raises(ImageError, match=r"mask.image: .* voxels of a different grid"):
        read_inside(path, read_axis(other))


def test_a_mask_of_another_mesh(tmp_path, axis):
    for side in "LR":
        write_gifti(tmp_path / f"hemi-{side}_m.shape.gii", np.ones(2562, np.float32))
    message = r"is on 2562 vertices .*\(fsaverage4\), but the images are on 642 \(fsaverage3\)"
    with pytest.raises(ImageError, match=message):
        read_inside(tmp_path / "hemi-L_m.shape.gii", axis)


def test_a_volume_is_no_mask_of_surfaces(tmp_path):
    path = tmp_path / "mask.nii.gz"
    nb.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)).to_filename(path)
    axis = read_axis(write_cifti(tmp_path / "thickness.dscalar.nii", KEYS.astype(np.float32)))
    with pytest.raises(ImageError, match=r"mask.image: .*mask.nii.gz is not a surface"):
        read_inside(path, axis)
