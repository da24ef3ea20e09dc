"""The adjusted matrix, and fits of parts that learn the adjustment from their own subjects."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import DecompositionConfig, MatrixConfig, SelectionConfig
from opnmf_pipeline.decomposition import OPNMF
from opnmf_pipeline.exceptions import ConfigError, ConvergenceWarning, ImageError, SelectionError
from opnmf_pipeline.selection.shape import winner_takes_all
from opnmf_pipeline.selection.splits import bootstrap_sample
from opnmf_pipeline.stages.adjust import adjust_matrix
from opnmf_pipeline.stages.bootstrap import fit_bootstrap
from opnmf_pipeline.stages.decompose import estimator
from opnmf_pipeline.stages.halves import fit_halves
from opnmf_pipeline.stages.parts import Parts
from opnmf_pipeline.stages.splits import make_splits
from opnmf_pipeline.tables import write_table

N, V = 40, 60
ALL = MatrixConfig(
    scale={"by": "global"},
    harmonize={"batch": "site", "covariates": "age"},
    covariates="age + sex",
    keep="diagnosis",
    negative="clip",
)
SITE = MatrixConfig(harmonize={"batch": "site"}, negative="clip")
"""One formula less to evaluate, where the question is who learns from whom."""
FIT = DecompositionConfig(solver="multiplicative", max_iter=20, tol=1e-3)


class Study:
    """A matrix on disk, and the table of its subjects."""

    def __init__(self, root, seed=0):
        rng = np.random.default_rng(seed)
        self.root = root
        self.people = pd.DataFrame(
            {
                "participant_id": [f"sub-{number:02d}" for number in range(N)],
                "age": rng.uniform(20, 60, N).round(1),
                "sex": rng.choice(["F", "M"], N),
                "site": np.tile(["a", "b"], N // 2),
                "diagnosis": rng.choice(["control", "patient"], N),
            }
        )
        parts = np.kron(np.eye(3), np.ones((V // 3, 1)))
        values = parts @ rng.uniform(1, 2, (3, N)) + 0.1 * rng.random((V, N))
        values += 0.01 * self.people["age"].to_numpy() + (self.people["site"] == "b").to_numpy()
        self.X = values.astype(np.float32)

    def folder(self, name):
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name="matrix", shift=0.0):
        folder = self.folder(name)
        np.save(folder / "matrix.npy", self.X)
        sidecar = {
            "Matrix": "matrix.npy",
            "Participants": self.people["participant_id"].tolist(),
            "Preprocessing": MatrixConfig(negative="clip").of_images(),
            "Shift": shift,
            "SHA256": "",
        }
        (folder / "matrix.json").write_text(json.dumps(sidecar))
        write_table(self.people, folder / "cohort.tsv")
        return folder / "matrix.json", folder / "cohort.tsv"


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def adjust(study, options=ALL):
    path = adjust_matrix(*study.write(), study.folder("adjusted"), options)
    return np.load(path.with_name("matrix.npy")), json.loads(path.read_text())


def test_the_matrix_is_adjusted_and_describes_what_is_left(study):
    X, sidecar = adjust(study)
    record = sidecar["Adjustment"]
    assert X.dtype == np.float32
    assert record["Settings"] == ALL.of_adjustment()
    assert record["MedianR2"]["site"]["Before"] > 0.3
    assert record["MedianR2"]["site"]["After"] < 0.01
    assert record["MedianR2"].keys() == {"site", "age", "sex", "diagnosis", "global"}
    assert record["NumberOfNegativeValues"] == 0


@pytest.mark.parametrize("negative", ["clip", "shift"])
def test_negative_values_are_counted_and_removed(study, negative):
    study.X[:, 1] = 0.01  # at the site with the larger values, which are lowered
    options = MatrixConfig(covariates="age + site", negative=negative)
    X, sidecar = adjust(study, options)
    assert X.min() == 0
    n = sidecar["Adjustment"]["NumberOfNegativeValues"]
    assert n > 0
    raw, _ = adjust(study, MatrixConfig(covariates="age + site", negative="shift"))
    if negative == "clip":
        assert n == (X == 0).sum()
        assert sidecar["Shift"] == 0
    else:
        assert sidecar["Shift"] < 0
        assert n == (raw < -np.float32(sidecar["Shift"])).sum()


def test_negative_values_are_an_error_if_the_settings_say_so(study):
    study.X[:, 1] = 0.01  # at the site with the larger values, which are lowered
    with pytest.raises(ImageError, match=r"made \d+ of 2400 values negative .* clip"):
        adjust(study, MatrixConfig(covariates="age + site"))


def test_an_unknown_column_is_refused(study):
    with pytest.raises(ConfigError, match="no column 'agee'; it has: age, sex, site, diagnosis"):
        adjust(study, MatrixConfig(covariates="agee"))


def half(number=1):
    return list(range(0, N // 2) if number == 1 else range(N // 2, N))


def parts_of(study, options=ALL):
    matrix_file, cohort_file = study.write()
    sidecar = json.loads(matrix_file.read_text())
    return Parts.of(np.load(matrix_file.with_name("matrix.npy")), sidecar, options, cohort_file)


@pytest.mark.parametrize("negative", ["clip", "shift", "error"])
def test_a_part_does_not_depend_on_the_values_and_covariates_of_the_others(study, negative):
    """Fails if anything leaks from one half into the other."""
    options = ALL.model_copy(update={"negative": negative})
    before = parts_of(study, options).part(half(1))
    rng = np.random.default_rng(5)
    study.X[:, half(2)] = rng.uniform(0, 50, (V, N // 2))
    study.people.loc[half(2), "age"] = rng.uniform(60, 90, N // 2)
    study.people.loc[half(2), "site"] = rng.choice(["a", "c"], N // 2)
    study.people.loc[half(2), "diagnosis"] = "other"
    after = parts_of(study, options).part(half(1))
    assert after.values.tobytes() == before.values.tobytes()


def test_a_part_is_not_adjusted_as_in_the_whole_cohort(study):
    """The test above would pass if nothing was learned at all."""
    part = parts_of(study).part(half(1))
    assert not np.allclose(part.values, adjust(study)[0][:, half(1)], atol=1e-3)


def test_others_are_adjusted_with_what_was_learned_without_them(study):
    """Others get the same bits, whoever is with them, and depend on the part that was learned."""
    subjects = parts_of(study)
    first, second = subjects.part(half(1)), subjects.part(half(2))
    seen = subjects.seen_by(first, second)
    few = subjects.seen_by(first, subjects.part(half(2)[:5]))
    np.testing.assert_allclose(few, seen[:, :5], rtol=1e-6)
    assert not np.allclose(seen, second.values, atol=1e-3)


@pytest.fixture
def split(study):
    (path,) = make_splits(
        study.people["participant_id"].tolist(), study.folder("splits"), SelectionConfig(n_splits=1)
    )
    return path


def halves(study, split, name, options=SITE):
    matrix_file, cohort_file = study.write()
    path = fit_halves(
        matrix_file, study.folder(name), 3, split, FIT, matrix=options, cohort_file=cohort_file
    )
    return json.loads(path.read_text()), np.load(path.with_name("labels.npy"))


def test_the_fit_of_a_half_keeps_its_bits_when_the_other_half_changes(study, split):
    found, labels = halves(study, split, "before")
    second = [int(name.removeprefix("sub-")) for name in json.loads(split.read_text())["Halves"][1]]
    study.X[:, second] += np.random.default_rng(1).random((V, N // 2)).astype(np.float32)
    study.people.loc[second[:5], "site"] = "a"
    again, labels_again = halves(study, split, "after")
    np.testing.assert_array_equal(labels_again[0], labels[0])
    assert again["half_error"] != found["half_error"]


def test_errors_out_of_sample_are_those_of_a_slow_computation(study, split):
    """Each half by hand: learn there, fit there, and apply both to the other half."""
    found, _ = halves(study, split, "halves")
    names = json.loads(split.read_text())["Halves"]
    columns = [[int(name.removeprefix("sub-")) for name in half] for half in names]
    subjects, total = parts_of(study, SITE), 0.0
    for number in (0, 1):
        start = FIT.from_random_start(number + 1)
        part = subjects.part(columns[number])
        model = OPNMF(
            3,
            solver=start.solver,
            init=start.init,
            tol=start.tol,
            max_iter=start.max_iter,
            random_state=start.random_state,
        )
        W = model.fit(part.values).coef_
        people = subjects.people.iloc[columns[1 - number]]
        raw = subjects.X[:, columns[1 - number]]
        others = part.adjusted.adjustment.apply(raw, people, np.empty(raw.shape, np.float32))
        total += np.linalg.norm(others - W @ (W.T @ others)) ** 2
    assert found["out_of_sample_error"] == pytest.approx(np.sqrt(total), rel=1e-4)
    assert found["n_unseen"] == 0


def test_subjects_of_a_site_that_a_half_does_not_have_are_left_out_and_counted(study, split):
    first, second = json.loads(split.read_text())["Halves"]
    alone = study.people["participant_id"].isin(second[:4])
    study.people.loc[alone, "site"] = "c"
    found, _ = halves(study, split, "halves")
    assert found["n_unseen"] == 4
    study.people.loc[study.people["participant_id"].isin(second), "site"] = "c"
    study.people.loc[study.people["participant_id"].isin(first), "site"] = "a"
    with pytest.raises(SelectionError, match="no subject of the other part has a batch"):
        halves(study, split, "all")


def test_without_an_adjustment_a_half_is_the_matrix(study, split):
    found, _ = halves(study, split, "halves", MatrixConfig())
    assert "n_unseen" not in found


def test_a_bootstrap_sample_learns_from_the_drawn_subjects(study):
    """The labels are those of a fit of the drawn subjects, which are adjusted as a part."""
    matrix_file, cohort_file = study.write()
    path = fit_bootstrap(
        matrix_file, study.folder("a"), 3, 1, FIT, matrix=SITE, cohort_file=cohort_file
    )
    drawn = bootstrap_sample(N, [FIT.random_state, 1])
    model = estimator(3, FIT.from_random_start(1), {"Preprocessing": {}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        W = model.fit(parts_of(study, SITE).part(drawn.tolist()).values).coef_
    np.testing.assert_array_equal(np.load(path), winner_takes_all(W))
