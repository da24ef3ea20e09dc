import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.project import project_subjects
from tests.builders import AFFINE, write_image

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.fixture
def learn(cohort, tmp_path):
    """Return a function that learns three components with some preprocessing."""

    def fit(options):
        mask = make_mask(cohort.images, tmp_path / "mask.nii.gz", MaskConfig(), options)
        matrix = build_matrix(cohort.images, cohort.subjects, mask, tmp_path, options)
        return decompose(matrix, tmp_path, 3, DecompositionConfig(max_iter=50, tol=1e-4)), mask

    return fit


def project(cohort, model, mask, tmp_path, images=None):
    images = cohort.images if images is None else images
    subjects = cohort.subjects[: len(images)]
    file = project_subjects(images, subjects, Model.of_fit(model, mask), tmp_path / "loadings.tsv")
    return pd.read_csv(file, sep="\t", index_col="participant_id")


@pytest.mark.parametrize(
    "options",
    [MatrixConfig(), MatrixConfig(smoothing_fwhm=4), MatrixConfig(voxel_size=6)],
    ids=["plain", "smoothed", "coarser"],
)
def test_the_subjects_of_the_fit_get_their_own_loadings(learn, cohort, tmp_path, options):
    model, mask = learn(options)
    loadings = project(cohort, model, mask, tmp_path)
    assert loadings.index.tolist() == cohort.subjects
    assert loadings.columns.tolist()[:3] == ["component01", "component02", "component03"]
    np.testing.assert_allclose(loadings.iloc[:, :3].T, read_factorization(model).H, rtol=1e-6)


def test_the_shift_of_the_fit_is_applied(learn, cohort, tmp_path):
    cohort.damage(0, cohort.values[0] - np.float32(0.9))
    model, mask = learn(MatrixConfig(negative="shift"))
    assert read_factorization(model).info["Shift"] < 0
    loadings = project(cohort, model, mask, tmp_path, cohort.images[:2])
    H = read_factorization(model).H[:, :2]
    np.testing.assert_allclose(loadings.iloc[:, :3].T, H, rtol=1e-6)


def test_a_subject_that_the_matrix_could_not_have_is_named(learn, cohort, tmp_path):
    model, mask = learn(MatrixConfig())
    cohort.damage(1, -cohort.values[1])
    with pytest.raises(ImageError, match=r"sub-02: .*sub-02_.*: \d+ negative of 59 voxels"):
        project(cohort, model, mask, tmp_path)


def test_another_grid_is_refused(learn, cohort, tmp_path):
    model, mask = learn(MatrixConfig())
    moved = AFFINE.copy()
    moved[0, 3] += 3
    write_image(cohort.images[2], cohort.values[2], affine=moved)
    with pytest.raises(ImageError, match="1 of 6 images are not on the grid"):
        project(cohort, model, mask, tmp_path)
