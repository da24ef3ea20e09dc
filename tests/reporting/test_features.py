"""What the pictures of tables show: read from the figures, not from their pixels."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from opnmf_pipeline.images.tables.files import write_features
from opnmf_pipeline.reporting import features
from opnmf_pipeline.reporting.figure import part_colours


@pytest.fixture
def drawn(monkeypatch):
    """Figures that were drawn; they are not closed."""
    figures = []
    monkeypatch.setattr(features, "save", lambda figure, path, **_: figures.append(figure) or path)
    yield figures
    for figure in figures:
        plt.close(figure)


def labels_of(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_bars_show_the_largest_weights_first(drawn, tmp_path):
    names = [f"region{number}" for number in range(30)]
    weights = {"component01": np.arange(30.0), "component02": np.arange(30.0)[::-1]}
    path = tmp_path / "components.features.tsv"
    write_features(path, names, weights)
    features.draw_components(path, ["component 1", "component 2: $a"], None, tmp_path / "a.png")
    first, second = drawn[0].axes
    assert labels_of(first) == names[:-11:-1]
    assert labels_of(second) == names[:10]
    assert [bar.get_width() for bar in first.patches] == list(range(29, 19, -1))
    assert second.get_title(loc="left") == r"component 2: \$a"


@pytest.mark.parametrize("n_features", [5, 68, 400])
def test_parts_list_their_features(drawn, tmp_path, n_features):
    labels = np.arange(n_features) % 3
    names = np.array([f"region{number}" for number in range(n_features)])
    path = tmp_path / "dseg.features.tsv"
    write_features(path, list(names), {"component": labels})
    features.draw_parts(path, ["component 1", "component 2"], None, tmp_path / "a.png")
    shown = [label for axis in drawn[0].axes for label in labels_of(axis)]
    assert shown == [*names[labels == 1], *names[labels == 2]]
    colours = [colour for axis in drawn[0].axes for colour in axis.images[0].get_array()[:, 0]]
    expected = np.repeat(part_colours(2), [(labels == 1).sum(), (labels == 2).sum()], axis=0)
    np.testing.assert_array_equal(colours, expected)


def test_a_matrix_of_many_features_has_a_picture_of_limited_size(tmp_path):
    n = 3000
    names = [str(number) for number in range(n)]
    mask, values = tmp_path / "mask.features.tsv", tmp_path / "mean.features.tsv"
    write_features(mask, names, {"mask": np.ones(n, dtype=np.uint8)})
    write_features(values, names, {"mean": np.arange(n)})
    write_features(tmp_path / "dseg.features.tsv", names, {"component": np.ones(n, dtype=int)})
    path = features.draw_parts(
        tmp_path / "dseg.features.tsv", ["component 1"], None, tmp_path / "a.png"
    )
    with Image.open(path) as picture:
        assert max(picture.size) < 3000
    figure = features.draw_cohort_maps({"mean": values}, mask)
    assert figure.alt == "One value for each of 3000 features: mean"
