"""New subjects of a model of an adjusted matrix: adjusted as its cohort, each on its own."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.config import DecompositionConfig, MaskConfig, MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ModelError
from opnmf_pipeline.stages.adjust import adjust_matrix
from opnmf_pipeline.stages.decompose import decompose, read_factorization
from opnmf_pipeline.stages.mask import make_mask
from opnmf_pipeline.stages.matrix import build_matrix
from opnmf_pipeline.stages.model import Model
from tests.builders import three_parts, write_cohort

pytestmark = pytest.mark.filterwarnings("ignore::opnmf_pipeline.exceptions.ConvergenceWarning")

N = 16
ALL = {
    "scale": {"by": "global"},
    "harmonize": {"batch": "site", "covariates": "age"},
    "covariates": "bs(age, df=3) + C(coil)",
    "keep": "diagnosis",
}


FIT = DecompositionConfig(solver="multiplicative", max_iter=20, tol=1e-3)


class Study:
    """A cohort with its covariates, and fits of its adjusted matrix."""

    def __init__(self, root):
        self.root = root
        rng = np.random.default_rng(3)
        values = three_parts(N)
        site = np.array(["a", "b"] * (N // 2))
        values[site == "b"] *= np.float32(1.2)
        values[site == "b", :, 0] *= np.float32(0.05)  # adjusted values are negative
        self.cohort = write_cohort(root / "dataset", values)
        self.people = pd.DataFrame(
            {
                "participant_id": self.cohort.subjects,
                "age": rng.integers(20, 60, N),
                "site": site,
                "coil": [8, 8, 32, 32] * (N // 4),
                "diagnosis": rng.choice(["control", "patient"], N),
            }
        )
        self.table = root / "cohort.tsv"
        self.people.to_csv(self.table, sep="\t", index=False)

    def fit(self, name, **matrix):
        options, folder = MatrixConfig(**matrix), self.root / name
        images = MatrixConfig(negative=options.negative)
        adjusted = folder / "adjusted"
        adjusted.mkdir(parents=True)
        mask = make_mask(self.cohort.images, folder / "mask.nii.gz", MaskConfig(), images)
        self.raw = build_matrix(self.cohort.images, self.cohort.subjects, mask, folder, images)
        matrix_file = adjust_matrix(self.raw, self.table, adjusted, options)
        fit = decompose(matrix_file, folder, 3, FIT)
        return Model.of_fit(fit, mask, adjusted / "adjustment.json"), read_factorization(fit).H


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def clipped(study):
    return study.fit("all", negative="clip", **ALL)


@pytest.fixture(scope="module")
def model(clipped):
    return clipped[0]


def project(study, model, numbers, **changes):
    images = [study.cohort.images[number] for number in numbers]
    return model.project(images, covariates=study.people.assign(**changes))


@pytest.mark.parametrize("negative", ["clip", "shift"])
def test_subjects_of_the_fit_get_their_own_loadings(study, clipped, negative):
    shifted = {"covariates": "age + site", "negative": "shift"}
    model, H = clipped if negative == "clip" else study.fit("shift", **shifted)
    assert (model.shift < 0) == (negative == "shift")
    found = project(study, model, range(N))
    np.testing.assert_allclose(found[model.names].T, H, rtol=1e-6)
    assert not found["outside_training_range"].any()


def test_the_effect_of_a_covariate_is_removed_as_by_hand(study):
    """x - (c - mean of c) b, with b of a least-squares fit of the cohort."""
    model, _ = study.fit("age", covariates="age", negative="clip")
    X = np.load(study.raw.with_name("matrix.npy")).astype(np.float64)
    ages = study.people["age"].to_numpy(float)
    design = np.column_stack([np.ones(N), ages])
    _, slopes = np.linalg.lstsq(design, X.T, rcond=None)[0]
    values = np.maximum(X[:, 4] - (85 - ages.mean()) * slopes, 0)
    found = project(study, model, [4], age=85)
    np.testing.assert_allclose(found[model.names].iloc[0], model.W.T @ values, rtol=1e-5)


def test_no_subject_depends_on_the_others(study, model):
    together = project(study, model, [3, 8, 9])
    for number, image in enumerate((3, 8, 9)):
        others = [f"{age}+" for age in range(70, 70 + N)]
        ages = np.where(np.arange(N) == image, study.people["age"].astype(str), others)
        alone = project(study, model, [image], age=ages)
        pd.testing.assert_frame_equal(alone, together.iloc[[number]].reset_index(drop=True))


def test_tables_as_labs_have_them(study, model):
    """Identifiers without prefix, codes with a decimal point, text, other rows and columns."""
    expected = project(study, model, [2, 5])
    table = study.people.assign(
        participant_id=study.people["participant_id"].str.removeprefix("sub-"),
        coil=study.people["coil"].map("{}.0".format),
        age=study.people["age"].astype(str),
        group="x",
    )
    images = [study.cohort.images[number] for number in (2, 5)]
    pd.testing.assert_frame_equal(model.project(images, covariates=table.iloc[::-1]), expected)
    visits = pd.concat(
        [table.assign(session_id=visit, age=age) for visit, age in ((1, 30), (2, 59))]
    )
    names = ["sub-03_ses-1", "sub-03_ses-2"]
    copy = study.root / "copy.nii.gz"
    copy.write_bytes(images[0].read_bytes())
    found = model.project([images[0], copy], names, covariates=visits)
    for row, age in ((0, 30), (1, 59)):
        alone = project(study, model, [2], age=age)
        np.testing.assert_array_equal(found[model.names].iloc[row], alone[model.names].iloc[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"site": None}, r"2 of 2 new.*\n  sub-01: site has no value\n  sub-02: site has no"),
        ({"site": ["c", *"ab" * 7, "a"]}, r"1 of 2 .*\n  sub-01: site is 'c', and .* has a, b"),
        ({"coil": 64}, r"2 of 2 new.*\n  sub-01: coil is '64', and .* has 32, 8"),
        ({"age": "old", "site": ""}, r"sub-02: age is 'old', not a number; site has no value"),
        ({"participant_id": "sub-x"}, r"2 of 2 new.*\n  sub-01: is not in the table\n"),
    ],
    ids=["missing", "site", "category", "number", "row"],
)
def test_subjects_that_cannot_be_adjusted_are_listed(study, model, changes, message):
    with pytest.raises(CohortError, match=message):
        project(study, model, [0, 1], **changes)


def test_numbers_far_outside_those_of_the_cohort_are_warnings(study, model, caplog):
    project(study, model, [0, 1])
    assert caplog.messages == []
    project(study, model, [0, 1], age=[300, *study.people["age"][1:]])
    (message,) = caplog.messages
    assert "column 'age': the values of 1 of 2 new subjects" in message
    assert "in the cohort): sub-01; " in message


def test_a_model_of_an_adjusted_matrix_needs_the_columns(study, model):
    with pytest.raises(
        CohortError, match=r"adjusted for age, diagnosis, site, coil.*there is no table"
    ):
        model.project(study.cohort.images[:1])
    with pytest.raises(
        CohortError, match=r"no column age, diagnosis, coil; add .*--participants FILE"
    ):
        model.project(study.cohort.images[:1], covariates=study.people.iloc[:, [0, 2]])
    twice = study.people.iloc[[0, 0, 1]]
    with pytest.raises(CohortError, match=r"the same participant_id:\n  sub-01\n"):
        model.project(study.cohort.images[:1], covariates=twice)


def test_only_the_global_mean_needs_no_table(study):
    model, H = study.fit("global", scale={"by": "global"}, negative="clip")
    found = model.project(study.cohort.images[:2])
    np.testing.assert_allclose(found[model.names].T, H[:, :2], rtol=1e-6)


def test_the_fit_of_an_adjusted_matrix_needs_its_adjustment(study, model):
    fit = study.root / "all" / "factorization.json"
    assert "Adjustment" in json.loads(fit.read_text())
    with pytest.raises(ModelError, match="give the folder of the adjustment, too"):
        Model.of_fit(fit, model.mask_file)


def test_processes_can_take_the_adjustment(study, model):
    images, names = study.cohort.images[:1], study.cohort.subjects[:1]
    finish = model.finish(images, names, study.people)
    column = np.full(len(model.W), 0.5, dtype=np.float32)
    again = pickle.loads(pickle.dumps(finish))  # noqa: S301
    np.testing.assert_array_equal(finish(images[0], column), again(images[0], column))
    assert finish.covariates_of(images[0]) == {
        "site": "a",
        "age": float(study.people["age"].iloc[0]),
        "diagnosis": study.people["diagnosis"].iloc[0],
        "coil": "8",
    }
