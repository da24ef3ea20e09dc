import nibabel as nb
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import label

from opnmf_pipeline.config import SimulationConfig
from opnmf_pipeline.images.cohort import find_cohort
from opnmf_pipeline.images.simulation import PLANTED_LABELS, simulate_cohort
from opnmf_pipeline.images.volumes import Grid
from opnmf_pipeline.stages.collect import simulated_inputs

OPTIONS = SimulationConfig(n_subjects=5, n_components=4, voxel_size=10, noise=0.05)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    simulate_cohort(root, OPTIONS)
    return root


@pytest.fixture(scope="module")
def planted(simulated):
    return nb.load(simulated / PLANTED_LABELS)


def test_cohort_is_found(simulated):
    cohort, _ = find_cohort(simulated_inputs(simulated))
    assert len(cohort) == 5
    assert cohort.columns.tolist() == ["participant_id", "image", "age", "sex", "site"]


def test_images_are_non_negative_and_on_one_grid(simulated, planted):
    cohort, _ = find_cohort(simulated_inputs(simulated))
    for path in cohort["image"]:
        image = nb.load(path)
        assert Grid.of(image).same_as(Grid.of(planted))
        values = image.get_fdata()
        assert values.min() == 0
        assert 0.5 < values.max() < 3
        assert image.header["sform_code"] == 4


def test_parts_are_symmetric(planted):
    labels = np.asarray(planted.dataobj)
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4]
    indices = np.argwhere(labels > 0)
    positions = nb.affines.apply_affine(planted.affine, indices) * [-1, 1, 1]
    mirrored = np.rint(nb.affines.apply_affine(np.linalg.inv(planted.affine), positions))
    mirrored = mirrored.astype(int)
    inside = ((mirrored >= 0) & (mirrored < planted.shape)).all(axis=1)
    here = labels[tuple(indices[inside].T)]
    there = labels[tuple(mirrored[inside].T)]
    both = there > 0
    assert both.mean() > 0.6
    assert (here[both] == there[both]).mean() > 0.95


def test_parts_are_compact(planted):
    for part in range(1, 5):
        regions, n = label(np.asarray(planted.dataobj) == part)
        largest_two = np.sort(np.bincount(regions.ravel())[1:])[-2:].sum()
        assert largest_two / np.count_nonzero(regions) > 0.8, f"part {part} is in {n} pieces"


def test_seed(simulated, tmp_path):
    simulate_cohort(tmp_path / "same", OPTIONS)
    simulate_cohort(tmp_path / "other", OPTIONS.model_copy(update={"random_state": 1}))
    name = "sub-03/anat/sub-03_space-MNI152NLin2009aAsym_label-GM_probseg.nii.gz"
    first, same, other = (
        nb.load(root / name).get_fdata()
        for root in (simulated, tmp_path / "same", tmp_path / "other")
    )
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_some_parts_shrink_with_age(tmp_path):
    simulate_cohort(tmp_path, OPTIONS.model_copy(update={"n_subjects": 60, "voxel_size": 12.0}))
    cohort, _ = find_cohort(simulated_inputs(tmp_path))
    labels = np.asarray(nb.load(tmp_path / PLANTED_LABELS).dataobj)
    means = pd.DataFrame(
        [
            [nb.load(path).get_fdata()[labels == part].mean() for part in range(1, 5)]
            for path in cohort["image"]
        ]
    )
    correlations = means.corrwith(cohort["age"])
    assert correlations[[0, 2]].max() < -0.2
    assert correlations[[1, 3]].abs().max() < 0.3
