import numpy as np
import pytest

from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.space import ImageMask
from opnmf_pipeline.images.surfaces import analysis_grid, check_grids
from tests.surfaces import write_cifti, write_cohort, write_gifti, write_mgh, write_subject

N = 642


@pytest.fixture
def values():
    return np.random.default_rng(0).uniform(1, 4, (2, N)).astype(np.float32)


def grid_of(path, **settings):
    return analysis_grid(path, None, MatrixConfig(**settings))


def test_the_grid_in_words(tmp_path, values):
    gifti = write_subject(tmp_path, "sub-01", values, "gifti")
    assert str(grid_of(gifti)) == "642 (fsaverage3) vertices per hemisphere"
    keep = np.ones((2, N), dtype=bool)
    keep[:, :100] = False
    cifti = write_cifti(tmp_path / "a.dscalar.nii", values, keep, np.ones((3, 4, 5), np.float32))
    grid = grid_of(cifti)
    assert str(grid) == (
        "642 (fsaverage3) vertices per hemisphere, 1084 of them with values, 60 voxels"
    )
    assert (grid.shape, grid.spacing, grid.elements) == ((1144,), (), "grayordinates")


def test_vertices_of_a_mask_are_missing(tmp_path, values):
    lesion = np.zeros((2, N), dtype=np.float32)
    lesion[1, 5:9] = 1
    image = write_subject(tmp_path / "image", "sub-01", values, "gifti")
    mask = ImageMask(str(write_subject(tmp_path / "mask", "sub-01", lesion, "gifti")), zero=False)
    found = grid_of(image).read(image, MatrixConfig(nan="masked"), mask)
    np.testing.assert_array_equal(found, np.where(lesion, np.nan, values).ravel())
    coarse = write_subject(tmp_path / "coarse", "sub-01", lesion[:, :162], "gifti")
    with pytest.raises(ImageError, match=r"its mask .* has other vertices; give"):
        grid_of(image).read(image, MatrixConfig(nan="masked"), ImageMask(str(coarse), zero=False))


def test_grids_with_other_vertices_have_other_descriptions(tmp_path, values):
    keep = np.ones((2, 2, N), dtype=bool)
    keep[0, :, 0], keep[1, :, 1] = False, False
    one, other = (
        grid_of(write_cifti(tmp_path / f"{n}.dscalar.nii", values, keep[n])) for n in (0, 1)
    )
    assert str(one) == str(other)
    assert one.describe() != other.describe()
    assert not one.same_as(other)


def test_equal_vertices_of_two_formats_are_compared_once(tmp_path, values):
    cifti = grid_of(write_cifti(tmp_path / "a.dscalar.nii", values))
    gifti = grid_of(write_subject(tmp_path, "sub-01", values, "gifti"))
    assert cifti.axis is gifti.axis


def test_images_on_other_meshes_are_listed(tmp_path, values):
    images = write_cohort(tmp_path, np.stack([values] * 3))
    for side in "LR":
        path = str(images[1]).replace("hemi-L", f"hemi-{side}")
        write_gifti(type(images[1])(path), values[0, :162])
    with pytest.raises(ImageError) as error:
        check_grids(images, images[0])
    message = str(error.value)
    assert message.startswith(f"1 of 3 images do not have the vertices of {images[0]} (642 (fsav")
    assert f"{images[1]}: 162 (unknown mesh) vertices per hemisphere" in message
    assert all(tool in message for tool in ("mri_surf2surf", "-metric-resample", "neuromaps"))


def test_another_medial_wall_is_named(tmp_path, values):
    keep = np.ones((2, 2, N), dtype=bool)
    keep[0, :, 0], keep[1, :, 1] = False, False
    paths = [write_cifti(tmp_path / f"{n}.dscalar.nii", values, keep[n]) for n in (0, 1)]
    with pytest.raises(ImageError, match=r"1\.dscalar\.nii: 642 .* \(another medial wall\)"):
        check_grids(paths, paths[0])


@pytest.mark.parametrize(
    ("setting", "tool"),
    [
        ({"smoothing_fwhm": 10}, "mri_surf2surf or wb_command -metric-smoothing"),
        ({"voxel_size": 4}, "mri_surf2surf, wb_command -metric-resample or neuromaps"),
        ({"resample": "to-first"}, "mri_surf2surf, wb_command -metric-resample or neuromaps"),
    ],
)
def test_settings_for_volumes_are_refused(tmp_path, values, setting, tool):
    path = write_subject(tmp_path, "sub-01", values, "mgh")
    with pytest.raises(ImageError, match=rf"matrix.{next(iter(setting))}: surfaces are.*{tool}"):
        grid_of(path, **setting)


def test_there_is_no_template(tmp_path, values):
    grid = grid_of(write_subject(tmp_path, "sub-01", values, "mgh"))
    with pytest.raises(ImageError, match="surfaces have no template"):
        grid.read_template()


def test_fslr_164k_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("opnmf_pipeline.images.surfaces.grid.OTHER_164K", N)
    values = np.ones(N, np.float32)
    for side in "LR":
        write_mgh(tmp_path / f"1.{side}.thickness.164k_fs_LR.mgh", values)
        write_mgh(tmp_path / f"1.{side}.thickness.mgh", values)
    with pytest.raises(ImageError, match="fsLR 164k, which has as many vertices as fsaverage"):
        grid_of(tmp_path / "1.L.thickness.164k_fs_LR.mgh")
    assert "fsaverage" in str(grid_of(tmp_path / "1.L.thickness.mgh"))


def test_nan_and_negative_values(tmp_path, values):
    values[0, :3] = [np.nan, -1, np.inf]
    path = write_subject(tmp_path, "sub-01", values, "gifti")
    grid = grid_of(path)

    def read(**settings):
        return grid.read(path, MatrixConfig(**settings))[:3]

    np.testing.assert_array_equal(read(), [np.nan, -1, np.inf])
    np.testing.assert_array_equal(read(nan="zero"), [0, -1, 0])
    np.testing.assert_array_equal(read(nan="zero", negative="clip"), [0, 0, 0])
