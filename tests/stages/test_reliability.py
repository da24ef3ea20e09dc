"""Reliability of components: fits of data with one planted part, files read back, resamples."""

import json

import nibabel as nb
import numpy as np
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.matrix import read_matrix
from opnmf_pipeline.selection.reliability import NO, YES, matched_labels
from opnmf_pipeline.selection.splits import bootstrap_sample
from opnmf_pipeline.stages import bootstrap
from opnmf_pipeline.stages.bootstrap import fit_bootstrap
from opnmf_pipeline.stages.decompose import decompose
from opnmf_pipeline.stages.halves import LABELS_FILE, fit_halves
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.reliability import measure_reliability
from opnmf_pipeline.stages.spaces import open_mask
from opnmf_pipeline.stages.splits import make_splits
from opnmf_pipeline.tables import as_typed, read_table
from tests.builders import AFFINE, write_cohort

OPTIONS = DecompositionConfig(solver="orthonormal", dtype="float64")
SHAPE, N_SUBJECTS, K, N_SPLITS = (9, 8, 7), 24, 3, 4
PLANTED = np.zeros(SHAPE, dtype=bool)
PLANTED[:5, :4] = True


def one_part(seed=0):
    """Return maps of one part that varies between subjects, and of noise everywhere else."""
    rng = np.random.default_rng(seed)
    factor = np.where(PLANTED, rng.uniform(0.2, 2, (N_SUBJECTS, 1, 1, 1)), 0.5)
    values = factor + 0.3 * rng.random((N_SUBJECTS, *SHAPE))
    return values.astype(np.float32)


class Cohort:
    """Fits of a cohort, of its halves and of bootstrap samples."""

    def __init__(self, root):
        self.root = root
        cohort = write_cohort(root / "dataset", one_part())
        self.people = cohort.subjects
        self.mask = make_mask(cohort.images, root / "mask.nii.gz", MaskConfig(), MatrixConfig())
        self.matrix = build_matrix(
            cohort.images, self.people, self.mask, self.folder("matrix"), MatrixConfig()
        )
        fit = decompose(self.matrix, self.folder("fit"), K, OPTIONS)
        self.maps = write_maps(fit, self.mask, self.folder("maps"))
        splits = make_splits(self.people, self.folder("splits"), SelectionConfig(n_splits=N_SPLITS))
        self.halves = [
            fit_halves(self.matrix, self.folder(path.stem), K, path, OPTIONS).with_name(LABELS_FILE)
            for path in splits
        ]
        self.bootstraps = [self.bootstrap(f"sample{n}", n) for n in (1, 2, 3)]

    def folder(self, name):
        path = self.root / name
        path.mkdir()
        return path

    def bootstrap(self, name, number, **options):
        return fit_bootstrap(self.matrix, self.folder(name), K, number, OPTIONS, **options)

    def measure(self, name, **options):
        """Return the table, the map in the mask, and the sidecar."""
        files = self.maps / "dseg.nii.gz", self.maps / "dseg.tsv", self.mask
        out = measure_reliability(*files, self.folder(name), **options)
        table = as_typed(read_table(out / "reliability.tsv"), ("name", "reproduced"))
        image = nb.load(out / "reliability.nii.gz")
        return table, image, json.loads((out / "reliability.json").read_text())

    def labels(self, path):
        return open_mask(self.mask).masked(path).astype(np.int16)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return Cohort(tmp_path_factory.mktemp("reliability"))


@pytest.fixture(scope="module")
def halves(cohort):
    return cohort.measure("of-halves", halves_labels=cohort.halves, n_null=5)


def test_the_planted_part_is_reproduced_and_noise_is_not(cohort, halves):
    table, _, _ = halves
    labels = nb.load(cohort.maps / "dseg.nii.gz").get_fdata()
    (planted,) = np.unique(labels[PLANTED]).astype(int) - 1
    assert table["reproduced"][planted] == YES
    assert table["dice"][planted] > 0.99
    assert table["stability"][planted] > 0.99
    others = table.drop(index=planted)
    assert set(others["reproduced"]) == {NO}
    assert others["stability"].max() < 0.8


