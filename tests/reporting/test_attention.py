from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.images.space import WORDS
from opnmf_pipeline.images.tables.grid import WORDS as WORDS_FOR_TABLES
from opnmf_pipeline.reporting.attention import (
    _expected,
    find_duplicates,
    find_other_units,
    sentences_about_cohort,
    sentences_about_fit,
    sentences_about_places,
    sentences_about_starts,
)
from opnmf_pipeline.reporting.outliers import LIMIT, excess

N = 100


@pytest.fixture
def subjects():
    rng = np.random.default_rng(0)
    names = [f"sub-{n:03d}" for n in range(N)]
    return pd.DataFrame(
        {
            "norm": 30 + rng.random(N),
            "coverage": 1 - 0.01 * rng.random(N),
            "nearest": np.roll(names, 1),
            "correlation": 0.95 + 0.02 * rng.random(N),
        },
        index=names,
    )


@pytest.fixture
def errors(subjects):
    rng = np.random.default_rng(1)
    values = np.exp(rng.normal(-2.4, 0.1, (N, 2)))
    return pd.DataFrame(values, index=subjects.index, columns=[5, 10])


COVERED = np.ones(1000)


def about_cohort(subjects, errors, coverage, words=WORDS):
    return sentences_about_cohort(subjects, errors, coverage, words)


def test_nothing_to_say(subjects, errors):
    assert about_cohort(subjects, errors, COVERED) == []
    assert (
        sentences_about_fit(
            {"NumberOfComponents": 2, "NumberOfVoxels": 99, "Converged": True}, [50, 49]
        )
        == []
    )


def test_a_planted_outlier_is_named_with_the_k_it_is_one_for(subjects, errors):
    errors.loc["sub-007", 10] *= 3
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert sentence.startswith("Outliers: sub-007 (k = 10).")


def test_nothing_is_called_an_image_in_a_cohort_of_tables(subjects, errors):
    errors.loc["sub-007", 10] *= 3
    subjects.loc["sub-003", ["nearest", "correlation"]] = "sub-009", 0.99999
    subjects.loc["sub-005", "norm"] = 255 * subjects["norm"].median()
    subjects.loc["sub-004", "coverage"] = 0.8
    sentences = about_cohort(subjects, errors, COVERED, WORDS_FOR_TABLES)
    assert len(sentences) == 4
    text = " ".join(sentences)
    assert "Check these values." in text
    assert "Nearly identical values: sub-003 and sub-009" in text
    assert "Give all values the same units" in text
    assert "Zeros may stand for missing values." in text
    assert not any(word in text for word in ("image", "scan", "field of view"))


def test_outliers_do_not_hide_one_another(errors):
    values = errors[5].to_numpy().copy()
    values[:20] *= 10
    flagged = excess(values) > LIMIT
    assert flagged[:20].all()
    assert not flagged[20:].any()


def test_few_are_flagged_where_there_is_none():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=(1000, 50)))
    share = np.mean([(excess(column) > LIMIT).mean() for column in values.T])
    assert share < 5e-4  # 2.3e-4 of a normal distribution is that far above its mean


def test_scale_does_not_matter(errors):
    values = errors[5].to_numpy()
    np.testing.assert_allclose(excess(values), excess(1e6 * values), atol=1e-9)


def test_duplicates_are_named_once(subjects, errors):
    subjects.loc["sub-003", ["nearest", "correlation"]] = "sub-009", 0.99999
    subjects.loc["sub-009", ["nearest", "correlation"]] = "sub-003", 0.99999
    assert find_duplicates(subjects) == [("sub-003", "sub-009", 0.99999)]
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert "sub-003 and sub-009 (r = 0.99999)" in sentence


def test_an_image_without_differences_is_named(subjects, errors):
    subjects.loc["sub-007", "correlation"] = np.nan
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert sentence.startswith("Constant images: sub-007. All their values in the mask are equal")


def test_a_cohort_of_much_alike_images_has_no_duplicates(subjects):
    subjects["correlation"] = 1 - 0.1 * (1 - subjects["correlation"])
    assert find_duplicates(subjects) == []


@pytest.mark.parametrize("factor", [255, 1 / 255])
def test_an_image_in_other_units_is_named_with_its_factor(subjects, errors, factor):
    median = subjects["norm"].median()
    subjects.loc["sub-005", "norm"] = factor * median
    assert find_other_units(subjects) == pytest.approx({"sub-005": factor}, rel=0.01)
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert sentence.startswith(f"Other units: sub-005 ({factor:.3g} times).")


