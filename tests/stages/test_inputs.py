"""Wrong inputs of nodes: the message says what to connect."""

import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ConfigError, FileError, ImageError, ModelError
from opnmf_pipeline.stages.collect import COLLECT_COHORT
from opnmf_pipeline.stages.decompose import DECOMPOSE, decompose, read_factorization
from opnmf_pipeline.stages.mask import MAKE_MASK
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.project import PROJECT_SUBJECTS
from opnmf_pipeline.stages.stage import Call
from tests.builders import AFFINE, SHAPE, write_image


def build(cohort, folder, participants, inside=1):
    mask = write_image(folder / "mask.nii.gz", np.full(SHAPE, inside, dtype=np.uint8), AFFINE)
    return build_matrix(cohort.images, participants, mask, folder, MatrixConfig(nan="zero"))


def test_each_image_has_a_name_of_its_own(cohort, tmp_path):
    subjects = cohort.subjects
    with pytest.raises(CohortError, match=r"participants: has 5 names for 6 images; give one"):
        build(cohort, tmp_path, subjects[1:])
    message = rf"participants: 1 name\(s\) occur more than once:\n  {subjects[1]}\n"
    with pytest.raises(CohortError, match=message):
        build(cohort, tmp_path, [*subjects[1:], subjects[1]])


def test_an_empty_mask_is_named(cohort, tmp_path):
    with pytest.raises(ImageError, match=r"mask\.nii\.gz: no voxel is in the mask"):
        build(cohort, tmp_path, cohort.subjects, inside=0)


def test_a_folder_of_something_else_is_named(tmp_path):
    with pytest.raises(FileError, match=rf"{tmp_path}: is no folder of a matrix.*BuildMatrix"):
        decompose(tmp_path / "matrix.json", tmp_path, 2, DecompositionConfig())
    with pytest.raises(FileError, match=rf"{tmp_path}: is no folder of a factorization.*Decompose"):
        read_factorization(tmp_path / "factorization.json")


def test_new_subjects_need_a_model(tmp_path):
    with pytest.raises(ModelError, match="give model_file, or factorization_dir"):
        PROJECT_SUBJECTS(Call({"images": ["a.nii"], "participants": ["sub-01"]}, tmp_path))


@pytest.mark.parametrize(
    ("stage", "inputs", "message"),
    [
        (COLLECT_COHORT, {}, "set exactly one of bids, "),
        (MAKE_MASK, {"images": ["a.nii"], "method": "image"}, "requires `image: PATH`; set both"),
        (
            DECOMPOSE,
            {"matrix_dir": ".", "n_components": 0},
            r"n_components\.0: input should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_a_wrong_setting_is_explained_as_in_a_file(stage, inputs, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        stage(Call(inputs, tmp_path))
    assert "pydantic" not in str(caught.value)
