"""Lesions from the masks of single images to the maps, the loadings and the report."""

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.cli import bids_main
from opnmf_pipeline.config import load_config
from opnmf_pipeline.exceptions import ConfigError
from opnmf_pipeline.images.volumes import open_mask
from opnmf_pipeline.runs.project import project
from opnmf_pipeline.runs.run import run
from tests.builders import SHAPE, three_parts, write_cohort, write_image

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

LESION = np.s_[1:4, 0:2, 1]
LESIONED = (1, 4)
FEW = [f"selection.{name}=0" for name in ("n_splits", "n_bootstraps", "n_permutations")]


def write_lesions(cohort, folder):
    """Write a mask of six voxels for two subjects."""
    for number in LESIONED:
        lesion = np.zeros(SHAPE, dtype=np.uint8)
        lesion[LESION] = 1
        write_image(folder / f"{cohort.subjects[number]}_mask.nii.gz", lesion)


class Study:
    def __init__(self, root):
        self.root = root
        self.values = three_parts(n_subjects=12)
        self.cohort = write_cohort(root / "dataset", self.values)
        write_lesions(self.cohort, root / "lesions")

    def config(self, name, *overrides):
        path = self.root / "config.yaml"
        path.write_text(
            f"inputs: {{bids: {self.cohort.root}, filters: {{label: GM, suffix: probseg}}}}\n"
            "decomposition: {n_components: [3], solver: orthonormal}\n"
            "selection: {n_splits: 1, n_permutations: 1, n_bootstraps: 2}\n"
            "report: {figures: false}\n"
            "execution: {n_procs: 1}\n"
        )
        return load_config(path, [f"output.dir={self.root / name}", *overrides])

    def masked(self, name, *overrides):
        glob = f"inputs.masks.glob={self.root / 'lesions' / '*'}"
        masks = [glob, "inputs.masks.missing=nonzero", "matrix.nan=masked"]
        return self.config(name, *masks, *overrides)


def loadings(outputs):
    table = pd.read_csv(outputs.path("loadings", 3), sep="\t", index_col=0)
    return table.sort_index(axis=1)


def order(outputs, reference):
    """Return the components in the order of other loadings."""
    correlation = np.corrcoef(outputs.T, reference.T)[:3, 3:]
    return outputs.iloc[:, correlation.argmax(axis=0)].to_numpy()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("missing"))


@pytest.fixture(scope="module")
def masked(study):
    return run(study.masked("masked"))


@pytest.fixture(scope="module")
def whole(study):
    return run(study.config("whole", *FEW))


def test_lesions_do_not_change_loadings(study, masked, whole):
    expected = loadings(whole.outputs)
    # the lesions themselves: six voxels with a value that no other subject has
    lesioned = study.values.copy()
    for number in LESIONED:
        lesioned[number][LESION] = 5
        study.cohort.damage(number, lesioned[number])
    try:
        again = run(study.masked("lesioned", *FEW))
    finally:
        for number in LESIONED:
            study.cohort.damage(number, study.values[number])
    found, before = loadings(again.outputs), loadings(masked.outputs)
    np.testing.assert_array_equal(found, before)
    np.testing.assert_allclose(order(found, expected), expected, rtol=0.05)


def test_the_run_says_what_is_missing(masked):
    subjects = pd.read_csv(masked.outputs.path("subjects"), sep="\t", index_col=0)
    inside = open_mask(masked.outputs.path("mask")).inside
    assert subjects["missing"].to_numpy() == pytest.approx(
        [inside[LESION].sum() / inside.sum() if n in LESIONED else 0 for n in range(12)]
    )
    observed = np.ones(SHAPE)
    observed[LESION] = 1 - len(LESIONED) / 12
    found = open_mask(masked.outputs.path("mask")).masked(masked.outputs.path("observed"))
    np.testing.assert_allclose(found, observed[inside])
    page = masked.outputs.path("report").read_text()
    assert "1.7% of the values are missing, in 2 of 12 images" in page
    assert "Missing values (1.69% of the matrix) had no influence on the components" in page
    assert "Kiers" in page


def test_every_error_is_that_of_observed_values(masked):
    row = masked.metrics.iloc[0]
    assert 0.5 < row["explained_variance"] < 1
    assert row["lower_bound"] <= row["reconstruction_error"]
    assert 0.5 < row["out_of_sample_explained_variance"] < 1
    assert row["null_error"] > row["reconstruction_error"]


def test_new_subjects_may_have_lesions(study, masked):
    model = masked.outputs.root
    done = project(study.masked("new"), model)
    tables = sorted(done.output.root.glob("sub-*/anat/*loadings.tsv"))
    found = pd.concat([pd.read_csv(path, sep="\t", index_col=0) for path in tables])
    expected = pd.read_csv(masked.outputs.path("loadings", 3), sep="\t", index_col=0)
    np.testing.assert_allclose(found[expected.columns], expected, rtol=1e-3)
    assert not found["outside_training_range"].any()


def test_the_bids_app_projects_subjects_with_lesions(study, masked, tmp_path, capsys):
    settings = tmp_path / "app.yaml"
    settings.write_text(
        f"inputs: {{masks: {{glob: '{study.root}/lesions/*', missing: nonzero}}}}\n"
        "matrix: {nan: masked}\nexecution: {n_procs: 1}\n"
    )
    out, root = tmp_path / "app", study.cohort.root
    wanted = ["--participant-label", *(study.cohort.subjects[number] for number in (0, 4))]
    options = [*wanted, "--model", str(masked.outputs.root), "--config-file", str(settings)]
    assert bids_main([str(root), str(out), "participant", *options]) == 0, capsys.readouterr().err
    tables = sorted(out.glob("sub-*/anat/*loadings.tsv"))
    found = pd.concat([pd.read_csv(path, sep="\t", index_col=0) for path in tables])
    expected = pd.read_csv(masked.outputs.path("loadings", 3), sep="\t", index_col=0)
    np.testing.assert_allclose(found[expected.columns], expected.iloc[[0, 4]], rtol=1e-3)


def test_a_model_without_missing_values_takes_no_masks(study, whole):
    with pytest.raises(ConfigError, match="but it was fitted with matrix"):
        project(study.masked("other"), whole.outputs.root)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["nipype", "pydra"])
def test_engines_agree(study, masked, engine):
    other = run(study.masked(engine, f"execution.engine={engine}"))
    for name in ("components", "loadings"):
        expected = masked.outputs.path(name, 3).read_bytes()
        assert other.outputs.path(name, 3).read_bytes() == expected
