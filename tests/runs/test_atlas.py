import numpy as np
import pytest

from opnmf_pipeline.config import PipelineConfig
from opnmf_pipeline.exceptions import FileError, ImageError
from opnmf_pipeline.images.tables.files import write_features
from opnmf_pipeline.images.volumes import ATLAS
from opnmf_pipeline.runs.atlas import find_atlas, is_mni152
from tests.builders import AFFINE, SHAPE, write_image
from tests.surfaces import write_annot


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


NAMES = ("lh_a", "rh_a", "lh_b")


@pytest.fixture
def table(tmp_path):
    write_features(tmp_path / "sub-1.features.tsv", NAMES, {"value": np.arange(3.0)})
    return tmp_path / "sub-1.features.tsv"


def atlas_of_names(folder, names):
    """Write an atlas of volumes whose regions have names."""
    labels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) % 4
    image = write_image(folder / "own.nii.gz", labels)
    rows = [f"{number}\t{name}" for number, name in enumerate(names, start=1)]
    (folder / "own.tsv").write_text("\n".join(["index\tname", *rows]) + "\n")
    return config(atlas=str(image))


def test_features_without_a_region_are_listed(table, tmp_path, caplog):
    settings = atlas_of_names(tmp_path, ["L a", "R a", "R c"])
    assert find_atlas(settings, table, "").labels == tmp_path / "own.tsv"
    assert "1 of 3 features have no region in" in caplog.text
    assert caplog.messages[0].endswith("are not on its maps: lh_b")
    with pytest.raises(ImageError, match=r"own.nii.gz has no region with the name of a feature"):
        find_atlas(atlas_of_names(tmp_path, ["x", "y", "z"]), table, "")


def test_an_atlas_of_surfaces_contains_its_names(image, table, tmp_path):
    path = write_annot(tmp_path, names=["unknown", "a", "b", "Medial_wall"])
    assert find_atlas(config(atlas=str(path)), table, "") == (path, None)
    with pytest.raises(FileError, match=r"lh.a.annot contains the names of its regions; remove"):
        find_atlas(config(atlas=str(path), atlas_labels="names.tsv"), table, "")
    with pytest.raises(ImageError, match=r"lh.a.annot cannot name places of .*image.nii.gz: one"):
        find_atlas(config(atlas=str(path)), image, "")


def test_a_table_is_no_atlas(image, tmp_path):
    path = tmp_path / "atlas.csv"
    path.write_text("index,name\n1,A\n")
    with pytest.raises(ImageError, match=r"^report\.atlas: .*atlas\.csv is not a label image"):
        find_atlas(config(atlas=str(path)), image, "")
