import numpy as np

from opnmf_pipeline.reporting.section import sentences_about_agreement

MEASURES = {
    "inner_product": 0.623,
    "label_ari": 0.512,
    "start_inner_product": 0.914,
    "start_label_ari": 0.876,
    "shared_start_inner_product": 0.701,
    "shared_start_label_ari": 0.655,
}


def test_each_agreement_is_named_with_its_numbers():
    starts, own, shared = sentences_about_agreement(MEASURES)
    assert starts.startswith("Two random starts on all subjects agree by 0.91 (mean cosine")
    assert "0.88 (adjusted Rand index" in starts
    assert own.startswith("Two parts of the cohort, each with a random start of its own, agree")
    assert "0.62 (mean cosine" in own
    assert shared.startswith("Two parts of the cohort with a shared start agree by 0.70")


def test_chance_is_named_beside_what_agrees():
    null = {"inner_product_null": 0.431, "label_ari_null": 0.307, "start_label_ari_null": np.nan}
    starts, own, shared, meaning = sentences_about_agreement(MEASURES | null)
    assert "0.62 (mean cosine of matched components; 0.43 by chance)" in own
    assert "0.51 (adjusted Rand index of the winner-takes-all maps; 0.31 by chance)" in own
    assert "chance" not in starts + shared
    assert meaning == "By chance means: for random parts of the same sizes."


def test_what_was_not_measured_is_not_named():
    assert sentences_about_agreement({"explained_variance": 0.9}) == []
    (only,) = sentences_about_agreement(MEASURES | dict.fromkeys(list(MEASURES)[:4], np.nan))
    assert "shared start" in only
