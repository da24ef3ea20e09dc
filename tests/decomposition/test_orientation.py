"""A matrix with subjects as rows is found, and data that only look unusual are not."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_iris

from opnmf_pipeline import OPNMF, StructuralCovariance
from opnmf_pipeline.decomposition.orientation import axis_names, transposed
from opnmf_pipeline.exceptions import OrientationWarning

NO_NAMES = ("", "")


def maps(n_voxels=6000, n_subjects=20):
    """Voxels × subjects: a template, and differences of a tenth of it."""
    rng = np.random.default_rng(0)
    template = rng.uniform(0.2, 1, (n_voxels, 1))
    return template * rng.normal(1, 0.1, (n_voxels, n_subjects))


def sign(table):
    return transposed(np.asarray(table), axis_names(table))


def test_maps_with_subjects_as_rows():
    X = maps()
    assert transposed(X.T, NO_NAMES).startswith("there are more columns than rows")
    assert not transposed(X, NO_NAMES)


def test_more_subjects_than_regions_are_usual():
    """A very large cohort of regions, whose means differ more than those of its subjects."""
    assert not transposed(maps(n_voxels=100, n_subjects=6000), NO_NAMES)


def test_small_data_are_not_judged():
    X = maps(n_voxels=5000)
    assert not transposed(X.T, NO_NAMES)
    iris = load_iris().data
    assert not transposed(iris, NO_NAMES)
    assert not transposed(iris.T, NO_NAMES)


def test_faces_as_rows_are_no_mistake(faces):
    assert not transposed(faces, NO_NAMES)
    assert not transposed(faces.T, NO_NAMES)


def test_names_of_subjects():
    subjects = [f"sub-{n:02d}" for n in range(1, 5)]
    values = maps(30, 4).T
    assert sign(pd.DataFrame(values, index=subjects)) == (
        "the rows are named as subjects in BIDS ('sub-01'), and the columns are not"
    )
    numbered = pd.DataFrame(values, index=pd.Index([1, 2, 3, 4], name="participant_id"))
    assert "'participant_id'" in sign(numbered)
    assert not sign(numbered.T)
    assert not sign(pd.DataFrame(values.T, columns=subjects))
    assert not sign(pd.DataFrame(values, index=list("abcd")))
    assert not sign(pd.DataFrame(values, index=["sub-cortical", "frontal", "insula", "sub-lobar"]))
    # a similarity of subjects has their names on both sides
    assert not sign(pd.DataFrame(np.eye(4), index=subjects, columns=subjects))
    sessions = pd.MultiIndex.from_product(
        [["01", "02"], ["a", "b"]], names=["participant_id", "session_id"]
    )
    assert "'participant_id'" in sign(pd.DataFrame(values, index=sessions))
    assert not sign(pd.DataFrame(values.T, columns=sessions))


def test_columns_with_names_of_subjects_are_not_judged_by_their_means():
    X = maps().T
    assert not sign(pd.DataFrame(X, columns=[f"sub-{n}" for n in range(6000)]))


@pytest.mark.parametrize("estimator", [OPNMF(2, solver="orthonormal", n_init=1)], ids=["OPNMF"])
def test_the_warning_says_what_to_do(estimator):
    X = maps().T
    message = (
        r"the rows of X, with shape \(20, 6000\), look like subjects: .*; OPNMF expects one row "
        "per voxel .*; pass X.T, or use StructuralCovariance"
    )
    with pytest.warns(OrientationWarning, match=message) as record:
        estimator.fit(X)
    assert record[0].filename == __file__


def test_structural_covariance_knows_which_are_subjects():
    # regions scaled to mean 1: the means of the subjects vary more than those of the regions
    rng = np.random.default_rng(0)
    X = rng.normal(1, 0.1, (6000, 1)) * rng.normal(1, 0.01, (6000, 8))
    assert transposed(X.T, NO_NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StructuralCovariance(2, solver="orthonormal", n_init=1).fit(X)


@pytest.mark.parametrize("kind", [OPNMF, StructuralCovariance], ids=lambda kind: kind.__name__)
def test_sparse_data_get_an_answer(kind):
    with pytest.raises(TypeError, match=r"dense data is required. Use '.toarray\(\)'"):
        kind(2).fit(csr_array(np.eye(9)))


@pytest.mark.parametrize("kind", [OPNMF, StructuralCovariance], ids=lambda kind: kind.__name__)
def test_a_mask_is_not_passed_over(kind):
    X = maps()
    with pytest.raises(ValueError, match="masked array with 1 masked values, whose mask would be"):
        kind(2).fit(np.ma.masked_equal(X, X[3, 2]))
    kind(2).fit(np.ma.masked_array(X))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e308], ids=str)
def test_values_that_are_not_finite_do_not_warn(value):
    X = maps()
    X[3] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        transposed(X.T, NO_NAMES)
