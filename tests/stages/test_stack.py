"""Several measures in one matrix: the published scaling, planted parts, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import zscore
from sklearn.metrics import adjusted_rand_score

from opnmf_pipeline.adjustment import blocks
from opnmf_pipeline.config import (
    DecompositionConfig,
    MatrixConfig,
    MeasuresConfig,
    SelectionConfig,
)
from opnmf_pipeline.exceptions import CohortError, ImageError, ModelError
from opnmf_pipeline.images.matrix import read_matrix, write_sidecar
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.selection.splits import bootstrap_sample
from opnmf_pipeline.stages.adjust import adjust_matrix
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.maps import write_maps
from opnmf_pipeline.stages.model import Model
from opnmf_pipeline.stages.parts import Parts
from opnmf_pipeline.stages.quality import assess_cohort
from opnmf_pipeline.stages.spaces import open_mask
from opnmf_pipeline.stages.splits import split_cohort
from opnmf_pipeline.stages.stack import stack_measures
from opnmf_pipeline.tables import read_table, write_table
from tests.builders import write_image

SHAPE, K, N = (6, 6, 5), 3, 24
LABELS = np.repeat(np.arange(K), SHAPE[0] // K * SHAPE[1] * SHAPE[2]).reshape(SHAPE)
"""Parts along the first axis."""
FIT = DecompositionConfig(solver="orthonormal", n_init=3)


class Study:
    """Matrices of two measures on disk, with the same parts: gm from 0 to 1, t1 around 3000."""

    def __init__(self, root, noise=0.1, t1_noise=None):
        rng = np.random.default_rng(3)
        self.root, self.names = root, ["gm", "t1"]
        self.people = [f"sub-{number:02d}" for number in range(N)]
        self.loadings = {name: rng.uniform(0, 1, (K, N)) for name in self.names}
        self.inside = {name: np.ones(SHAPE, dtype=bool) for name in self.names}
        self.inside["gm"][0, 0] = self.inside["t1"][-1, :, 0] = False
        self.X = {}
        for name, of_noise in zip(self.names, (noise, t1_noise or noise), strict=True):
            values = 0.2 + 0.5 * self.loadings[name][LABELS]
            values += of_noise * rng.standard_normal(values.shape)
            self.X[name] = np.abs(values[self.inside[name]])
        self.X["t1"] = 2000 + 2000 * self.X["t1"]

    def stacked(self, stack="subjects", shifts=(0.0, 0.0)):
        folder = self.root / f"{stack}"
        folder.mkdir()
        masks, matrices, digests = [], [], []
        for name, shift in zip(self.names, shifts, strict=True):
            place = folder / name
            place.mkdir()
            inside = self.inside[name].astype(np.uint8)
            masks.append(write_image(place / "mask.nii.gz", inside))
            np.save(place / "matrix.npy", (self.X[name] - shift).astype(np.float32))
            mask, options = open_mask(masks[-1]), MatrixConfig()
            matrix = place / "matrix.json"
            write_sidecar(matrix, place / "matrix.npy", mask, self.people, shift, options)
            matrices.append(matrix)
            digests.append(place / "digests.json")
            digests[-1].write_text(json.dumps([f"{name}{person}" for person in self.people]))
        cohort = pd.DataFrame({"participant_id": self.people, "age": range(N)})
        for name in self.names:
            cohort[f"image_{name}"] = [f"/{name}/{person}.nii" for person in self.people]
        write_table(cohort, folder / "people.tsv")
        (folder / "out").mkdir()
        files = masks, matrices, digests, folder / "people.tsv", folder / "out"
        return stack_measures(self.names, *files, MeasuresConfig(stack=stack))

    def adjusted(self, stacked, **options):
        folder = self.root / "adjusted" / "_".join(map(str, options.values()))
        folder.mkdir(parents=True)
        matrix = MatrixConfig(measures=MeasuresConfig(**options))
        matrix = matrix.model_copy(update={"negative": matrix.negative_adjusted})
        return adjust_matrix(stacked.matrix_file, stacked.cohort_file, folder, matrix)

    def fit(self, matrix_file):
        folder = matrix_file.parent / "fit"
        folder.mkdir()
        return decompose(matrix_file, folder, K, FIT)

    def joint(self, name):
        """Return the rows of a measure that are in the masks of both."""
        both = self.inside["gm"] & self.inside["t1"]
        return self.X[name][both[self.inside[name]]], LABELS[both]


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def ari(fit_file, labels):
    return adjusted_rand_score(labels, winner_takes_all(read_factorization(fit_file).W))


def test_the_scaling_is_the_published_one(study, monkeypatch):
    """Z-scores of each measure over all its values, next to each other, minus the smallest one."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 2 * N * 7)  # several blocks
    stacked = study.stacked(shifts=(0.0, 100.0))
    raw, sidecar = read_matrix(stacked.matrix_file)
    expected = np.hstack([study.joint(name)[0] for name in study.names])
    np.testing.assert_allclose(raw + sidecar["Shift"], expected, atol=1e-3)
    assert sidecar["Participants"][::N] == ["sub-00_measure-gm", "sub-00_measure-t1"]
    X, adjusted = read_matrix(study.adjusted(stacked, scale="zscore"))
    scores = [zscore(study.joint(name)[0], axis=None) for name in study.names]
    published = np.hstack(scores) - min(map(np.min, scores))
    np.testing.assert_allclose(X, published, atol=1e-4)
    assert adjusted["Shift"] == pytest.approx(min(map(np.min, scores)), abs=1e-5)
    assert adjusted["Measures"]["Centers"]["t1"] == pytest.approx(study.joint("t1")[0].mean())


