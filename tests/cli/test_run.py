import io
import math

import pandas as pd
from rich.console import Console

from opnmf_pipeline.cli.run import _table
from opnmf_pipeline.runs.run import Summary

METRICS = pd.DataFrame(
    {
        "n_components": [2, 4, 6, 8],
        "explained_variance": [0.5, 0.61, 0.7, 0.71],
        "inner_product": [0.9, 0.8, 0.85, 0.5],
        "inner_product_sd": [0.01, 0.02, math.nan, 0.1],
        "n_iter": [5, 6, 7, 8],
    }
)


def printed(choice):
    summary = Summary(9, 99, "subjects", "vertices", "mean > 0.1", METRICS, choice, [], None)
    console = Console(file=io.StringIO(), width=100)
    console.print(_table(summary))
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_the_chosen_number_and_the_good_ones_have_a_mark():
    rows = printed({"k": 6, "good": [4, 6]})
    marks = {row[0]: row[1] for row in rows if row and row[0] in "2468"}
    assert marks == {"2": "50.0%", "4": "+", "6": "*", "8": "71.0%"}
    assert ["*", "chosen", "+", "also", "good"] in rows
    rows = printed({"k": 6, "good": [4], "flat": True})
    words = " ".join(word for row in rows for word in row)
    assert "* by convention + within the noise of the best" in words


def test_means_have_their_spread_where_there_is_one():
    rows = printed(None)
    assert ["2", "50.0%", "5", "0.900", "±", "0.010"] in rows
    assert ["6", "70.0%", "7", "0.850"] in rows


def test_what_has_no_value_is_not_available(monkeypatch):
    monkeypatch.setitem(METRICS, "explained_variance", math.nan)
    rows = printed(None)
    assert ["2", "n/a", "5", "0.900", "±", "0.010"] in rows
