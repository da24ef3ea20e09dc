"""The rule that finds the region of a feature, on names that programs of the field write."""

import numpy as np
import pandas as pd
import pytest

from opnmf_pipeline.exceptions import ImageError
from opnmf_pipeline.images.tables.grid import Grid
from opnmf_pipeline.images.tables.regions import regions_of

PAIRS = [
    ("lh_bankssts_thickness", "ctx-lh-bankssts"),
    ("rh_bankssts_thickness", "R bankssts"),
    ("L_superiortemporal_thickavg", "lh.superiortemporal"),
    ("R_superiortemporal_surfavg", "ctx_rh_superiortemporal"),
    ("Left-Hippocampus", "Left-Hippocampus"),
    ("Lthal", "left thal"),
    ("Rthal", "right thal"),
    ("lh_G_and_S_frontomargin_thickness", "ctx_lh_G_and_S_frontomargin"),
    ("lh_L_V1_ROI_thickness", "L_V1_ROI"),
    ("rh_R_V1_ROI_thickness", "R_V1_ROI"),
    ("V10_L", "lh_V10"),
    ("7Networks_LH_Vis_1_thickness", "7Networks_LH_Vis_1"),
    ("lh_7Networks_LH_Vis_10_thickness", "7Networks_LH_Vis_10"),
    ("Brain-Stem", "Brain-Stem"),
    ("pet-suvr Vermis", "Vermis"),
]
UNKNOWN = [
    "lh_temporal_thickness",  # a part of a word is no word
    "bankssts_thickness",  # no hemisphere
    "lh_Brain-Stem",  # a hemisphere that the region does not have
    "Lonely",
    "ICV",
    "lh_V10_V1",  # could be one of two
]


def regions(names):
    return pd.DataFrame({"name": names}, index=np.arange(1, len(names) + 1) * 10)


def test_names_of_the_field():
    features, names = zip(*PAIRS, strict=True)
    found = regions_of([*features, *UNKNOWN], regions(names)).tolist()
    assert found == [*regions(names).index, *[0] * len(UNKNOWN)]


def test_the_order_of_features_and_regions_does_not_matter():
    features, names = zip(*PAIRS, strict=True)
    order = np.random.default_rng(0).permutation(len(PAIRS))
    shuffled = regions(names).iloc[order]
    found = regions_of([features[number] for number in order[::-1]], shuffled)
    assert found.tolist() == regions(names).index[order[::-1]].tolist()


def test_the_region_with_most_words_is_taken():
    found = regions_of(["lh_middle_temporal_pole_x"], regions(["L temporal", "L temporal pole"]))
    assert found.tolist() == [20]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("a", "b"),
            r"aparc.annot has no region .* features are a, b, the regions L insula; r",
        ),
        (
            ("lh_insula_thickness", "lh_insula_area", "b"),
            r"several features are one region of .*: lh_insula_thickness, lh_insula_area; choose",
        ),
    ],
)
def test_tables_without_maps(names, message):
    with pytest.raises(ImageError, match=message):
        Grid(names).read_labels("aparc.annot", regions(["L insula"]))
