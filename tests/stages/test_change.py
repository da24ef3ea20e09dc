"""The change of each subject between two sessions: planted rates, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from opnmf_pipeline.adjustment import blocks
from opnmf_pipeline.config import ChangeConfig, DecompositionConfig, MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ImageError
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.stages.change import change_matrix
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.tables import read_table, write_table

N, V, K = 30, 60, 3
RATE = ChangeConfig(per_year="age")


class Study:
    """Two sessions per subject: each part loses tissue at a rate of its own in each subject."""

    def __init__(self, root):
        rng = np.random.default_rng(0)
        self.root = root
        self.parts = np.kron(np.eye(K), np.ones((V // K, 1)))
        self.rates = -self.parts @ rng.uniform(0.01, 0.1, (K, N))
        start, age, self.years = (
            rng.uniform(1, 2, (V, N)),
            rng.uniform(50, 70, N),
            rng.uniform(1, 4, N),
        )
        self.years = self.years.round(2)
        age = age.round(1)
        self.X = np.stack([start, start + self.rates * self.years], 2).reshape(V, -1)
        self.names = [f"sub-{row:02d}_ses-{visit}" for row in range(N) for visit in (1, 2)]
        self.table = pd.DataFrame(
            {
                "participant_id": [name[:6] for name in self.names],
                "session_id": [name[7:] for name in self.names],
                "age": np.column_stack([age, age + self.years]).ravel(),
                "sex": np.repeat(rng.choice(["F", "M"], N), 2),
            }
        )

    def change(self, options=RATE, order=None, negative="shift"):
        order = np.arange(2 * N) if order is None else order
        for name in ("in", "out"):
            (self.root / name).mkdir(exist_ok=True)
        np.save(self.root / "in" / "matrix.npy", self.X[:, order].astype(np.float32))
        sidecar = {
            "Matrix": "matrix.npy",
            "Participants": [self.names[number] for number in order],
            "Preprocessing": MatrixConfig().of_images(),
            "Shift": 0.0,
            "SHA256": "",
        }
        (self.root / "in" / "matrix.json").write_text(json.dumps(sidecar))
        write_table(self.table, self.root / "cohort.tsv")
        files = self.root / "in" / "matrix.json", self.root / "cohort.tsv"
        matrix, cohort = change_matrix(*files, self.root / "out", options, negative)
        X = np.load(matrix.with_name("matrix.npy"))
        return X, json.loads(matrix.read_text()), read_table(cohort)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.mark.parametrize("per_year", [True, False], ids=["rate", "difference"])
def test_planted_rates_come_back(study, per_year, monkeypatch):
    monkeypatch.setattr(
        blocks, "BLOCK_BYTES", 8 * 2 * N * 7
    )  # several blocks, the last one smaller
    order = np.random.default_rng(1).permutation(2 * N)
    options = ChangeConfig(per_year="age" if per_year else None)
    X, sidecar, people = study.change(options, order)
    truth = study.rates if per_year else study.rates * study.years
    assert (
        sidecar["Participants"]
        == people["participant_id"].tolist()
        == sorted(set(study.table["participant_id"]))
    )
    np.testing.assert_allclose(X + sidecar["Shift"], truth, atol=2e-6)
    assert X.min() == 0
    assert sidecar["Change"]["NumberOfNegativeValues"] == X.size
    assert people["sex"].tolist() == study.table["sex"][::2].tolist()
    assert "session_id" not in people


def test_dates_give_the_same_rates(study):
    expected, _, _ = study.change()
    days = np.round(np.column_stack([np.zeros(N), study.years * 365.25]).ravel())
    study.table["age"] = (pd.Timestamp(2001, 5, 6) + pd.to_timedelta(days, "D")).strftime(
        "%Y-%m-%d"
    )
    X, sidecar, _ = study.change()
    np.testing.assert_allclose(sidecar["Change"]["Years"], study.years, atol=0.6 / 365.25)
    np.testing.assert_allclose(X, expected, atol=3e-4)


def test_parts_that_lose_tissue_together_are_components(study):
    study.change()
    options = DecompositionConfig(max_iter=500)
    fit = decompose(study.root / "out" / "matrix.json", study.root / "out", K, options)
    W = read_factorization(fit).W
    labels = winner_takes_all(W)
    assert [len(set(labels[study.parts[:, part] > 0])) for part in range(K)] == [1] * K
    assert len(set(labels)) == K


def test_a_masked_value_of_one_session_is_missing(study):
    study.X[4, 0] = np.nan
    X, sidecar, _ = study.change()
    assert np.argwhere(np.isnan(X)).tolist() == [[4, 0]]
    assert sidecar["Shift"] == pytest.approx(np.delete(study.rates, 0, axis=1).min(), abs=1e-2)


def test_subjects_without_both_sessions_are_listed_or_dropped(study, caplog):
    study.table["age"] = study.table["age"].astype(object)
    study.table.loc[9, "age"] = None
    order = np.delete(np.arange(2 * N), 3)
    with pytest.raises(
        CohortError, match=r"2 of 30 .*\n  sub-01: no ses-2\n  sub-04: no age at ses-2"
    ):
        study.change(order=order)
    with caplog.at_level("WARNING", logger="opnmf_pipeline"):
        X, sidecar, people = study.change(RATE.model_copy(update={"on_missing": "drop"}), order)
    assert sidecar["Change"]["Dropped"] == ["sub-01", "sub-04"]
    assert X.shape == (V, N - 2) == (V, len(people))
    assert "sub-01: no ses-2" in caplog.text
    np.testing.assert_allclose(X + sidecar["Shift"], np.delete(study.rates, [1, 4], 1), atol=2e-6)


def test_wrong_input_is_refused(study):
    with pytest.raises(ImageError, match=r"1800 of 1800 changes are negative .*negative: shift"):
        study.change(negative="error")
    with pytest.raises(CohortError, match=r"to_session: .* ses-9; there are the sessions ses-1, s"):
        study.change(ChangeConfig(to_session="ses-9", on_missing="drop"))
    with pytest.raises(CohortError, match=r"no column 'date'; it has: .*age"):
        study.change(ChangeConfig(per_year="date"))
    with pytest.raises(CohortError, match=r"column 'sex' has the value '[FM]'"):
        study.change(ChangeConfig(per_year="sex"))
    with pytest.raises(ValidationError, match="different sessions"):
        ChangeConfig(from_session="ses-2")
    study.names = [name.partition("_")[0] for name in study.names[::2]]
    study.table = study.table[::2].drop(columns="session_id")
    with pytest.raises(CohortError, match="the images have no sessions"):
        study.change(order=np.arange(N))


def test_changes_that_cannot_be_factorized_are_refused(study):
    first = study.X[:, 0].copy()
    study.X[:, 1] = first
    with pytest.raises(ImageError, match=r"1 of 30 .*\n  sub-00: both sessions have the same"):
        study.change()
    study.X[:-3, 1] = np.nan
    with pytest.raises(ImageError, match=r"\n  sub-00: 57 of 60 changes are missing"):
        study.change()
    study.X[0, 2:32:2] = np.nan  # 15 of 30 subjects, and sub-00
    with pytest.raises(ImageError, match=r"1 of 60 places of the mask have a change in fewer"):
        study.change()
    study.X[:, 1] = first + 1
    study.change()  # half of the subjects are enough
    with pytest.raises(ImageError, match=r"29 of 30 .*\n  sub-01: no change is positive") as info:
        study.change(negative="clip")
    assert "exchange from_session and to_session in matrix.change" in str(info.value)


def test_loss_is_positive_with_exchanged_sessions(study):
    back = {"from_session": "ses-2", "to_session": "ses-1"}
    X, _, _ = study.change(ChangeConfig(**back), negative="error")
    np.testing.assert_allclose(X, -study.rates * study.years, atol=1e-6)
    X, sidecar, _ = study.change(ChangeConfig(**back, per_year="age"), negative="clip")
    assert sidecar["Change"]["NumberOfNegativeValues"] == sidecar["Shift"] == 0
    np.testing.assert_allclose(X, -study.rates, atol=2e-6)


def test_one_subject_with_exchanged_sessions_is_named(study):
    study.table.loc[[6, 7], "age"] = study.table.loc[[7, 6], "age"].to_numpy()
    with pytest.raises(CohortError, match=r"not for 1 subject\(s\):\n  sub-03"):
        study.change()