@pytest.mark.parametrize("scale", ["zscore_voxel", "range", "none"])
def test_each_measure_has_the_scale_that_was_asked_for(study, scale):
    X, sidecar = read_matrix(study.adjusted(study.stacked(), scale=scale))
    X = X + np.float32(sidecar["Shift"])
    for values, name in zip(np.hsplit(X.astype(float), 2), study.names, strict=True):
        if scale == "zscore_voxel":
            np.testing.assert_allclose(values.mean(1), 0, atol=1e-5)
            np.testing.assert_allclose(values.std(1), 1, atol=1e-5)
        elif scale == "range":
            assert (values.min(), values.max()) == pytest.approx((0, 1), abs=1e-6)
        else:
            np.testing.assert_allclose(values, study.joint(name)[0], rtol=1e-6)


def test_table_and_digests_have_one_row_per_column(study):
    stacked = study.stacked()
    table = read_table(stacked.cohort_file)
    assert list(table) == ["participant_id", "measure_id", "image", "age"]
    assert table["image"][N] == "/t1/sub-00.nii"
    assert json.loads(stacked.digests_file.read_text())[N] == "t1sub-00"
    assert split_halves_of(table) == {frozenset(["gm", "t1"])}


def split_halves_of(table):
    """Return which measures each subject has in its half, for both halves of a split."""
    (split,) = split_cohort(table, SelectionConfig(n_splits=1))
    found = set()
    for half in split.halves:
        rows = pd.DataFrame([name.split("_measure-") for name in half])
        found |= {frozenset(some) for _, some in rows.groupby(0)[1]}
    return found


def test_shared_parts_are_found_better_in_both_measures_than_in_one(tmp_path):
    study = Study(tmp_path, noise=0.3)
    stacked = study.stacked()
    both = ari(study.fit(study.adjusted(stacked, scale="zscore")), study.joint("gm")[1])
    alone = []
    for place, name in enumerate(study.names):
        X = read_matrix(stacked.matrix_file)[0][:, place * N : (place + 1) * N]
        folder = tmp_path / f"alone-{name}"
        folder.mkdir()
        np.save(folder / "matrix.npy", X)
        sidecar = json.loads(stacked.matrix_file.read_text())
        del sidecar["Measures"]
        sidecar["Participants"] = study.people
        (folder / "matrix.json").write_text(json.dumps(sidecar))
        alone.append(ari(study.fit(folder / "matrix.json"), study.joint("gm")[1]))
    assert both > max(alone) + 0.1
    assert both > 0.7


def test_without_scaling_the_measure_with_large_values_dominates(tmp_path):
    study = Study(tmp_path, noise=0.1, t1_noise=5.0)
    stacked, labels = study.stacked(), study.joint("gm")[1]
    scaled = ari(study.fit(study.adjusted(stacked, scale="zscore")), labels)
    raw = ari(study.fit(study.adjusted(stacked, scale="none")), labels)
    assert scaled > 0.9
    assert raw < 0.2


def test_joint_parts_have_a_map_in_each_measure_and_one_loading(tmp_path):
    study = Study(tmp_path, noise=0.05)
    study.loadings["t1"] = study.loadings["gm"]
    X = 0.2 + 0.5 * study.loadings["gm"][LABELS]
    rng = np.random.default_rng(4)
    noisy = X + 0.05 * rng.standard_normal(X.shape)
    study.X["t1"] = 2000 + 2000 * noisy[study.inside["t1"]]
    stacked = study.stacked("voxels")
    fit_file = study.fit(study.adjusted(stacked, stack="voxels"))
    fit = read_factorization(fit_file)
    matched = np.abs(np.corrcoef(fit.H, study.loadings["gm"])[:K, K:])
    order = matched.argmax(axis=0)
    assert sorted(order) == [0, 1, 2]
    assert matched.max(axis=0).min() > 0.97
    (tmp_path / "maps").mkdir()
    maps = write_maps(fit_file, stacked.mask_file, tmp_path / "maps")
    for name in study.names:
        file = maps / f"measure-{name}_dseg.nii.gz"
        found = np.asarray(open_mask(file).masked(file))
        assert adjusted_rand_score(LABELS[study.inside[name]], found) == 1
    table = read_table(maps / "dseg.tsv")
    sizes = table[["n_voxels_gm", "n_voxels_t1"]].astype(int)
    assert sizes.sum().tolist() == [int(study.inside[name].sum()) for name in study.names]
    assert table["n_voxels"].astype(int).tolist() == sizes.sum(axis=1).tolist()
    assert len(read_table(maps / "loadings.tsv")) == N


