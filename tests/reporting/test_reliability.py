"""What the report says about the reliability of components."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.reporting import reliability as words
from opnmf_pipeline.reporting.facts import ReliabilityFacts
from opnmf_pipeline.reporting.figure import Figure
from opnmf_pipeline.reporting.page import _stability
from opnmf_pipeline.reporting.reliability import (
    draw_reliability,
    reliability_sentence,
    reliability_table,
    sentences_about_reliability,
)
from opnmf_pipeline.selection import reliability as made

TABLE = pd.DataFrame(
    {
        "index": [1, 2, 3],
        "reproduced": ["yes", "no", "unclear"],
        "dice": [0.91, 0.314, 0.6],
        "dice_low": [0.85, 0.1, 0.5],
        "dice_high": [0.95, 0.5, 0.7],
        "dice_null": [0.33, 0.351, 0.4],
        "dice_null_low": [0.2, 0.2, 0.2],
        "dice_null_high": [0.5, 0.5, 0.55],
        "stability": [0.9, 0.5, np.nan],
        "stable": [0.8, 0.1, np.nan],
        "size": [12_340.0, 5000.0, 0.0],
        "size_low": [11_000.0, 4000.0, 0.0],
        "size_high": [13_000.0, 6000.0, 100.0],
    }
)


def facts(table=TABLE, n_splits=5, units="mm^3"):
    return ReliabilityFacts(
        table=table,
        shares=np.array([0.5, 0.9], dtype=np.float32),
        resamples="10 halves of the cohort",
        n_splits=n_splits,
        size_units=units,
        draw=lambda: Figure(b"", "", ""),
    )


def test_the_words_are_those_of_the_table():
    assert (words.YES, words.NO, words.UNCLEAR) == (made.YES, made.NO, made.UNCLEAR)


def test_components_that_are_not_reproduced_need_attention():
    (sentence,) = sentences_about_reliability(3, facts())
    assert sentence.startswith(
        "k = 3, components that are not reproduced: component 2 (Dice 0.31, interval 0.10 to 0.50, "
        "not above 0.35 by chance)."
    )
    assert sentences_about_reliability(3, None) == []
    assert sentences_about_reliability(2, facts(TABLE[TABLE["reproduced"] != "no"])) == []


def test_a_component_above_chance_is_not_said_to_agree_no_more_than_by_chance():
    """Its interval is what decides, so the sentence is about the interval."""
    table = TABLE.assign(dice=0.43, dice_low=0.36, dice_high=0.53, dice_null=0.37)
    (sentence,) = sentences_about_reliability(3, facts(table))
    assert "(Dice 0.43, interval 0.36 to 0.53, not above 0.37 by chance)" in sentence
    assert "The interval over the splits" in sentence
    assert "no more than by chance" not in sentence


def test_the_section_counts_them():
    text = reliability_sentence(facts())
    assert text.startswith("Of 3 components, 1 is reproduced over 5 splits:")
    assert "For 1, it is not even above the mean of chance. The other 1 is unclear." in text
    assert text.endswith("come from fits of 10 halves of the cohort.")


def test_without_a_verdict_only_the_resamples_are_named():
    unknown = TABLE.assign(reproduced=None)
    for found in (facts(unknown), facts(n_splits=1)):
        assert reliability_sentence(found).startswith("Stability and the intervals of sizes")


def test_values_have_their_intervals():
    table = reliability_table(SimpleNamespace(reliability=facts()))
    assert table["Dice"].tolist()[0] == "0.91 (0.85 to 0.95)"
    assert table["Dice by chance"].tolist()[1] == "0.35 (0.20 to 0.50)"
    assert table["volume (cm³)"].tolist()[0] == "12.3 (11.0 to 13.0)"
    assert table["stability"].tolist() == ["90%", "50%", "n/a"]
    assert table["reproduced"].tolist() == ["yes", "no", "unclear"]


def test_without_splits_there_is_no_dice():
    columns = ["dice", "dice_low", "dice_high"]
    table = reliability_table(
        SimpleNamespace(reliability=facts(TABLE.assign(**dict.fromkeys(columns)), 0, "vertices"))
    )
    assert list(table) == ["component", "stability", "stable", "vertices"]
    assert table["vertices"].tolist()[1] == "5000 (4000 to 6000)"
    assert reliability_table(SimpleNamespace(reliability=None)) is None


def test_the_viewer_knows_the_largest_value_and_the_unit_of_the_map():
    found = _stability(SimpleNamespace(reliability=facts()))
    assert found["largest"] == pytest.approx(0.9)
    assert found["unit"] == "% of 10 halves of the cohort"
    assert _stability(SimpleNamespace(reliability=None)) is None
    assert "10 halves of the cohort" in draw_reliability(facts()).caption
