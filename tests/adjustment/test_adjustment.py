import json

import numpy as np
import pytest

from opnmf_pipeline.adjustment.adjustment import Adjustment, columns_used
from opnmf_pipeline.adjustment.explained import bases_of, explained_by
from opnmf_pipeline.config import MatrixConfig
from opnmf_pipeline.exceptions import CohortError, ConfigError

ALL = MatrixConfig(
    scale={"by": "global"},
    harmonize={"batch": "site", "covariates": "age + sex"},
    covariates="bs(age, df=4) + sex",
    keep="diagnosis",
)


@pytest.fixture
def X(people):
    rng = np.random.default_rng(2)
    return (5 + rng.normal(size=(30, len(people)))).astype(np.float32)


def test_a_saved_adjustment_gives_the_same_bits(X, people, tmp_path):
    learned = Adjustment.learn(X, people, ALL)
    learned.save(tmp_path / "adjustment.json")
    again = Adjustment.load(tmp_path / "adjustment.json")
    expected, found = (one.apply(X, people, np.empty_like(X)) for one in (learned, again))
    assert found.tobytes() == expected.tobytes()


def test_a_saved_adjustment_holds_no_pickle_and_no_subject(X, people, tmp_path):
    Adjustment.learn(X, people, ALL).save(tmp_path / "adjustment.json")
    text = (tmp_path / "adjustment.json").read_text()
    assert "sub-" not in text
    ages = [str(age) for age in people["age"].sort_values()[1:-1]]
    assert not any(age in text for age in ages)
    with np.load(tmp_path / "adjustment.npz", allow_pickle=False) as arrays:
        assert {array.dtype.kind for array in arrays.values()} == {"f"}
        assert not any(len(people) in array.shape for array in arrays.values())
    assert json.loads(text)["Steps"].keys() == {"scale", "harmonize", "covariates"}


def test_one_subject_is_adjusted_as_among_others(X, people):
    learned = Adjustment.learn(X, people, ALL)
    together = learned.apply(X, people, np.empty(X.shape))
    alone = learned.apply(X[:, [7]], people.iloc[[7]], np.empty((30, 1)))
    np.testing.assert_allclose(alone[:, 0], together[:, 7], rtol=1e-12)


def test_the_steps_follow_each_other(X, people):
    """Each step alone, on the result of the step before, gives the result of all together."""
    found = X.astype(float)
    for settings in (
        {"scale": {"by": "global"}},
        {"harmonize": {"batch": "site", "covariates": "age + sex"}, "keep": "diagnosis"},
        {"covariates": "bs(age, df=4) + sex", "keep": "diagnosis"},
    ):
        learned = Adjustment.learn(found, people, MatrixConfig(**settings))
        found = learned.apply(found, people, np.empty(X.shape))
    whole = Adjustment.learn(X, people, ALL).apply(X, people, np.empty(X.shape))
    np.testing.assert_allclose(whole, found, rtol=1e-12)


def test_the_matrix_can_be_replaced(X, people):
    learned = Adjustment.learn(X, people, ALL)
    expected = learned.apply(X, people, np.empty_like(X))
    np.testing.assert_array_equal(learned.apply(X, people, X), expected)


def test_columns_are_named_once(people):
    options = MatrixConfig(scale={"by": "tiv"}, harmonize={"batch": "site"}, covariates="age*sex")
    assert columns_used(options, list(people)) == ["tiv", "site", "age", "sex"]
    assert columns_used(MatrixConfig(scale={"by": "global"}), list(people)) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": {"by": "icv"}}, r"matrix\.scale\.by: .* no column 'icv'; it has: age, sex"),
        ({"harmonize": {"batch": "centre"}}, r"matrix\.harmonize\.batch: .* no column 'centre'"),
        ({"covariates": "agee"}, r"matrix\.covariates: 'agee': .* no column 'agee'"),
        (
            {"harmonize": {"batch": "site", "covariates": ["ag"]}},
            r"matrix\.harmonize: 'ag': .* no column 'ag'",
        ),
        ({"covariates": "age", "keep": "dx"}, r"matrix\.keep: 'dx': .* no column 'dx'"),
    ],
    ids=["scale", "batch", "covariates", "harmonize", "keep"],
)
def test_unknown_columns_are_refused_with_their_key(people, settings, message):
    with pytest.raises(ConfigError, match=message):
        columns_used(MatrixConfig(**settings), list(people))


def test_new_subjects_are_refused_before_their_images_are_read(X, people):
    learned = Adjustment.learn(X, people, ALL)
    learned.require(people.iloc[:3])
    with pytest.raises(CohortError, match="no value in the column 'age'"):
        learned.require(people.assign(age=np.nan))
    with pytest.raises(CohortError, match="no column 'site'"):
        learned.require(people.drop(columns="site"))


def test_explained_variance_is_that_of_linear_models(X, people):
    found = explained_by(X, bases_of(people, ["age", "site"]))
    expected = np.corrcoef(X[4], people["age"])[0, 1] ** 2
    assert found["age"][4] == pytest.approx(expected)
    groups = people.groupby("site").indices.values()
    within = sum(((X[4, rows] - X[4, rows].mean()) ** 2).sum() for rows in groups)
    assert found["site"][4] == pytest.approx(1 - within / ((X[4] - X[4].mean()) ** 2).sum(), 1e-4)


def test_voxels_that_do_not_vary_are_left_out(X, people):
    X[0] = 1
    assert len(explained_by(X, bases_of(people, ["age"]))["age"]) == len(X) - 1
