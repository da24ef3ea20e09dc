import json

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.adjustment.adjustment import Adjustment
from opnmf_pipeline.adjustment.ranges import Range
from opnmf_pipeline.config import MatrixConfig

OPTIONS = MatrixConfig(scale={"by": "tiv"}, harmonize={"batch": "site"}, covariates="age + sex")


@pytest.fixture
def coded(people):
    """Sex as numbers, and ages whose smallest and largest are known."""
    ages = np.linspace(20, 80, len(people))
    return people.assign(age=ages, sex=people["sex"].map({"F": 0, "M": 1}))


@pytest.fixture
def learned(coded):
    rng = np.random.default_rng(2)
    X = (5 + rng.normal(size=(30, len(coded)))).astype(np.float32)
    return Adjustment.learn(X, coded, OPTIONS)


@pytest.mark.parametrize(
    ("known", "value", "far"),
    [
        ([20, 50, 80], 86, False),
        ([20, 50, 80], 86.1, True),
        ([20, 50, 80], 14, False),
        ([20, 50, 80], 13.9, True),
        ([0, 1, 1], 0.5, True),
        ([0, 1, 1], 2, True),
        ([0, 1, 1], 1, False),
        ([4, 4], 4, False),
        ([4, 4], 5, True),
    ],
)
def test_what_is_far_outside(known, value, far):
    assert Range.of(pd.Series(known)).is_far(pd.Series([value])).tolist() == [far]


def test_the_subjects_learned_from_are_inside(learned, coded):
    assert learned.ranges.keys() == {"tiv", "age", "sex"}
    assert learned.doubts(coded) == []


def test_each_column_in_another_unit_or_coding_is_named(learned, coded):
    new = coded.iloc[:7].assign(age=[25, *range(240, 246)], sex=[1, 2, 1, 1, 1, 1, 1])
    found = {text.split("'")[1]: text for text in learned.doubts(new)}
    assert found.keys() == {"age", "sex"}
    assert "the values of 6 of 7 new subjects" in found["age"]
    assert "(25 to 245 in the new subjects, 20 to 80 in the cohort)" in found["age"]
    assert ": sub-02, sub-03, sub-04, sub-05, sub-06 and 1 more; " in found["age"]
    assert "(1 and 2 in the new subjects, 0 and 1 in the cohort): sub-02; " in found["sex"]
    assert learned.doubts(coded.iloc[:3].assign(tiv=1.5e6)) != []


def test_ranges_are_saved_and_older_files_have_none(learned, coded, tmp_path):
    file = tmp_path / "adjustment.json"
    learned.save(file)
    assert Adjustment.load(file).ranges == learned.ranges
    content = json.loads(file.read_text())
    del content["Ranges"]
    file.write_text(json.dumps(content))
    assert Adjustment.load(file).doubts(coded.assign(age=1000)) == []