def test_the_map_is_the_share_of_the_halves(cohort, halves):
    _, image, sidecar = halves
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.affine, AFFINE)
    reference = cohort.labels(cohort.maps / "dseg.nii.gz")
    resamples = [half for path in cohort.halves for half in np.load(path)]
    agree = [matched_labels(reference, half, K) == reference for half in resamples]
    inside = nb.load(cohort.mask).get_fdata() > 0
    found = image.get_fdata()
    np.testing.assert_allclose(found[inside], np.mean(agree, axis=0), atol=1e-6)
    assert not found[~inside].any()
    assert (sidecar["Resamples"], sidecar["NumberOfResamples"]) == ("halves of the cohort", 8)
    assert sidecar["NumberOfSplits"] == N_SPLITS


def test_sizes_are_those_of_the_label_table_in_mm(cohort, halves):
    table, _, sidecar = halves
    parts = as_typed(read_table(cohort.maps / "dseg.tsv"))
    assert table["size"].tolist() == pytest.approx(parts["volume"].tolist())
    assert (table["size_low"] <= table["size_high"]).all()
    assert sidecar["size"]["Units"] == sidecar["size_low"]["Units"] == "mm^3"
    assert set(table) <= set(sidecar)


def test_bootstrap_samples_replace_the_halves_for_stability_only(cohort, halves):
    by_halves, _, _ = halves
    files = {"halves_labels": cohort.halves, "bootstrap_labels": cohort.bootstraps}
    table, image, sidecar = cohort.measure("both", **files, n_null=5)
    assert table["dice"].tolist() == by_halves["dice"].tolist()
    assert (sidecar["Resamples"], sidecar["NumberOfResamples"]) == ("bootstrap samples", 3)
    thirds = np.unique(3 * image.get_fdata().round(4))
    np.testing.assert_allclose(thirds, thirds.round(), atol=1e-3)
    alone, _, _ = cohort.measure("alone", bootstrap_labels=cohort.bootstraps, n_null=5)
    assert alone[["dice", "reproduced"]].isna().all(axis=None)
    assert alone["stability"].tolist() == table["stability"].tolist()


def test_of_a_group_that_is_left_out_only_the_others_are_a_resample(cohort):
    options = {"halves_labels": cohort.halves, "n_null": 0}
    table, image, sidecar = cohort.measure("left-out", **options, leave_out=True)
    assert sidecar["NumberOfResamples"] == N_SPLITS
    assert sidecar["Resamples"] == "cohorts without one group"
    quarters = 4 * image.get_fdata()
    np.testing.assert_allclose(quarters, quarters.round(), atol=1e-5)
    assert table["dice_null"].isna().all()


def test_the_labels_of_halves_are_those_of_two_parts(cohort):
    labels = np.load(cohort.halves[0])
    assert labels.dtype == np.int16
    assert labels.shape == (2, read_matrix(cohort.matrix)[0].shape[0])
    assert set(np.unique(labels)) == {1, 2, 3}
    assert (labels[0] != labels[1]).any()


def test_samples_have_other_subjects_and_the_same_for_every_k(cohort, monkeypatch):
    drawn = []

    def recorded(*args, **options):
        drawn.append(bootstrap_sample(*args, **options).tolist())
        return np.array(drawn[-1])

    monkeypatch.setattr(bootstrap, "bootstrap_sample", recorded)
    for number, k in ((1, 2), (1, 3), (2, 3)):
        fit_bootstrap(cohort.matrix, cohort.folder(f"drawn{number}-{k}"), k, number, OPTIONS)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_bootstrap_sample_depends_on_its_number_and_on_groups(cohort, tmp_path):
    first, second, _ = map(np.load, cohort.bootstraps)
    assert (first != second).any()
    again = cohort.bootstrap("again", 1)
    np.testing.assert_array_equal(np.load(again), first)
    table = tmp_path / "people.tsv"
    rows = [f"{name}\t{number // 2}" for number, name in enumerate(cohort.people)]
    table.write_text("\n".join(["participant_id\tfamily", *rows]) + "\n")
    together = cohort.bootstrap("families", 1, groups="family", cohort_file=table)
    assert (np.load(together) != first).any()
    with pytest.raises(ConfigError, match=r"selection.groups: .* no column 'sibling'"):
        cohort.bootstrap("siblings", 1, groups="sibling", cohort_file=table)
