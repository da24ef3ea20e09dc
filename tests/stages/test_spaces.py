import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.stages.spaces import SPACES, space_of


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.img", "a.hdr", "a.mgz"])
def test_volumes(name):
    assert space_of(name) is SPACES["volumes"]


@pytest.mark.parametrize(
    "name",
    [
        "sub-01_hemi-L_space-fsaverage_den-10k_thickness.shape.gii",
        "a.func.gii",
        "a.dscalar.nii",
        "lh.thickness",
        "rh.thickness.fwhm10.fsaverage.mgh",
        "lh.area.pial",
        "s12.mesh.thickness.resampled.sub01.gii",
        "100307.L.thickness.32k_fs_LR.shape.gii",
    ],
)
def test_surfaces(name):
    assert space_of(name) is SPACES["surfaces"]


@pytest.mark.parametrize("name", ["lh.a.nii.gz", "sub-1_hemi-L_seg.nii.gz", "pet.nii"])
def test_volumes_of_one_hemisphere(name):
    assert space_of(name) is SPACES["volumes"]


@pytest.mark.parametrize("name", ["thickness", "lh.table.tsv", "a.tsv", "a", "nii.gz"])
def test_a_file_of_no_space_is_refused_by_its_name(name):
    message = rf"{name}: is not an image that can be analysed.*a file name such"
    with pytest.raises(ImageError, match=message):
        space_of(name)


def test_what_a_space_writes_is_an_image_of_it(tmp_path):
    for space in SPACES.values():
        for ending in space.images.ENDINGS.values():
            assert space_of(f"components{ending}") is space
