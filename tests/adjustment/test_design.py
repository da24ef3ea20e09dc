import json

import numpy as np
import pytest
from statsmodels.gam.smooth_basis import BSplines

from opnmf_pipeline.adjustment.design import Design
from opnmf_pipeline.exceptions import CohortError, ConfigError

FORMULA = (
    "bs(age, df=5) + sex:center(tiv) + C(`scan code`) + poly(tiv, 2) + scale(age) + cr(tiv, df=3)"
)


def learn(formula, table):
    return Design.learn("matrix.covariates", formula, table)


def test_columns_are_those_of_treatment_coding(people):
    matrix = learn("age + sex + C(`scan code`)", people).matrix(people)
    codes = people["scan code"].to_numpy()
    expected = [people["age"], people["sex"] == "M", codes == 2, codes == 3, codes == 4]
    np.testing.assert_array_equal(matrix, np.column_stack(expected).astype(float))


def test_a_spline_spans_the_basis_of_another_library(people):
    ages = people["age"].to_numpy()
    ours = learn("bs(age, df=6)", people).matrix(people)
    theirs = BSplines(ages[:, np.newaxis], df=[7], degree=[3]).basis
    both = np.column_stack([np.ones(len(ages)), ours, theirs])
    assert np.linalg.matrix_rank(both) == 7


def test_one_subject_has_the_row_that_it_has_among_all(people):
    """Knots, means and categories come from the subjects of the fit, also after a file."""
    design = learn(FORMULA, people)
    again = Design.described(json.loads(json.dumps(design.describe())))
    rows = [again.matrix(people.iloc[[number]])[0] for number in range(0, 60, 9)]
    np.testing.assert_array_equal(np.array(rows), design.matrix(people)[::9])


def test_values_beyond_those_of_the_fit_count_as_the_last_ones(people):
    design = learn("bs(age, df=4)", people)
    oldest = people["age"].idxmax()
    older = people.loc[[oldest]].assign(age=people["age"].max() + 30)
    np.testing.assert_array_equal(design.matrix(older), design.matrix(people.loc[[oldest]]))


def test_codes_are_the_same_categories_in_a_column_with_fractions(people):
    design = learn("C(`scan code`)", people)
    floats = people.assign(**{"scan code": people["scan code"].astype(float)})
    np.testing.assert_array_equal(design.matrix(floats), design.matrix(people))


def test_an_unseen_category_is_refused_with_the_subjects(people):
    design = learn("site", people)
    new = people.iloc[:2].assign(site=["east", "north"])
    with pytest.raises(CohortError, match=r"'site': 1 subject.*north, south, west\): sub-01;"):
        design.matrix(new)


def test_a_missing_value_is_refused_with_the_subjects(people):
    table = people.copy()
    table.loc[["sub-03", "sub-05"], "age"] = np.nan
    with pytest.raises(CohortError, match=r"2 subject.*'age'.*sub-03, sub-05; add these values"):
        learn("age", table)


def test_the_logarithm_of_zero_is_refused_with_the_subject(people):
    table = people.copy()
    table.loc["sub-04", "age"] = 0
    with pytest.raises(ConfigError, match=r"'log\(age\)' of the design matrix .* sub-04"):
        learn("log(age)", table).matrix(table)


def test_text_in_a_column_of_numbers_is_refused(people):
    design = learn("age", people)
    with pytest.raises(CohortError, match="learned from numbers, but it has 'old'"):
        design.matrix(people.iloc[:1].assign(age="old"))


def test_arithmetic_on_text_is_refused(people):
    with pytest.raises(ConfigError, match="cannot be computed"):
        learn("log(sex)", people)