def test_a_map_with_little_tissue_is_not_in_other_units(subjects):
    subjects.loc["sub-005", "norm"] *= 0.2
    assert find_other_units(subjects) == {}


def test_lesions_differ_in_size_and_not_in_units(subjects, errors):
    subjects["coverage"] = np.geomspace(1e-5, 0.6, N)
    subjects["norm"] = 100 * np.sqrt(subjects["coverage"])
    assert find_other_units(subjects) == {}
    covered = np.full(1000, 0.1)
    assert about_cohort(subjects, errors, covered) == []


@pytest.mark.parametrize(
    ("column", "limit", "words"),
    [
        ("rim", 0.3, "on the rim of the brain or outside it"),
        ("white_matter", 0.5, "in white matter"),
        ("csf_or_outside", 0.5, "in cerebrospinal fluid or outside the brain"),
    ],
)
def test_components_in_places_of_artefacts_are_named(column, limit, words):
    parts = pd.DataFrame({"index": [1, 2, 3], "rim": 0.2, "white_matter": 0.5, "csf_or_outside": 0})
    parts["n_voxels"] = [10, 10, 80]
    assert sentences_about_places({3: parts}) == []
    parts[column] = [limit, limit + 0.1, np.nan]
    words += f": component 2 ({limit + 0.1:.0%})"
    (sentence,) = sentences_about_places({3: parts, 4: parts})
    assert f"outside grey matter. k = 3, {words}. k = 4, {words}. They may be" in sentence
    assert sentences_about_places({3: parts}, expected=[column]) == []


@pytest.mark.parametrize(("of_others", "named"), [(0.1, True), (0.2, False)])
def test_a_rim_that_has_a_large_share_of_all_parts_is_the_size_of_the_voxels(of_others, named):
    parts = pd.DataFrame({"index": [1, 2], "rim": [of_others, 0.4], "n_voxels": [900, 100]})
    assert bool(sentences_about_places({2: parts})) == named


def test_without_a_standard_space_there_are_no_places():
    assert sentences_about_places({2: pd.DataFrame({"index": [1, 2]})}) == []


@pytest.mark.parametrize(
    ("grey", "white", "coverage", "expected"),
    [(0.6, 0.3, 0.99, ()), (0.3, 0.6, 0.99, ("white_matter",)), (0.6, 0.3, 0.1, ("white_matter",))],
)
def test_white_matter_is_expected_in_maps_of_white_matter_and_of_lesions(
    subjects, grey, white, coverage, expected
):
    subjects["coverage"] = coverage
    tissues = {"grey_matter": grey, "white_matter": white, "csf_or_outside": 0.1, "rim": 0.1}
    assert _expected(SimpleNamespace(tissues=tissues, subjects=subjects)) == expected


def test_poor_coverage(subjects, errors):
    subjects.loc["sub-004", "coverage"] = 0.8
    covered = np.where(np.arange(1000) < 100, 0.5, 1.0)
    about_subject, about_voxels = about_cohort(subjects, errors, covered)
    assert "sub-004 (80%)" in about_subject
    assert about_voxels.startswith("10% of the mask has data in fewer than 90%")


def test_many_names_are_cut_short(subjects, errors):
    subjects.loc[subjects.index[:12], "coverage"] = 0.5
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert "sub-007 (50%) and 4 more" in sentence


@pytest.mark.parametrize("measures", [{}, {"start_label_ari": np.nan}, {"start_label_ari": 0.75}])
def test_starts_that_agree_need_no_attention(measures):
    assert sentences_about_starts(20, measures) == []


def test_components_that_depend_on_the_start_need_attention():
    (sentence,) = sentences_about_starts(20, {"start_label_ari": 0.654})
    assert sentence.startswith("k = 20: the components depend on the start: ")
    assert "agree only by 0.65 (adjusted Rand index)" in sentence


def test_subjects_that_lack_many_values_are_named(subjects, errors):
    subjects["missing"] = 0.0
    subjects.loc["sub-007", ["missing", "coverage"]] = 0.3, 0.7
    (sentence,) = about_cohort(subjects, errors, COVERED)
    assert sentence.startswith("Many missing values: sub-007 (30%).")
