"""Within-subject change in whole runs: planted rates, all engines, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.cli import main
from opnmf_pipeline.config import load_config
from opnmf_pipeline.dataset.folder import OutputFolder
from opnmf_pipeline.exceptions import CohortError, ModelError
from opnmf_pipeline.images.volumes import open_mask
from opnmf_pipeline.runs.boilerplate import boilerplate
from opnmf_pipeline.runs.page import write_report
from opnmf_pipeline.runs.run import run
from opnmf_pipeline.stages.model import Model
from tests.builders import NAME, SHAPE, write_image

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

N, K = 12, 3
PARTS = np.zeros((*SHAPE, K))
for part in range(K):
    PARTS[:, part : part + 2 if part == 2 else part + 1, :, part] = 1


class Study:
    """Two sessions of twelve subjects, and a third session of one; each part has its own rate."""

    def __init__(self, root):
        rng = np.random.default_rng(0)
        self.root = root
        self.rates = -rng.uniform(0.02, 0.1, (N, K))
        self.rates[5, 0] = 0
        self.years = rng.uniform(1, 3, N).round(2)
        start = rng.uniform(0.6, 0.9, (N, *SHAPE))
        end = start + self.years[:, None, None, None] * np.tensordot(self.rates, PARTS, (1, 3))
        self.rows = []
        for number in range(N):
            for visit, values in enumerate((start, end, end)[: 3 if number == 0 else 2], start=1):
                self.add(number, visit, values[number])
        self.write(self.rows)

    def add(self, number, visit, values):
        subject, session = f"sub-{number:02d}", f"ses-{visit}"
        name = f"{subject}_{session}_{NAME}"
        write_image(self.root / name, values.astype(np.float32))
        age = 50 + number + (visit - 1) * self.years[number]
        self.rows.append((subject, session, name, f"{age:.2f}", "FM"[number % 2]))

    def write(self, rows):
        names = ["participant_id", "session_id", "path", "age", "sex"]
        pd.DataFrame(rows, columns=names).to_csv(self.root / "s.tsv", sep="\t", index=False)

    def config(self, name, *overrides):
        path = self.root / "config.yaml"
        path.write_text(
            f"inputs: {{table: {self.root / 's.tsv'}}}\n"
            "mask: {threshold: 0.1, within: none}\n"
            "matrix: {negative: shift, change: {per_year: age}}\n"
            "decomposition: {n_components: [3], solver: orthonormal}\n"
            "selection: {n_splits: 1, n_bootstraps: 2}\n"
            "report: {figures: false, covariates: [age]}\n"
            "execution: {n_procs: 1}\n"
        )
        return load_config(path, [f"output.dir={self.root / name}", *overrides])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("change"))


@pytest.fixture(scope="module")
def done(study):
    return run(study.config("done"))


def test_planted_rates_are_found(study, done):
    table = pd.read_csv(done.outputs.path("loadings", K), sep="\t", index_col=0)
    assert table.index.tolist() == [f"sub-{number:02d}" for number in range(N)]
    correlation = np.corrcoef(table.T, study.rates.T)[:K, K:]
    assert correlation.max(axis=0) == pytest.approx(1, abs=1e-4)
    info = json.loads(done.outputs.path("fit", K).read_text())
    assert info["Shift"] == pytest.approx(study.rates.min(), abs=1e-6)
    np.testing.assert_allclose(info["Change"]["Years"], study.years)
    assert (done.n_subjects, done.what) == (N, "changes of subjects")


def test_the_mean_map_is_the_mean_rate(study, done):
    mask = open_mask(done.outputs.path("mask"))
    truth = np.tensordot(study.rates, PARTS, (1, 3)).mean(axis=0)[mask.inside]
    np.testing.assert_allclose(mask.masked(done.outputs.path("mean")), truth, atol=1e-6)
    assert mask.masked(done.outputs.path("coverage")).min() == 1


def test_tables_have_images_and_subjects(done):
    images = pd.read_csv(done.outputs.path("cohort"), sep="\t")
    people = pd.read_csv(done.outputs.path("participants"), sep="\t", index_col=0)
    assert len(images) == 2 * N
    assert set(images["session_id"]) == {"ses-1", "ses-2"}
    assert people["age"].tolist() == [50 + number for number in range(N)]
    about = json.loads(done.outputs.path("associations_json", K).read_text())
    assert list(about["Covariates"]) == ["age"]


def test_texts_say_what_the_values_are(study, done):
    page = done.outputs.path("report").read_text()
    years = json.loads(done.outputs.path("fit", K).read_text())["Change"]["Years"]
    for text in (
        "Changes between two images of 12 subjects were factorized",
        "A change is the value at ses-2 minus the value at ses-1, divided by the years between the "
        f"sessions (column age; median {np.median(years):.2f}, {min(years):.2f} to "
        f"{max(years):.2f}). 705 changes (97.9%) were negative.",
        "Two images of each of 12 subjects were used",
        "The changes in the 60 voxels",
    ):
        assert text in page
    again = write_report(OutputFolder.of_run(done.outputs.root))
    assert "A change is the value at ses-2" in again.read_text()
    text = boilerplate(study.config("done"))
    assert "divided by the years between the sessions (column age; median" in text
    planned = boilerplate(study.config("new"))
    assert "divided by the years between the sessions (column age)." in planned


def test_single_images_cannot_be_projected(study, done, capsys):
    model = Model.load(done.outputs.root, K)
    assert model.W.shape == (60, K)
    with pytest.raises(ModelError, match=r"change between two sessions \(ses-1, ses-2\)"):
        model.project([study.root / study.rows[0][2]])
    out = study.root / "projected"
    command = ["project", str(done.outputs.root), str(study.root / study.rows[0][2])]
    assert main([*command, "--output", str(out)]) == 2
    assert "an image of one session cannot be projected" in capsys.readouterr().err
    assert not out.exists()


def test_check_says_how_many_pairs_there_are(study, capsys):
    config = study.root / "config.yaml"
    study.config("new")
    assert main(["check", str(config)]) == 0
    assert "change        ses-2 minus ses-1 per year (age), 12 pairs" in capsys.readouterr().out


def test_subjects_without_a_pair_are_listed_or_left_out(study, capsys):
    config = study.root / "config.yaml"
    study.config("new")
    study.write([row for row in study.rows if row[:2] != ("sub-04", "ses-2")])
    try:
        assert main(["check", str(config)]) == 2
        message = capsys.readouterr().err
        assert "matrix.change: 1 of 12 subject(s) have no change" in message
        assert "sub-04: no ses-2" in message
        drop = ["--set", "matrix.change.on_missing=drop"]
        assert main(["check", str(config), *drop]) == 0
        shown = capsys.readouterr()
        assert "11 pairs" in shown.out
        assert "sub-04: no ses-2" in " ".join((shown.out + shown.err).split())
    finally:
        study.write(study.rows)


def test_a_subject_without_a_covariate_is_dropped_with_both_sessions(study):
    sexes = [(*row[:4], "" if row[:2] == ("sub-04", "ses-1") else row[4]) for row in study.rows]
    few = ["selection.n_splits=0", "selection.n_bootstraps=0", "report.covariates=[]"]
    study.write(sexes)
    try:
        adjusted = [*few, "matrix.covariates=sex"]
        with pytest.raises(CohortError, match="sub-04"):
            run(study.config("adjusted", *adjusted))
        summary = run(study.config("adjusted", *adjusted, "inputs.on_missing_covariate=drop"))
    finally:
        study.write(study.rows)
    images = pd.read_csv(summary.outputs.path("cohort"), sep="\t")
    assert summary.n_subjects == N - 1
    assert len(images) == 2 * (N - 1)
    table = pd.read_csv(summary.outputs.path("loadings", K), sep="\t", index_col=0)
    sex = np.delete(np.arange(N) % 2, 4).astype(bool)
    np.testing.assert_allclose(table[sex].mean(), table[~sex].mean(), rtol=1e-3)


def test_values_missing_at_one_session_are_missing(study):
    masks = study.root / "masks"
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[1:3, 1, 1] = 1
    write_image(masks / "sub-03_ses-2_mask.nii.gz", lesion)
    few = ["selection.n_splits=0", "selection.n_bootstraps=0", "report.covariates=[]"]
    masked = ["inputs.masks.missing=nonzero", f"inputs.masks.glob={masks / '*'}"]
    pattern = "inputs.pattern=(?P<participant_id>sub-[0-9]+_ses-[0-9]+)"
    summary = run(study.config("masked", *few, *masked, pattern, "matrix.nan=masked"))
    info = json.loads(summary.outputs.path("fit", K).read_text())
    assert info["MissingValues"] == 2
    subjects = pd.read_csv(summary.outputs.path("subjects"), sep="\t", index_col=0)
    assert subjects["missing"].to_numpy() == pytest.approx(np.where(np.arange(N) == 3, 2 / 60, 0))
    table = pd.read_csv(summary.outputs.path("loadings", K), sep="\t", index_col=0)
    correlation = np.corrcoef(table.T, study.rates.T)[:K, K:]
    assert correlation.max(axis=0) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["nipype", "pydra"])
def test_engines_agree(study, done, engine):
    adjusted = ["matrix.covariates=sex", "selection.groups=sex"]
    whole = run(study.config("local-adjusted", *adjusted, "selection.n_splits=0"))
    other = run(
        study.config(
            f"{engine}-adjusted", *adjusted, "selection.n_splits=0", f"execution.engine={engine}"
        )
    )
    plain = run(study.config(engine, f"execution.engine={engine}"))
    for ours, theirs in ((done, plain), (whole, other)):
        for name in ("components", "loadings", "associations", "subjects", "metrics"):
            k = K if name in ("components", "loadings", "associations") else None
            assert theirs.outputs.path(name, k).read_bytes() == (
                ours.outputs.path(name, k).read_bytes()
            ), name
