import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.stages.spaces import SPACES, space_of


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "a.img", "a.hdr", "a.mgz"])
def test_volumes(name):
    assert space_of(name) is SPACES["volumes"]


@pytest.mark.parametrize("name", ["lh.thickness", "a.func.gii", "a.tsv", "a", "nii.gz"])
def test_a_file_of_no_space_is_refused_by_its_name(name):
    message = rf"{name}: is not an image that can be analysed.*a file name such"
    with pytest.raises(ImageError, match=message):
        space_of(name)


def test_what_a_space_writes_is_an_image_of_it(tmp_path):
    for space in SPACES.values():
        assert space_of(f"components{space.images.SUFFIX}") is space
