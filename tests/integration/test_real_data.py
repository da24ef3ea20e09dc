"""The real grey-matter maps of the MCIC study, 3 mm."""

import nibabel as nb
import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import MaskConfig, MatrixConfig, load_config
from opnmf_pipeline.reporting.attention import sentences_about_places
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.spaces import open_mask
from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def summary(test_data, tmp_path_factory):
    overrides = [
        f"inputs.bids={test_data / 'mcic-vbm'}",
        f"output.dir={tmp_path_factory.mktemp('mcic') / 'out'}",
        "decomposition.n_components=10",
        "report.figures=false",
    ]
    return run(load_config(ROOT / "configs" / "vbm.yaml", overrides))


def test_sizes(summary):
    assert summary.n_subjects == 162
    assert summary.n_voxels == 61_518
    assert summary.mask == "mean over the subjects > 0.2, within the MNI152 brain mask"
    assert open_mask(summary.outputs.path("mask")).in_standard_space


def test_the_mask_without_the_brain_mask_is_that_of_earlier_versions(test_data, tmp_path):
    images = sorted((test_data / "mcic-vbm").glob("sub-*/anat/*.nii.gz"))
    options = MaskConfig(within="none", threshold=0.1)
    mask_file = make_mask(images, tmp_path / "mask.nii.gz", options, MatrixConfig())
    # One voxel has a mean of 0.1 + 6e-9: inside here, outside where the mean is taken in float32,
    # which gives the 75 119 that others report.
    assert open_mask(mask_file).inside.sum() == 75_120


def test_components_where_there_is_no_grey_matter_are_named(summary):
    parts = pd.read_csv(summary.outputs.path("dseg_tsv", 10), sep="\t")
    tissues = parts[["grey_matter", "white_matter", "csf_or_outside"]]
    np.testing.assert_allclose(tissues.sum(axis=1), 1, atol=2e-4)
    (sentence,) = sentences_about_places({10: parts})
    in_white_matter = parts.loc[parts["white_matter"] > 0.5, "index"]
    assert 1 <= len(in_white_matter) <= 2
    assert f"white matter: component {in_white_matter.iloc[0]} (" in sentence
    along_the_edge = parts.loc[parts["rim"] > 0.3, "index"]
    assert len(along_the_edge) == 1
    assert f"outside it: component {along_the_edge.iloc[0]} (" in sentence


def test_participants(summary, test_data):
    written = pd.read_csv(summary.outputs.path("participants"), sep="\t", index_col=0)
    given = pd.read_csv(test_data / "mcic-vbm" / "participants.tsv", sep="\t", index_col=0)
    pd.testing.assert_frame_equal(written, given.sort_index())


def test_components_are_roughly_symmetric(summary):
    image = nb.load(summary.outputs.path("components", 10))
    values = image.get_fdata()
    i, j, k = np.indices(image.shape[:3])
    mm = nb.affines.apply_affine(image.affine, np.stack([i, j, k], axis=-1)) * [-1, 1, 1]
    mirror = np.rint(nb.affines.apply_affine(np.linalg.inv(image.affine), mm)).astype(int)
    inside = ((mirror >= 0) & (mirror < image.shape[:3])).all(axis=-1) & values.any(axis=-1)
    here, there = values[inside], values[tuple(mirror[inside].T)]
    correlations = [np.corrcoef(here[:, n], there[:, n])[0, 1] for n in range(10)]
    assert min(correlations) > 0.3, correlations
    assert np.median(correlations) > 0.6, correlations


def test_metrics(summary):
    row = summary.metrics.iloc[0]
    assert row["converged"]
    assert row["lower_bound"] == pytest.approx(136.415, abs=0.01)
    assert row["reconstruction_error"] == pytest.approx(160.16, rel=0.003)
    # the mean image alone explains 97.8 % about zero
    assert row["explained_variance"] == pytest.approx(0.536, abs=0.004)
    assert row["explained_variance_about_zero"] == pytest.approx(0.9907, abs=0.0005)