@pytest.mark.parametrize("stack", ["subjects", "voxels"])
@pytest.mark.parametrize("scale", ["zscore", "zscore_voxel", "range"])
def test_a_part_learns_from_its_own_subjects(study, stack, scale):
    """The same bits if other subjects change; what was learned is applied to others."""
    stacked = study.stacked(stack)
    X, sidecar = read_matrix(stacked.matrix_file)
    options = MatrixConfig(measures=MeasuresConfig(stack=stack, scale=scale), negative="shift")
    people = {name.partition("_")[0]: [] for name in sidecar["Participants"]}
    for column, name in enumerate(sidecar["Participants"]):
        people[name.partition("_")[0]].append(column)
    columns = [column for name in study.people[::2] for column in people[name]]
    others = [column for name in study.people[1::2] for column in people[name]]
    changed = np.array(X)
    changed[:, others] = 3 * changed[:, others] + 7
    parts = [
        Parts.of(values, sidecar, options, stacked.cohort_file).part(columns).values
        for values in (np.array(X), changed)
    ]
    np.testing.assert_array_equal(*parts)
    subjects = Parts.of(np.array(X), sidecar, options, stacked.cohort_file)
    first, second = subjects.part(columns), subjects.part(others)
    np.testing.assert_array_equal(subjects.seen_by(first, first), first.values)
    seen = subjects.seen_by(first, second)
    assert np.abs(seen - second.values).max() > 1e-3
    if scale == "zscore" and stack == "subjects":
        gm = [column for column in columns if column < N]
        mean, sd = X[:, gm].mean(dtype=float), X[:, gm].std(dtype=float)
        expected = (X[:, others[0]] - mean) / sd - first.adjusted.shift
        np.testing.assert_allclose(seen[:, 0], expected, atol=1e-4)


def test_zeros_of_the_images_are_no_data_after_scaling(study):
    study.X["t1"][3:9, 0] = 0
    stacked = study.stacked("voxels")
    matrix = study.adjusted(stacked, stack="voxels")
    (study.root / "quality").mkdir()
    files = matrix, stacked.mask_file, study.root / "quality", stacked.matrix_file
    coverage = read_table(assess_cohort(*files) / "subjects.tsv")["coverage"].astype(float)
    n_rows = sum(len(X) for X in study.X.values())
    assert coverage[0] == pytest.approx(1 - 6 / n_rows)
    assert (coverage[1:] == 1).all()


def test_a_bootstrap_sample_has_all_measures_of_a_subject(study):
    table = read_table(study.stacked().cohort_file)
    drawn = bootstrap_sample(len(table), [0, 1], groups=table["participant_id"])
    counts = table.iloc[drawn].groupby(["participant_id", "measure_id"]).size().unstack()
    assert (counts["gm"] == counts["t1"]).all()
    assert counts["gm"].max() > 1


def test_measures_on_other_grids_are_refused_along_subjects(study):
    study.inside["t1"] = np.ones((6, 6, 4), dtype=bool)
    study.X["t1"] = np.ones((144, N))
    with pytest.raises(ImageError, match=r"gm and t1 are on different grids.*stack: voxels"):
        study.stacked()


def test_masks_without_a_common_voxel_are_refused(study):
    for name, half in (("gm", slice(0, 3)), ("t1", slice(3, 6))):
        study.inside[name] = np.zeros(SHAPE, dtype=bool)
        study.inside[name][half] = True
        study.X[name] = np.ones((90, N))
    with pytest.raises(ImageError, match="no voxel is in the masks of all measures"):
        study.stacked()


def test_a_measure_that_was_not_fitted_is_refused(study):
    stacked = study.stacked()
    X, sidecar = read_matrix(stacked.matrix_file)
    options = MatrixConfig(measures=MeasuresConfig(), negative="shift")
    subjects = Parts.of(np.array(X), sidecar, options, stacked.cohort_file)
    part = subjects.part(range(N))
    with pytest.raises(CohortError, match="'t1' does not occur in the fit; it has: gm"):
        subjects.seen_by(part, subjects.part(range(2 * N)))


def test_images_cannot_be_projected_on_shared_components(study):
    stacked = study.stacked()
    fit = study.fit(study.adjusted(stacked, scale="zscore"))
    model = Model.of_fit(fit, stacked.mask_file)
    with pytest.raises(ModelError, match=r"several measures share \(gm, t1\)"):
        model.project([stacked.mask_file])
