import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.selection.anatomy import (
    _side_of,
    hemisphere_peaks,
    propose_names,
    region_overlaps,
)

# Two components on eight rows: regions 3, 3, 3, 7, 7, 0, 0, 9
REGIONS = np.array([3, 3, 3, 7, 7, 0, 0, 9])
W = np.array([[4, 0], [2, 1], [0, 3], [2, 0], [0, 1], [2, 0], [0, 5], [0, 0]], dtype=np.float32)
LABELS = np.array([1, 1, 2, 1, 2, 1, 2, 0])


def test_overlaps_are_shares_of_weight_and_of_rows():
    table = region_overlaps(W, LABELS, REGIONS)
    assert list(table) == ["component", "index", "percent_of_component", "percent_of_region"]
    first, second = (table[table["component"] == k].set_index("index") for k in (1, 2))
    assert first["percent_of_component"].to_dict() == {3: 60, 7: 20, 0: 20}
    assert second["percent_of_component"].to_dict() == {0: 50, 3: 40, 7: 10}
    assert first["percent_of_region"].dropna().to_dict() == {3: 66.7, 7: 50}
    assert second["percent_of_region"].dropna().to_dict() == {3: 33.3, 7: 50}
    assert list(first.index) == [3, 0, 7]  # by decreasing share; equal ones by index


def test_shares_of_all_regions_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    W = rng.random((400, 4)) ** 6
    regions, labels = rng.integers(0, 6, 400), W.argmax(1) + 1
    table = region_overlaps(W, labels, regions)
    assert len(table) == 4 * 6
    for row in table.itertuples():
        inside, weights = regions == row.index, W[:, row.component - 1]
        assert row.percent_of_component == pytest.approx(
            100 * weights[inside].sum() / weights.sum(), abs=0.051
        )
        if row.index:
            share = np.mean(labels[inside] == row.component)
            assert row.percent_of_region == pytest.approx(100 * share, abs=0.051)


def test_an_empty_component_has_no_regions_and_no_name():
    table = region_overlaps(W * [1, 0], LABELS, REGIONS)
    assert table["component"].tolist() == [1, 1, 1]
    assert propose_names(table.assign(region="insula"), 2) == ["Insula", None]


def test_peaks_of_each_hemisphere():
    hemispheres = np.array([-1, -1, 1, 1, 1, 0, 0, 1])
    peaks = hemisphere_peaks(W, hemispheres)
    assert peaks["left"].tolist() == [0, 1]
    assert peaks["right"].tolist() == [3, 2]  # the largest weight of 2 is between them
    assert hemisphere_peaks(W, np.ones(8))["left"].tolist() == [-1, -1]
    assert hemisphere_peaks(W * [1, 0], hemispheres)["right"].tolist() == [3, -1]


def named(*rows, structures=False):
    """Name one component with these regions: (name, per cent) or (name, structure, per cent)."""
    table = pd.DataFrame(rows, columns=["region", *(["structure"] * structures), "percent"])
    table = table.rename(columns={"percent": "percent_of_component"})
    index = [0 if name == "outside" else 1 + number for number, (name, *_) in enumerate(rows)]
    (name,) = propose_names(table.assign(component=1, index=index), 1)
    return name


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([("left insula", 40), ("right insula", 38), ("left putamen", 9)], "Bilateral insula"),
        ([("left insula", 80), ("right insula", 10)], "Left insula"),
        ([("right insula", 60), ("brain stem", 30)], "Right insula"),
        ([("right insula", 45), ("brain stem", 30)], "Right insula; brain stem"),
        (
            [("left cuneus", 20), ("right cuneus", 20), ("left insula", 30), ("right pole", 5)],
            "Bilateral cuneus; left insula",
        ),
        ([("L_a", 20), ("R_a", 20), ("b_lh", 9), ("b_rh", 9)], "Bilateral a, b"),
        ([("left insula", 47), ("outside", 53)], "Mostly outside the atlas"),
        ([("outside", 100)], "Mostly outside the atlas"),
        ([("left a", 46), ("left b", 4)] + [("left c", 4)] * 2, "Left a, c"),
    ],
)
def test_names(rows, name):
    assert named(*rows) == name


def test_names_are_distinct():
    """A region more where there is one, else a number; a single name is not changed."""
    shares = {
        1: {"left vermis": 80, "left tonsil": 20},
        2: {"left vermis": 78, "left uvula": 12},
        3: {"left pole": 97},
        4: {"left vermis": 96, "left uvula": 4},
        5: {"left pole": 90, "left uvula": 3},
        6: {"outside": 100},
        8: {"outside": 90},
    }
    rows = [(k, name, share) for k, part in shares.items() for name, share in part.items()]
    table = pd.DataFrame(rows, columns=["component", "region", "percent_of_component"])
    table["index"] = (table["region"] != "outside").astype(int)
    assert propose_names(table, 8) == [
        "Left vermis, tonsil",
        "Left vermis, uvula",
        "Left pole (1)",
        "Left vermis",
        "Left pole (2)",
        "Mostly outside the atlas (1)",
        None,
        "Mostly outside the atlas (2)",
    ]


def test_a_widespread_component_is_named_after_larger_structures():
    rows = [(f"{side} {i}", "frontal lobe", 4) for i in range(6) for side in ("left", "right")]
    rows += [(f"left {i}", "insula", 6) for i in range(6, 12)]
    assert named(*rows, structures=True) == "Widespread: bilateral frontal lobe; left insula"
    without = [(name, percent) for name, _, percent in rows]
    assert named(*without).startswith("Widespread: bilateral 0, 1, 2")


@pytest.mark.parametrize(
    ("region", "side", "what"),
    [
        ("Left-Putamen", "left", "Putamen"),
        ("Precentral_L", "left", "Precentral"),
        ("7Networks_RH_Vis_1", "right", "7Networks Vis_1"),
        ("Area hOc1 (V1, 17, CalcS) right", "right", "Area hOc1 (V1, 17, CalcS)"),
        ("Lobule l", "", "Lobule l"),
        ("Rolandic operculum", "", "Rolandic operculum"),
        ("Left", "", "Left"),
    ],
)
def test_the_hemisphere_in_a_name(region, side, what):
    assert _side_of(region) == (side, what)
