import numpy as np
import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import FileError, ImageError
from opnmf_pipeline.images.volumes import ATLAS
from opnmf_pipeline.runs.atlas import find_atlas, is_mni152
from tests.builders import AFFINE, SHAPE, write_image


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.nii.gz", np.ones(SHAPE, np.float32))


def config(**report):
    return PipelineConfig.model_validate({"inputs": {"glob": "*"}, "report": report})


@pytest.mark.parametrize(
    ("space", "known"),
    [
        ("space-MNI152_res-3mm_", True),
        ("space-MNI152NLin2009cAsym_", True),
        ("space-MNI_", True),
        ("space-MNIPediatricAsym_", False),
        ("space-MNI305_", False),
        ("space-mine_", False),
    ],
)
def test_the_atlas_is_for_adults_in_mni152(image, space, known):
    assert is_mni152(space) == known
    assert find_atlas(config(), image, space) == (ATLAS if known else None)


def test_an_atlas_of_the_settings_is_for_any_space(image, tmp_path):
    own = write_image(tmp_path / "own.nii.gz", np.ones(SHAPE, np.uint8))
    with pytest.raises(FileError, match=r"own.nii.gz: is the atlas, but its labels are not known"):
        find_atlas(config(atlas=str(own)), image, "space-mine_")
    (tmp_path / "own.txt").write_text("1 all\n")
    assert find_atlas(config(atlas=str(own)), image, "").labels == tmp_path / "own.txt"
    (tmp_path / "other.txt").write_text("2 none\n")
    other = config(atlas=str(own), atlas_labels=str(tmp_path / "other.txt"))
    with pytest.raises(ImageError, match=r"own.nii.gz: has labels without a name .*txt: 1"):
        find_atlas(other, image, "")


def test_an_atlas_that_lies_elsewhere_is_refused(image, tmp_path):
    affine = AFFINE.copy()
    affine[:3, 3] += 500
    own = write_image(tmp_path / "own.nii.gz", np.ones(SHAPE, np.uint8), affine)
    (tmp_path / "own.tsv").write_text("index\tname\n1\tall\n")
    with pytest.raises(ImageError, match=r"own.nii.gz: has no region in the field of view of .*im"):
        find_atlas(config(atlas=str(own)), image, "")


def test_labels_require_an_atlas():
    with pytest.raises(ValueError, match=r"`atlas_labels: PATH` requires `atlas: PATH`"):
        config(atlas_labels="labels.tsv")


@pytest.mark.parametrize("code", [4, 2])
def test_without_a_name_the_header_tells_the_space(tmp_path, code):
    image = write_image(tmp_path / "i.nii.gz", np.ones(SHAPE, np.float32), codes=(code, code))
    assert find_atlas(config(), image, "") == (ATLAS if code == 4 else None)
